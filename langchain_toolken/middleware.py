"""`ToolkenSelectorMiddleware`: a small local LM picks, of thousands of tools, the few that any chat model is given.

The LM reads the user's message once, in one forward pass, and ranks the agent's tools by their toolkens. Nothing is
generated and no tool stands in a prompt. What is bound for a thread only grows, always at the end, so that a provider's
cache of the prompt keeps its beginning.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NotRequired

from langchain.agents.middleware.types import (
    AgentMiddleware,
    AgentState,
    ContextT,
    ExtendedModelResponse,
    ModelRequest,
    ModelResponse,
    PrivateStateAttr,
    ResponseT,
    ToolCallRequest,
)
from langchain.tools import ToolRuntime
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from langchain_core.tools import BaseTool, StructuredTool
from langgraph.types import Command

from langchain_toolken.chat.model import ToolkenChat
from langchain_toolken.decoding.cancellation import in_thread
from langchain_toolken.decoding.engine import PromptTooLongError
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.tools.spec import ToolSpec, tool_spec

_DEFERRED = "defer_loading"
# How much of a long message is read: its beginning and its end, where the request itself usually is.
_MOST_CHARACTERS = 4000
_LEAST_CHARACTERS = 50


def _with_new(old: list[str] | None, new: list[str]) -> list[str]:
    """Append names that are not in the list yet; several tools of one step may add some."""
    return list(dict.fromkeys([*(old or ()), *new]))


class SelectorState(AgentState[Any]):
    """What the selector keeps in the agent's state; it is in checkpoints, but not in the agent's input or output.

    Attributes:
        bound_tools: Names of the tools that were bound in this thread, in the order in which they were first.
        tools_selected_for: The id of the user's message that tools were selected for last.
    """

    bound_tools: NotRequired[Annotated[list[str], PrivateStateAttr, _with_new]]
    tools_selected_for: NotRequired[Annotated[str, PrivateStateAttr]]


@dataclass(frozen=True)
class _Sorted:
    """An agent's tools, by what happens to them.

    Attributes:
        fixed: Always bound, in the agent's order: tools and providers' own (dicts).
        selectable: The others, by name.
    """

    fixed: tuple[BaseTool | dict[str, Any], ...]
    selectable: Mapping[str, BaseTool]


@dataclass(frozen=True)
class _Plan:
    """One model call before tools are selected for it.

    Attributes:
        tools: The agent's tools.
        known: Names of the tools that are bound already, in order.
        key: The user's message that tools are to be selected for; None if they were before, or nothing is asked.
        text: What that message says.
    """

    tools: _Sorted
    known: tuple[str, ...]
    key: str | None
    text: str


class ToolkenSelectorMiddleware(AgentMiddleware[SelectorState, ContextT, ResponseT]):
    """Binds only the tools that a user's message most likely needs, for `create_agent` with any chat model.

    Tools are selected once for each message of the user, before the chat model sees it. A tool that was bound once
    stays bound in its thread, so a checkpointer is needed to keep it from one invocation to the next; without one, the
    tools whose results are in the messages are bound again. A call of a tool that is not bound is refused with an error
    message and runs nothing. This is no access control: whoever writes the messages can have any tool bound.

    Which tools take part: all, except `always_include`, providers' own tools (dicts) and tools with
    `extras={"defer_loading": False}`. If any tool has `extras={"defer_loading": True}`, only those that have it take
    part, as with a provider's own tool search. Tools of other middleware, such as `write_todos`, take part like any, so
    name them in `always_include` if they are to stay. A tool without a toolken in the set takes part by its
    description, as a tool that is bound to `ToolkenChat` does, and a warning names it. Middleware that adds tools to a
    request goes before this one.

    Args:
        toolkens: A ToolkenSet, a folder that one was saved to, or None: all tools by their descriptions.
        model: The small LM, as `ToolkenChat(model=…)` takes it, or a `ToolkenChat`. None takes the LM that the toolkens
            were fitted for.
        top_k: Most tools that are selected for one message. Those that are bound already count too.
        always_include: Names of tools that are always bound. They do not count.
        max_false_call_rate: Select none where the toolkens' gate says that no tool is asked for, at the operating point
            where at most this share of held-out requests without a call got one. None (the default) always selects
            `top_k`: a needless tool costs some tokens, a missing one the answer.
        search_tool: The name of a tool that is bound too, with which the chat model searches those that were left out.
            What it finds is bound from then on. None for no such tool.

    Raises:
        ValueError: `top_k` is less than 1, or `max_false_call_rate` is not a share or the toolkens have no gate that
            knows one. At a model call: `always_include` names a tool that the agent lacks, or two tools have the name
            of the search tool.
        ToolkenSetError: The toolkens' folder can't be read or, at a model call, they were made for another LM.
    """

    state_schema = SelectorState

    def __init__(
        self,
        toolkens: ToolkenSet | str | Path | None = None,
        *,
        model: Any = None,
        top_k: int = 5,
        always_include: Sequence[str] = (),
        max_false_call_rate: float | None = None,
        search_tool: str | None = "search_tools",
    ) -> None:
        super().__init__()
        if top_k < 1:
            raise ValueError(f"top_k must be 1 or more, not {top_k}")
        if toolkens is None and isinstance(model, ToolkenChat):
            toolkens = model.toolkens
        given = ToolkenSet.load(toolkens) if isinstance(toolkens, str | Path) else toolkens
        if isinstance(model, ToolkenChat):
            self.llm = model.model_copy(update={"toolkens": given})
        else:
            self.llm = ToolkenChat(toolkens=given, **({} if model is None else {"model": model}))
        self.top_k = top_k
        self.always_include = tuple(always_include)
        self._threshold = None if max_false_call_rate is None else _threshold(given, max_false_call_rate)
        self._search_name = search_tool
        self._specs: dict[str, tuple[BaseTool, ToolSpec]] = {}
        self.tools = () if search_tool is None else (self._searching(search_tool),)

    def wrap_model_call(
        self,
        request: ModelRequest[ContextT],
        handler: Callable[[ModelRequest[ContextT]], ModelResponse[ResponseT]],
    ) -> ModelResponse[ResponseT] | ExtendedModelResponse[ResponseT]:
        """Bind the tools that are selected, and call the model."""
        plan = self._plan(request)
        names = self._names(plan)
        return _kept(plan, names, handler(request.override(tools=self._given(plan, names))))

    async def awrap_model_call(
        self,
        request: ModelRequest[ContextT],
        handler: Callable[[ModelRequest[ContextT]], Awaitable[ModelResponse[ResponseT]]],
    ) -> ModelResponse[ResponseT] | ExtendedModelResponse[ResponseT]:
        """Do what `wrap_model_call` does; the LM runs in a thread."""
        plan = self._plan(request)
        names = await in_thread(partial(self._names, plan))
        return _kept(plan, names, await handler(request.override(tools=self._given(plan, names))))

    def wrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], ToolMessage | Command[Any]]
    ) -> ToolMessage | Command[Any]:
        """Run the tool if it was bound."""
        refusal = self._refusal(request)
        return handler(request) if refusal is None else refusal

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[ToolMessage | Command[Any]]]
    ) -> ToolMessage | Command[Any]:
        """Run the tool if it was bound."""
        refusal = self._refusal(request)
        return await handler(request) if refusal is None else refusal

    def _plan(self, request: ModelRequest[ContextT]) -> _Plan:
        tools = self._sorted(request.tools)
        state: Mapping[str, Any] = {**request.state}
        known = [*state.get("bound_tools", ()), *_used(request.messages)]
        known = [name for name in dict.fromkeys(known) if name in tools.selectable]
        asked = _asked(request.messages)
        key = None if asked is None else asked.id or asked.text
        due = asked is not None and bool(asked.text.strip()) and key != state.get("tools_selected_for")
        return _Plan(tools, tuple(known), key if due else None, asked.text if asked is not None else "")

    def _sorted(self, tools: Sequence[BaseTool | dict[str, Any]]) -> _Sorted:
        own = [tool for tool in tools if isinstance(tool, BaseTool)]
        names = [tool.name for tool in own]
        if missing := sorted(set(self.always_include) - set(names)):
            raise ValueError(
                f"always_include names {', '.join(map(repr, missing))}, but the agent has no such tool; it has "
                f"{', '.join(map(repr, names[:20]))}{' …' if len(names) > 20 else ''}"
            )
        if any(tool.name == self._search_name and tool not in self.tools for tool in own):
            raise ValueError(
                f"the agent has a tool {self._search_name!r} of its own: give the selector's search another name "
                "(search_tool=…), or None for no search"
            )
        flagged = any((tool.extras or {}).get(_DEFERRED) is True for tool in own)

        def takes_part(tool: BaseTool | dict[str, Any]) -> bool:
            if not isinstance(tool, BaseTool) or tool.name in self.always_include or tool.name == self._search_name:
                return False
            return bool((tool.extras or {}).get(_DEFERRED, not flagged))

        selectable = {tool.name: tool for tool in own if takes_part(tool)}
        return _Sorted(tuple(tool for tool in tools if not takes_part(tool)), selectable)

    def _names(self, plan: _Plan) -> tuple[str, ...]:
        """Return the names of the tools to bind beside those that always are, in order."""
        if plan.key is None:
            return plan.known
        selected = self._likeliest(plan.text, list(plan.tools.selectable.values()), self._threshold)
        return tuple(dict.fromkeys([*plan.known, *selected]))

    def _likeliest(self, text: str, tools: Sequence[BaseTool], threshold: float | None) -> tuple[str, ...]:
        """Return the names of at most `top_k` tools for a text, of which a part is read if it is too long for the LM.

        With a threshold there are none if the log odds of a call are not above it.
        """
        if threshold is None and len(tools) <= self.top_k:
            return tuple(tool.name for tool in tools)
        specs, read = [self._spec(tool) for tool in tools], _shortened(text, _MOST_CHARACTERS)
        while specs:
            try:
                ranking = self.llm.rank_tools([HumanMessage(read)], len(specs), tools=specs)
            except PromptTooLongError:
                if len(read) <= _LEAST_CHARACTERS:
                    raise
                read = _shortened(read, len(read) // 2)
                continue
            if threshold is not None and _log_odds(math.fsum(each.probability for each in ranking)) <= threshold:
                return ()
            return tuple(each.tool for each in ranking[: self.top_k])
        return ()

    def _spec(self, tool: BaseTool) -> ToolSpec:
        """Read a tool's spec, once: for thousands of tools it takes longer than the LM."""
        kept = self._specs.get(tool.name)
        if kept is None or kept[0] is not tool:
            kept = self._specs[tool.name] = (tool, tool_spec(tool))
        return kept[1]

    def _given(self, plan: _Plan, names: Sequence[str]) -> list[BaseTool | dict[str, Any]]:
        """Return what the model is given: the tools that always are, then the selected ones in the order of binding."""
        return [*map(_undeferred, plan.tools.fixed), *(_undeferred(plan.tools.selectable[name]) for name in names)]

    def _refusal(self, request: ToolCallRequest) -> ToolMessage | None:
        name = request.tool_call["name"]
        if request.tool is not None and name in (_field(request.state, "bound_tools") or ()):
            return None
        hint = "" if self._search_name is None else f" Search for a tool that fits with {self._search_name}."
        return ToolMessage(
            f"Error: {name} is not among the tools that you were given, so nothing was run.{hint}",
            name=name,
            tool_call_id=request.tool_call["id"],
            status="error",
        )

    def _searching(self, name: str) -> BaseTool:
        """Make the tool that searches those that were left out."""

        def found(query: str, runtime: ToolRuntime) -> Command[Any]:
            bound = frozenset(_field(runtime.state, "bound_tools") or ())
            left = [tool for tool in self._sorted(runtime.tools).selectable.values() if tool.name not in bound]
            names = self._likeliest(query, left, None) if query.strip() else ()
            lines = [f"- {spec.name}: {spec.summary}" for spec in (self._spec(t) for t in left) if spec.name in names]
            text = "\n".join(["You can call these tools now:", *lines]) if lines else "No other tools were found."
            message = ToolMessage(text, name=name, tool_call_id=str(runtime.tool_call_id))
            return Command(update={"messages": [message], "bound_tools": list(names)})

        async def afound(query: str, runtime: ToolRuntime) -> Command[Any]:
            return await in_thread(partial(found, query, runtime))

        return StructuredTool.from_function(
            found,
            afound,
            name=name,
            description=(
                "Search for further tools, where none of those you have does what the user asks for. "
                "You can call what it finds afterwards.\n\nArgs:\n    query: What the tool should do, in a few words."
            ),
            parse_docstring=False,
        )


def _kept(
    plan: _Plan, names: Sequence[str], response: ModelResponse[ResponseT]
) -> ModelResponse[ResponseT] | ExtendedModelResponse[ResponseT]:
    """Return the response, with what goes into the agent's state."""
    update: dict[str, Any] = {}
    fixed = [tool.name for tool in plan.tools.fixed if isinstance(tool, BaseTool)]
    update["bound_tools"] = [*fixed, *names]
    if plan.key is not None:
        update["tools_selected_for"] = plan.key
    return ExtendedModelResponse(response, Command(update=update))


def _asked(messages: Sequence[AnyMessage]) -> HumanMessage | None:
    """Return the user's last message. A summary of earlier ones, as middleware writes it, is none."""
    for message in reversed(messages):
        if isinstance(message, HumanMessage) and message.additional_kwargs.get("lc_source") is None:
            return message
    return None


def _used(messages: Sequence[AnyMessage]) -> list[str]:
    """Return the names of the tools that gave a result, in order. A refused call gave none."""
    given = {each.tool_call_id for each in messages if isinstance(each, ToolMessage) and each.status == "success"}
    calls = [call for each in messages if isinstance(each, AIMessage) for call in each.tool_calls]
    return [call["name"] for call in calls if call["id"] in given]


def _undeferred(tool: BaseTool | dict[str, Any]) -> BaseTool | dict[str, Any]:
    """Return a tool without the flag that tells a provider to keep it from the model."""
    if not isinstance(tool, BaseTool) or _DEFERRED not in (tool.extras or {}):
        return tool
    extras = {key: value for key, value in (tool.extras or {}).items() if key != _DEFERRED}
    return tool.model_copy(update={"extras": extras or None})


def _field(state: object, name: str) -> Any:
    """Return a field of a state: a dict or, with a state schema of another kind, an object."""
    return state.get(name) if isinstance(state, Mapping) else getattr(state, name, None)


def _shortened(text: str, most: int) -> str:
    """Keep the beginning and the end of a text that has over `most` characters."""
    half = most // 2
    return text if len(text) <= most else f"{text[:half]} … {text[-half:]}"


def _log_odds(probability: float) -> float:
    if probability >= 1:
        return math.inf
    return math.log(probability) - math.log1p(-probability) if probability > 0 else -math.inf


def _threshold(toolkens: ToolkenSet | None, rate: float) -> float:
    """Return the log odds of a call above which tools are selected.

    Raises:
        ValueError: `rate` is not a share, or the toolkens have no gate that knows its operating points.
    """
    if not 0 <= rate < 1:
        raise ValueError(f"max_false_call_rate is {rate}; it must be at least 0 and less than 1")
    gate = None if toolkens is None or toolkens.evidence is None else toolkens.evidence.gate
    threshold = None if gate is None else gate.threshold_at(rate)
    if threshold is None:
        raise ValueError(
            "max_false_call_rate needs toolkens with a gate that knows its operating points, and these have none: fit "
            "them again, with demonstrations whose calls come straight after requests, or leave it out. A fit makes no "
            "gate where the toolkens alone tell as well when to call."
        )
    return threshold
