"""What keeps a server from being misused: a token, the size of bodies, slow clients, other sites' pages.

All are ASGI middlewares of their own, since those of FastAPI that wrap requests would hide that a client has gone.
"""

from __future__ import annotations

import asyncio
import hmac
from contextlib import suppress

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from langchain_toolken.serve.errors import RequestError, error_response

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})

_OPEN_PATHS = frozenset({"/", "/health"})
_OPEN_FOLDER = "/page/"
"""What needs no token: the page, which holds no data of its own and asks for the token, and the check of health."""

_HEADERS = (
    # Nothing from elsewhere, no inline script: a hostile tool's name could not run even if it became HTML.
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)


class _StoppedReadingError(Exception):
    """A client that doesn't read what it is sent."""


class TokenGuard:
    """Refuses requests without the token, if there is one; without one, requests that are not for this machine.

    Without a token the server listens on the loopback only. A page of another site could still reach it under a name
    of its own that resolves to 127.0.0.1, so the name that was asked for is checked.

    Args:
        app: What is guarded.
        token: What the header `Authorization: Bearer …` has to hold; None for no token.
    """

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        self._app = app
        self._token = None if token is None else token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] == "http" and (refused := self._refused(scope)):
            await error_response(refused)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _refused(self, scope: Scope) -> RequestError | None:
        headers = dict(scope["headers"])
        if self._token is None:
            name = _host_name(headers.get(b"host", b"").decode("latin-1"))
            if name in LOOPBACK:
                return None
            return RequestError(
                403, f"this server answers only to {', '.join(sorted(LOOPBACK))}: use one of these", code="wrong_host"
            )
        if scope["path"] in _OPEN_PATHS or scope["path"].startswith(_OPEN_FOLDER):
            return None
        kind, _, given = headers.get(b"authorization", b"").partition(b" ")
        if kind.lower() == b"bearer" and hmac.compare_digest(given.strip(), self._token):
            return None
        return RequestError(
            401, "give the token of this server as the API key (Authorization: Bearer …)", code="invalid_api_key"
        )


class BodyGuard:
    """Refuses bodies that are too large or take too long to arrive, and gives up on clients that stop reading.

    Args:
        app: What is guarded.
        most: Most bytes of a body.
        patience: Seconds that a client has to send a body, or to make room for the next piece of an answer.
    """

    def __init__(self, app: ASGIApp, most: int, patience: float) -> None:
        self._app = app
        self._most = most
        self._patience = patience

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._most:
            error = RequestError(413, _too_large(self._most), code="request_too_large")
            await error_response(error)(scope, receive, send)
            return
        got, whole = 0, False
        due = asyncio.get_running_loop().time() + self._patience

        async def limited() -> Message:
            nonlocal got, whole
            if whole:  # what is left to come is that the client has gone
                return await receive()
            try:
                async with asyncio.timeout_at(due):
                    event = await receive()
            except TimeoutError:
                raise HTTPException(408, "the body took too long to arrive") from None
            got += len(event.get("body", b""))
            whole = not event.get("more_body", False)
            if got > self._most:
                raise HTTPException(413, _too_large(self._most))  # FastAPI lets no other exception through
            return event

        async def patient(event: Message) -> None:
            try:
                async with asyncio.timeout(self._patience):
                    await send(event)
            except TimeoutError:
                raise _StoppedReadingError from None

        with suppress(_StoppedReadingError):  # the server closes the connection, since the answer isn't complete
            await self._app(scope, limited, patient)


class CrowdGuard:
    """Tells clients to come back when too many requests are being answered.

    Args:
        app: What is guarded.
        most: Most requests at once.
    """

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app = app
        self._most = most
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http" or scope["path"] in _OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        if self._running >= self._most:
            busy = RequestError(
                429, f"{self._running} requests are being answered: try again later", code="server_busy"
            )
            await error_response(busy)(scope, receive, send)
            return
        self._running += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._running -= 1


class SafeHeaders:
    """Adds headers to every answer, so that a browser runs nothing but the page's own script.

    Args:
        app: What answers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""

        async def with_headers(event: Message) -> None:
            if event["type"] == "http.response.start":
                event["headers"] = [*event.get("headers", ()), *_HEADERS]
            await send(event)

        await self._app(scope, receive, with_headers)


def _too_large(most: int) -> str:
    return f"the body has more than {most} bytes: send fewer messages or tools"


def _host_name(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()
