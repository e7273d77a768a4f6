"""LangChain's agent middleware in a toolken agent: its hooks as nodes, and its wrappers around tool calls.

Hooks around the model call don't fit: here a model call is two nodes, reason and complete.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Literal

from langchain.agents.middleware.types import AgentMiddleware
from langchain_core.runnables import Runnable, RunnableLambda
from langgraph.prebuilt.tool_node import ToolCallRequest, ToolInvocationError
from langgraph.runtime import get_runtime

from langchain_toolken.tools.time_limits import Ran

Middleware = AgentMiddleware[Any, Any, Any]
Hook = Literal["before_agent", "before_model", "after_model", "after_agent"]
HOOKS: tuple[Hook, ...] = ("before_agent", "before_model", "after_model", "after_agent")
Wrapper = Callable[[ToolCallRequest, Callable[[ToolCallRequest], Ran]], Ran]
AsyncWrapper = Callable[[ToolCallRequest, Callable[[ToolCallRequest], Awaitable[Ran]]], Awaitable[Ran]]


def checked(middleware: Sequence[Middleware]) -> Sequence[Middleware]:
    """Return `middleware` if an agent of separate nodes can have all of it.

    Raises:
        ValueError: One wraps the model call, or two have the same name.
    """
    for one in middleware:
        if _own(one, "wrap_model_call") or _own(one, "awrap_model_call"):
            raise ValueError(
                f"the middleware {one.name} wraps the model call, which is two nodes here (reason and complete): "
                "use it with langchain.agents.create_agent and the same ToolkenChat"
            )
    names = [one.name for one in middleware]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"two middleware are named {twice[0]}: leave one out, or give it another `name`")
    return middleware


def hooks(middleware: Sequence[Middleware], hook: Hook) -> dict[str, Runnable[Any, Any]]:
    """Return a node for each middleware that has the hook, by the node's name, in the order in which they run."""
    having = [one for one in middleware if _own(one, hook) or _own(one, f"a{hook}")]
    if hook.startswith("after"):
        having.reverse()
    return {f"{one.name}.{hook}": _node(one, hook) for one in having}


def _node(middleware: Middleware, hook: Hook) -> Runnable[Any, Any]:
    sync, asynchronous = _own(middleware, hook), _own(middleware, f"a{hook}")

    def run(state: Any) -> dict[str, Any] | None:
        if sync is None:
            raise TypeError(f"{middleware.name} has no sync {hook}: run the agent with ainvoke or astream")
        return _ended(sync(state, get_runtime()))

    async def arun(state: Any) -> dict[str, Any] | None:
        assert asynchronous is not None
        return _ended(await asynchronous(state, get_runtime()))

    name = f"{middleware.name}.{hook}"
    return RunnableLambda(run, name=name) if asynchronous is None else RunnableLambda(run, arun, name=name)


def _ended(update: dict[str, Any] | None) -> dict[str, Any] | None:
    """Say why the run ends where a hook ends it."""
    if update is None or update.get("jump_to") != "end":
        return update
    return {**update, "reasoning": None, "ending": "middleware"}


def wrappers(middleware: Sequence[Middleware], innermost: tuple[Wrapper, AsyncWrapper]) -> tuple[Wrapper, AsyncWrapper]:
    """Chain what wraps a tool call, the first of the middleware outermost, for sync and async runs.

    Args:
        middleware: The agent's middleware.
        innermost: What wraps the call itself.
    """
    sync, asynchronous = innermost
    for one in reversed(middleware):
        if _own(one, "wrap_tool_call") or _own(one, "awrap_tool_call"):
            sync = partial(_around, one.wrap_tool_call, sync)
            asynchronous = partial(_async_around, one.awrap_tool_call, asynchronous)
    return sync, asynchronous


def describe(error: ToolInvocationError) -> str:
    """Return the words that a failed call has as its result.

    ToolNode reads the annotation: only refused arguments become a result inside of the wrappers. What a tool raises
    goes through them, so that middleware may try again, and becomes a result outside, in the same words.
    """
    return f"{type(error).__name__}: {error}"


def _around(outer: Wrapper, inner: Wrapper, request: ToolCallRequest, execute: Callable[[ToolCallRequest], Ran]) -> Ran:
    return outer(request, lambda changed: inner(changed, execute))


async def _async_around(
    outer: AsyncWrapper,
    inner: AsyncWrapper,
    request: ToolCallRequest,
    execute: Callable[[ToolCallRequest], Awaitable[Ran]],
) -> Ran:
    return await outer(request, lambda changed: inner(changed, execute))


def _own(middleware: Middleware, hook: str) -> Callable[..., Any] | None:
    """Return a hook that the middleware's class defines itself, or None."""
    if getattr(type(middleware), hook) is getattr(AgentMiddleware, hook):
        return None
    found: Callable[..., Any] = getattr(middleware, hook)
    return found
