"""Time limits for tools, as wrappers of a LangGraph `ToolNode`."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from langchain_core.messages import ToolMessage
from langgraph.prebuilt.tool_node import ToolCallRequest
from langgraph.types import Command

Ran = ToolMessage | Command[Any]


class TimeLimits:
    """Ends calls that take too long with a result of status "error".

    What runs in a thread can't be ended: a sync tool that is over its time goes on by itself, and its result is lost.

    Args:
        seconds: For all tools, or by name; tools that are not named have no limit.

    Raises:
        ValueError: A limit is not more than 0.
    """

    def __init__(self, seconds: float | Mapping[str, float] | None) -> None:
        self._seconds = seconds
        for limit in seconds.values() if isinstance(seconds, Mapping) else [seconds]:
            if limit is not None and not limit > 0:
                raise ValueError(f"a tool's time limit is {limit}; it must be more than 0 seconds")

    def run(self, request: ToolCallRequest, execute: Callable[[ToolCallRequest], Ran]) -> Ran:
        """Run a call; a `wrap_tool_call`."""
        limit = self._limit(request)
        if limit is None:
            return execute(request)
        context, done, failed = contextvars.copy_context(), list[Ran](), list[BaseException]()

        def work() -> None:
            try:
                done.append(context.run(execute, request))
            except BaseException as error:  # noqa: BLE001 - raised again below, in the caller's thread
                failed.append(error)

        thread = threading.Thread(target=work, name=f"tool {request.tool_call['name']}", daemon=True)
        thread.start()
        thread.join(limit)
        if failed:
            raise failed[0]
        return done[0] if done else _over(request, limit)

    async def arun(self, request: ToolCallRequest, execute: Callable[[ToolCallRequest], Awaitable[Ran]]) -> Ran:
        """Run a call in an event loop; an `awrap_tool_call`. An async tool that is over its time is cancelled."""
        limit = self._limit(request)
        if limit is None:
            return await execute(request)
        try:
            async with asyncio.timeout(limit) as clock:
                return await execute(request)
        except TimeoutError:
            if not clock.expired():
                raise
            return _over(request, limit)

    def _limit(self, request: ToolCallRequest) -> float | None:
        if isinstance(self._seconds, Mapping):
            return self._seconds.get(request.tool_call["name"])
        return self._seconds


def _over(request: ToolCallRequest, limit: float) -> ToolMessage:
    call = request.tool_call
    why = f"it took longer than {limit:g} s and was given up; it may still be at work"
    return ToolMessage(why, name=call["name"], tool_call_id=str(call["id"]), status="error")
