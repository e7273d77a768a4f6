"""Stopping what another thread decodes, and calling blocking code from asyncio so that its cancellation does that."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from typing import TypeVar

from langchain_toolken.errors import ToolkenError

T = TypeVar("T")

_AHEAD = 16  # items that an iterator may be ahead of its consumer


class DecodingCancelledError(ToolkenError):
    """Decoding was stopped by whoever asked for it."""


class Cancellation:
    """Stops all decoding that is done under it, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stops: list[Callable[[], None]] = []
        self.cancelled = False

    def cancel(self) -> None:
        """Stop what is being decoded, and whatever would be decoded later."""
        with self._lock:
            self.cancelled = True
            stops = list(self._stops)
        for stop in stops:
            stop()

    @contextmanager
    def stopping(self, stop: Callable[[], None]) -> Iterator[None]:
        """Within the block, `cancel` calls `stop`; at once, if it was called before."""
        with self._lock:
            self._stops.append(stop)
            cancelled = self.cancelled
        if cancelled:
            stop()
        try:
            yield
        finally:
            with self._lock:
                self._stops.remove(stop)


current_cancellation: ContextVar[Cancellation | None] = ContextVar("current_cancellation", default=None)
"""What stops decoding that is begun in this context; None: only its caller."""


async def in_thread(call: Callable[[], T]) -> T:
    """`call()`, in a thread of its own. Where the awaiting task is cancelled, what `call` decodes stops.

    Not asyncio's pool: its few threads (CPUs + 4) would keep calls apart that could be decoded together.
    """
    cancellation, result = Cancellation(), Future[T]()

    def work() -> None:
        current_cancellation.set(cancellation)
        try:
            value = call()
        except BaseException as error:  # noqa: BLE001 - it is raised where the call is awaited
            result.set_exception(error)
        else:
            result.set_result(value)

    result.set_running_or_notify_cancel()
    threading.Thread(target=copy_context().run, args=(work,), name="toolken-call", daemon=True).start()
    try:
        return await asyncio.wrap_future(result)
    except asyncio.CancelledError:
        cancellation.cancel()
        raise


async def iterate_in_thread(make: Callable[[], Iterator[T]]) -> AsyncGenerator[T, None]:
    """The items of `make()`, which is iterated in a thread of its own, a few items ahead at most.

    Where the awaiting task is cancelled or the generator is closed, the iterator is closed and what it decodes stops.
    """
    cancellation, room = Cancellation(), threading.Semaphore(_AHEAD)
    loop = asyncio.get_running_loop()
    items: asyncio.Queue[tuple[T] | BaseException | None] = asyncio.Queue()

    def hand_over(item: tuple[T] | BaseException | None) -> None:
        # A closed loop has nobody left who waits.
        if not loop.is_closed():
            loop.call_soon_threadsafe(items.put_nowait, item)

    def work() -> None:
        current_cancellation.set(cancellation)
        try:
            iterator = make()
            for item in iterator:
                hand_over((item,))
                room.acquire()
                if cancellation.cancelled:
                    break
            if close := getattr(iterator, "close", None):
                close()
        except BaseException as error:  # noqa: BLE001 - it is raised where the items are awaited
            hand_over(error)
        else:
            hand_over(None)

    threading.Thread(target=copy_context().run, args=(work,), name="toolken-stream", daemon=True).start()
    try:
        while (item := await items.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            room.release()
            yield item[0]
    finally:
        cancellation.cancel()
        room.release()
