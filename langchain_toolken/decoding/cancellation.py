"""Cancels decoding in other threads, and calls blocking code from asyncio such that a cancelled task stops it."""

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
    """The caller stopped decoding."""


class Cancellation:
    """Stops all decoding in the contexts where it is the `current_cancellation`. Safe to use from any thread.

    Attributes:
        cancelled: Whether `cancel` was called.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stops: list[Callable[[], None]] = []
        self.cancelled = False

    def cancel(self) -> None:
        """Stop all running and all later decoding."""
        with self._lock:
            self.cancelled = True
            stops = list(self._stops)
        for stop in stops:
            stop()

    @contextmanager
    def stopping(self, stop: Callable[[], None]) -> Iterator[None]:
        """Let `cancel` call `stop` while the block runs; `stop` is called at once if `cancel` was called before."""
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
"""Stops the decoding that begins in this context; None if only the caller can stop it."""


async def in_thread(call: Callable[[], T]) -> T:
    """Run a blocking call in a new thread. If the awaiting task is cancelled, its decoding stops.

    asyncio's pool is not used: with its few threads (CPUs + 4), fewer calls would be decoded together.
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
    """Iterate in a new thread, which is a few items ahead at most.

    If the awaiting task is cancelled or the generator is closed, the iterator is closed and its decoding stops.

    Args:
        make: Returns the iterator; called in the new thread.

    Yields:
        The iterator's items.
    """
    cancellation, room = Cancellation(), threading.Semaphore(_AHEAD)
    loop = asyncio.get_running_loop()
    items: asyncio.Queue[tuple[T] | BaseException | None] = asyncio.Queue()

    def hand_over(item: tuple[T] | BaseException | None) -> None:
        # Nothing waits any more on a closed loop.
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
