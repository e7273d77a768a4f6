"""Work that ends when the client goes away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable
from typing import TypeVar

from fastapi import Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

from langchain_toolken.serve.errors import error_body, request_error

T = TypeVar("T")

GONE = 499
"""nginx's status for a client that left; nobody reads it."""


async def while_connected(request: Request, work: Awaitable[T]) -> T | None:
    """Await `work`, and cancel it if the client goes away; None then. Whatever it raises is raised here."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return await working if working.done() else None
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


class EventStream(StreamingResponse):
    """An answer as server-sent events, whose decoding ends with it.

    Args:
        first: The first chunk.
        chunks: The others.
    """

    def __init__(self, first: BaseModel, chunks: AsyncGenerator[BaseModel, None]) -> None:
        self._events, self._chunks = _events(first, chunks), chunks
        super().__init__(self._events, media_type="text/event-stream")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        try:
            await super().__call__(scope, receive, send)
        finally:  # a client that left while it was sent something leaves the generators where they were
            await self._events.aclose()
            await self._chunks.aclose()


async def _events(first: BaseModel, chunks: AsyncGenerator[BaseModel, None]) -> AsyncGenerator[str, None]:
    """Yield server-sent events. An error can't change the status any more, so it is an event too."""
    yield _event(first)
    try:
        async for chunk in chunks:
            yield _event(chunk)
    except Exception as error:  # noqa: BLE001 - the client has to hear of it
        yield f"data: {error_body(request_error(error)).model_dump_json()}\n\n"
        return
    yield "data: [DONE]\n\n"


def _event(chunk: BaseModel) -> str:
    return f"data: {chunk.model_dump_json()}\n\n"
