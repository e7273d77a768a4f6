"""The server: the guards, and the routes over `completions`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
from fastapi.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from langchain_toolken._version import __version__
from langchain_toolken.serve import completions
from langchain_toolken.serve.completions import Served
from langchain_toolken.serve.connection import while_connected
from langchain_toolken.serve.errors import RequestError, answer_errors, error_body, error_response, request_error
from langchain_toolken.serve.guards import BodyGuard, CrowdGuard, SafeHeaders, TokenGuard
from langchain_toolken.serve.inspection import add_inspection
from langchain_toolken.serve.protocol import ChatCompletion, ChatCompletionChunk, ChatRequest, Model, ModelList

MOST_BYTES = 8 << 20
"""Most bytes of a request's body: room for some 10,000 tools in OpenAI's form."""
MOST_REQUESTS = 256
"""Most requests that are answered at once. Each has a thread; further ones are told to come back."""
PATIENCE = 60.0
"""Seconds that a client has to send a body, or to make room for the next piece of an answer."""

PAGE = Path(__file__).parent / "page"
"""What the browser gets: HTML, a style sheet and a script, and nothing from elsewhere."""

_GONE = 499
"""nginx's status for a client that left; nobody reads it."""


def make_app(
    served: Served,
    *,
    token: str | None = None,
    most_bytes: int = MOST_BYTES,
    most_requests: int = MOST_REQUESTS,
    patience: float = PATIENCE,
) -> FastAPI:
    """Make the ASGI app.

    Args:
        served: What is served.
        token: What clients have to give as their API key; None for none, and then only names of this machine are
            answered to.
        most_bytes: Most bytes of a request's body.
        most_requests: Most requests that are answered at once.
        patience: Seconds that a client has to send a body, or to make room for the next piece of an answer.
    """
    # No pages of FastAPI's own: they load scripts from elsewhere.
    app = FastAPI(title="toolken serve", version=__version__, docs_url=None, redoc_url=None)
    answer_errors(app)

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(PAGE / "index.html")

    app.mount("/page", StaticFiles(directory=PAGE))
    add_inspection(app, served)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/v1/models")
    async def models() -> ModelList:
        return ModelList(data=[Model(id=served.model_id, created=served.created)])

    @app.get("/v1/models/{name:path}")
    async def model(name: str) -> Model:
        if name != served.model_id:
            raise RequestError(404, f"there is no model {name[:100]!r} here", code="model_not_found", param="model")
        return Model(id=served.model_id, created=served.created)

    @app.post("/v1/chat/completions", response_model=ChatCompletion)
    async def chat_completions(body: ChatRequest, request: Request) -> Response:
        try:
            if not body.stream:
                whole = await while_connected(request, completions.complete(served, body))
                return Response(status_code=_GONE) if whole is None else JSONResponse(whole.model_dump())
            chunks = completions.stream(served, body)
            first = await while_connected(request, anext(chunks))
            if first is None:
                return Response(status_code=_GONE)
        except Exception as error:  # noqa: BLE001 - every error is answered in OpenAI's form
            return error_response(request_error(error))
        return EventStream(first, chunks)

    # The last one is the outermost.
    app.add_middleware(BodyGuard, most=most_bytes, patience=patience)
    app.add_middleware(CrowdGuard, most=most_requests)
    app.add_middleware(TokenGuard, token=token)
    app.add_middleware(SafeHeaders)
    return app


class EventStream(StreamingResponse):
    """An answer as server-sent events, whose decoding ends with it.

    Args:
        first: The first chunk.
        chunks: The others.
    """

    def __init__(self, first: ChatCompletionChunk, chunks: AsyncGenerator[ChatCompletionChunk, None]) -> None:
        self._events, self._chunks = _events(first, chunks), chunks
        super().__init__(self._events, media_type="text/event-stream")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        try:
            await super().__call__(scope, receive, send)
        finally:  # a client that left while it was sent something leaves the generators where they were
            await self._events.aclose()
            await self._chunks.aclose()


async def _events(
    first: ChatCompletionChunk, chunks: AsyncGenerator[ChatCompletionChunk, None]
) -> AsyncGenerator[str, None]:
    """Yield server-sent events. An error can't change the status any more, so it is an event too."""
    yield _event(first)
    try:
        async for chunk in chunks:
            yield _event(chunk)
    except Exception as error:  # noqa: BLE001 - the client has to hear of it
        yield f"data: {error_body(request_error(error)).model_dump_json()}\n\n"
        return
    yield "data: [DONE]\n\n"


def _event(chunk: ChatCompletionChunk) -> str:
    return f"data: {chunk.model_dump_json()}\n\n"
