"""create_toolken_agent: an agent as a LangGraph graph with the steps reason, complete, execute and reinject.

Use it to see or steer each step. Otherwise pass a ToolkenChat to any LangGraph agent, such as
`langchain.agents.create_agent`.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal, NotRequired

from langchain_core.messages import (
    AIMessage,
    AnyMessage,
    BaseMessage,
    SystemMessage,
    ToolCall,
    ToolMessage,
)
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langchain_core.tools import BaseTool
from langchain_core.tools import tool as make_tool
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.prebuilt import ToolNode
from langgraph.types import interrupt
from pydantic import TypeAdapter
from typing_extensions import TypedDict

from langchain_toolken.chat import turn
from langchain_toolken.chat.answers import Thought
from langchain_toolken.chat.backtracing import validators_of
from langchain_toolken.chat.history import calls_since_question, last_results, tokens_since_question
from langchain_toolken.decoding.cancellation import in_thread
from langchain_toolken.decoding.engine import PromptTooLongError, Reasoning
from langchain_toolken.prompts.blocks import message_text
from langchain_toolken.prompts.messages import answer_so_far
from langchain_toolken.tools.spec import tool_specs
from langchain_toolken.tools.time_limits import TimeLimits

if TYPE_CHECKING:
    from langgraph.graph.state import CompiledStateGraph
    from langgraph.store.base import BaseStore
    from langgraph.types import Checkpointer

    from langchain_toolken.chat.model import ToolkenChat
    from langchain_toolken.chat.turn import DecodingSetup

_STEPS_PER_CALL = 5

_REASONING = TypeAdapter(Reasoning)
"""Writes a Reasoning as plain types and reads it back, so that checkpoints don't depend on this package's classes."""


Ending = Literal[
    "answered",
    "length",
    "max_calls",
    "token_budget",
    "context_length",
    "invalid_arguments",
    "not_approved",
    "tool_failed",
    "return_direct",
]
"""Why a run ended: the answer is complete; it was cut off at `max_tokens`; or what its last step says."""


class RunnerUp(TypedDict):
    """A tool that could have been called instead, as in a message's `response_metadata["toolken"]`."""

    name: str
    probability: float


class Step(TypedDict):
    """One thing that happened in a run. Its kind determines which fields it has.

    Attributes:
        kind: The step. "stop" means that the run ended early.
        text: reason: what the LM wrote. reinject: the sentence with the result in it. stop: why the run ended.
        tool: reason, complete, execute: the tool that is called.
        probability: reason: the tool's probability, if a toolken fired.
        runners_up: reason: the next likeliest tools and their probabilities, if a toolken fired.
        arguments: complete, execute: the call's arguments.
        result: execute: what the tool returned.
        failed: execute: whether the tool raised an error.
    """

    kind: Literal["reason", "complete", "execute", "reinject", "stop"]
    text: NotRequired[str]
    tool: NotRequired[str]
    probability: NotRequired[float]
    runners_up: NotRequired[list[RunnerUp]]
    arguments: NotRequired[dict[str, Any]]
    result: NotRequired[str]
    failed: NotRequired[bool]


class ToolkenAgentState(TypedDict):
    """The state of the agent's graph: messages and plain JSON types, so any checkpointer can store it.

    Attributes:
        messages: The history.
        text: The assistant's whole text since the last user message, with results in place.
        steps: What happened, over all runs of a thread.
        reasoning: What the reason node passes to the complete node.
        ending: Why the last run ended; None while one goes on, and where a Command left the graph.
    """

    messages: Annotated[list[AnyMessage], add_messages]
    text: NotRequired[str]
    steps: NotRequired[Annotated[list[Step], operator.add]]
    reasoning: NotRequired[dict[str, Any] | None]
    ending: NotRequired[Ending | None]


def create_toolken_agent(
    llm: ToolkenChat,
    tools: Sequence[BaseTool | Callable[..., Any]],
    *,
    max_calls: int = 16,
    token_budget: int | None = None,
    tool_timeout: float | Mapping[str, float] | None = None,
    approve: Callable[[BaseTool], bool] | None = None,
    system_prompt: str | SystemMessage | None = None,
    state_schema: type[ToolkenAgentState] = ToolkenAgentState,
    context_schema: type[Any] | None = None,
    checkpointer: Checkpointer = None,
    store: BaseStore | None = None,
    interrupt_before: Sequence[str] = (),
    interrupt_after: Sequence[str] = (),
    name: str | None = None,
) -> CompiledStateGraph[Any, Any, Any, Any]:
    """Create an agent whose LM calls `tools` through toolkens.

    Invoke it with {"messages": [("user", "…")]}. The final state has the history in `messages`, the answer with results
    in place in `text`, and why the run ended in `ending`. `stream_mode="updates"` gives one update per step, under the
    node's name. "custom" gives the text as it is generated, as {"kind": "reason", "text": piece}, and thoughts as
    {"kind": "thought", ...}.

    If a tool raises an error, the run ends with an assistant message that names the tool, its arguments and the error.
    The LM would otherwise continue a sentence that lacks its number. Otherwise tools run as in
    `langchain.agents.create_agent`: `return_direct`, Commands, injected state and stores, and `ToolRuntime`. For
    middleware and structured answers, use `create_agent`.

    The nodes share only the state, so reason and complete each lay out the prompt.

    Args:
        llm: The model; `bind_tools` is not needed.
        tools: LangChain tools, or typed functions with a docstring.
        max_calls: Most tool calls per user message. A run that needs more ends with a message that says so. 16 is more
            than the papers' longest questions take.
        token_budget: Most tokens that the LM writes per user message, in all its answers and calls together. A run that
            needs more ends with a message that says so.
        tool_timeout: Seconds that a call may take, for all tools or by name. One that takes longer ends the run as a
            tool that failed. A sync tool goes on in its thread.
        approve: Says which tools a person is asked about before each call; `tools.mcp.may_destroy` names those of MCP
            servers that may destroy something. The run then stops with an interrupt, whose value and answer are those
            of LangChain's `HumanInTheLoopMiddleware` (approve, edit, reject). It needs a checkpointer.
        system_prompt: What the LM reads before the messages. It is not kept in the state.
        state_schema: An extension of `ToolkenAgentState`, for tools that read or write further keys.
        context_schema: The type of the run's context.
        checkpointer: A LangGraph checkpointer.
        store: A LangGraph store, for memory across threads.
        interrupt_before: Nodes to stop before: "reason", "complete", "approve" (if there is an `approve`),
            "execute", "reinject".
        interrupt_after: Nodes to stop after.
        name: The graph's name, by which a supervisor knows the agent. The LM's messages carry it too.

    Raises:
        ToolError: Two tools have the same name, or one has no description.
        ValueError: max_calls or token_budget is less than 1, or a time limit is not more than 0.
    """
    if max_calls < 1:
        raise ValueError(f"max_calls must be at least 1, not {max_calls}.")
    if token_budget is not None and token_budget < 1:
        raise ValueError(f"token_budget must be at least 1, not {token_budget}.")
    limits = TimeLimits(tool_timeout)
    runnable = [made if isinstance(made, BaseTool) else make_tool(made) for made in tools]
    specs = tool_specs(runnable)
    validators = validators_of(runnable)
    by_name = {made.name: made for made in runnable}
    direct = {made.name for made in runnable if made.return_direct}

    instructions = SystemMessage(system_prompt) if isinstance(system_prompt, str) else system_prompt

    def read(state: ToolkenAgentState) -> list[BaseMessage]:
        return [*state["messages"]] if instructions is None else [instructions, *state["messages"]]

    def say(text: str, **fields: Any) -> AIMessage:
        return AIMessage(text, name=name, **fields)

    def stopped(why: str, ending: Ending, text: str = "", *, before: Sequence[BaseMessage] = ()) -> dict[str, Any]:
        answer = say(f"{text}\n\n{why}".lstrip(), response_metadata={"finish_reason": ending})
        return {
            "messages": [*before, answer],
            "steps": [Step(kind="stop", text=why)],
            "reasoning": None,
            "ending": ending,
        }

    def left(messages: Sequence[BaseMessage]) -> int | None:
        """Return how many tokens may be written yet; None for as many as the model's `max_tokens`."""
        return None if token_budget is None else token_budget - tokens_since_question(messages, direct)

    def setup_for(messages: Sequence[BaseMessage]) -> DecodingSetup:
        budget = left(messages)
        if budget is None:
            return llm.decoding_setup()
        return llm.decoding_setup(max_tokens=max(1, min(budget, llm.max_tokens)))

    def too_long(error: PromptTooLongError, messages: Sequence[BaseMessage]) -> dict[str, Any]:
        """End a run whose results leave no room; a question that is too long in itself is the caller's error."""
        if not calls_since_question(messages, direct):
            raise error
        sizes = [
            f"{call['name']!r} returned {len(message_text(one))} characters" for call, one in last_results(messages)
        ]
        return stopped(f"Stopped: {'; '.join([*sizes, str(error)])}.", "context_length")

    def reason(state: ToolkenAgentState) -> dict[str, Any]:
        messages = read(state)
        budget = left(messages)
        if budget is not None and budget < 1:
            return stopped(f"Stopped: the budget of {token_budget} tokens (token_budget) is used up.", "token_budget")
        setup, writer = setup_for(messages), get_stream_writer()
        try:
            laid_out = setup.lay_out(messages, specs)
        except PromptTooLongError as error:
            return too_long(error, messages)
        before = answer_so_far(messages, setup.prompt_format.reinjection) or ""
        reasoning: Reasoning | None = None
        for piece in turn.stream_reason(laid_out, forced=False):
            if isinstance(piece, Reasoning):
                reasoning = piece
            elif isinstance(piece, Thought):
                writer({"kind": "thought", "text": piece.text})
            else:
                writer({"kind": "reason", "text": piece})
        assert reasoning is not None
        text = turn.answer_to(laid_out, reasoning).text
        step = Step(kind="reason", text=text)
        done = {"text": before + text, "steps": [step], "reasoning": None}
        if reasoning.trigger is None:
            answer = turn.complete(laid_out, reasoning)
            answer.name = name
            cut = answer.response_metadata.get("finish_reason") == "length"
            by_budget = cut and budget is not None and budget <= llm.max_tokens
            ending: Ending = "token_budget" if by_budget else "length" if cut else "answered"
            return {**done, "messages": [answer], "ending": ending}
        step["tool"], step["probability"] = reasoning.trigger.tool, reasoning.trigger.probability
        step["runners_up"] = [RunnerUp(name=each.tool, probability=each.probability) for each in reasoning.runners_up]
        if calls_since_question(messages, direct) >= max_calls:
            why = (
                f"Stopped: the limit of {max_calls} tool calls per question (max_calls) is reached, and the LM wants "
                f"to call {reasoning.trigger.tool!r} next."
            )
            stop = stopped(why, "max_calls", text)
            return {**stop, "text": done["text"], "steps": [step, *stop["steps"]]}
        return {**done, "reasoning": _REASONING.dump_python(reasoning, mode="json"), "ending": None}

    def complete(state: ToolkenAgentState) -> dict[str, Any]:
        messages = read(state)
        try:
            laid_out = setup_for(messages).lay_out(messages, specs)
            message = turn.complete(laid_out, _REASONING.validate_python(state.get("reasoning")), validators)
        except PromptTooLongError as error:
            return too_long(error, messages)
        message.name = name
        if message.tool_calls:
            # Several requests in one message are several calls; what is over the limit is asked for again, and stopped.
            message.tool_calls = message.tool_calls[: max_calls - calls_since_question(messages, direct)]
            steps = [Step(kind="complete", tool=each["name"], arguments=each["args"]) for each in message.tool_calls]
            return {"reasoning": None, "messages": [message], "steps": steps}
        cut = message.invalid_tool_calls[0]
        why = f"Stopped: {cut['name']!r} was not called. {cut['error']} They began with {str(cut['args'])[:80]!r}."
        return stopped(why, "invalid_arguments", before=[message])

    def ask(state: ToolkenAgentState) -> dict[str, Any]:
        message = state["messages"][-1]
        assert isinstance(message, AIMessage)
        assert approve is not None
        calls = {place: call for place, call in enumerate(message.tool_calls) if approve(by_name[call["name"]])}
        if not calls:
            return {}
        requests = [
            {"name": each["name"], "args": each["args"], "description": by_name[each["name"]].description}
            for each in calls.values()
        ]
        allowed = ["approve", "edit", "reject"]
        reviews = [{"action_name": name, "allowed_decisions": allowed} for name in {each["name"] for each in requests}]
        decisions = interrupt({"action_requests": requests, "review_configs": reviews})["decisions"]
        edited, steps = [*message.tool_calls], list[Step]()
        for (place, call), decision in zip(calls.items(), decisions, strict=True):
            if decision["type"] == "reject":
                why = (
                    f"Stopped: the call of {call['name']!r} was not approved. {decision.get('message') or ''}".rstrip()
                )
                refused = [
                    ToolMessage(why, name=each["name"], tool_call_id=str(each["id"]), status="error")
                    for each in message.tool_calls
                ]
                return stopped(why, "not_approved", before=refused)
            if decision["type"] == "edit":
                edited[place] = ToolCall(**{**call, **decision["edited_action"]})
                changed = edited[place]
                steps.append(Step(kind="complete", tool=changed["name"], arguments=changed["args"]))
        return {"messages": [message.model_copy(update={"tool_calls": edited})], "steps": steps} if steps else {}

    def reinject(state: ToolkenAgentState) -> dict[str, Any]:
        steps: list[Step] = []
        results = last_results(state["messages"])
        for call, result in results:
            failed = result.status == "error"
            done = Step(kind="execute", tool=call["name"], arguments=call["args"], result=message_text(result))
            steps.append({**done, "failed": failed})
            if failed:
                arguments = ", ".join(f"{key}={json.dumps(value, default=str)}" for key, value in call["args"].items())
                stop = stopped(
                    f"Stopped: the tool {call['name']}({arguments}) failed: {steps[-1]['result']}", "tool_failed"
                )
                return {**stop, "steps": [*steps, *stop["steps"]]}
        is_answer = results and all((result.name or call["name"]) in direct for call, result in results)
        ending: Ending | None = "return_direct" if is_answer else None
        text = answer_so_far(read(state), llm.prompt_format.reinjection) if state["messages"] else None
        if text is None:  # the LM begins a new sentence: after a tool message, or after what else a Command added
            return {"steps": steps, "ending": ending}
        return {"text": text, "steps": [*steps, Step(kind="reinject", text=text)], "ending": ending}

    tool_node = ToolNode(runnable, handle_tool_errors=_describe, wrap_tool_call=limits.run, awrap_tool_call=limits.arun)
    graph: StateGraph[Any, Any, Any, Any] = StateGraph(state_schema, context_schema=context_schema)
    graph.add_node("reason", _decoding(reason))
    graph.add_node("complete", _decoding(complete))
    graph.add_node("execute", tool_node)
    graph.add_node("reinject", reinject)
    graph.add_edge(START, "reason")
    graph.add_conditional_edges("reason", _after_reason, ["complete", END])
    pending = "execute"
    if approve is not None:
        pending = "approve"
        graph.add_node("approve", ask)
        graph.add_conditional_edges("approve", partial(_if_called, then="execute"), ["execute", END])
    graph.add_conditional_edges("complete", partial(_if_called, then=pending), [pending, END])
    graph.add_edge("execute", "reinject")
    graph.add_conditional_edges("reinject", _after_reinject, ["reason", END])
    compiled = graph.compile(
        checkpointer=checkpointer,
        store=store,
        interrupt_before=list(interrupt_before),
        interrupt_after=list(interrupt_after),
        name=name or "toolken_agent",
    )
    # LangGraph's own limit counts nodes and could end a run before max_calls does.
    limited = RunnableConfig(recursion_limit=_STEPS_PER_CALL * (max_calls + 2))
    return compiled.with_config({**limited, "metadata": {"lc_agent_name": name}} if name else limited)


def _decoding(step: Callable[[ToolkenAgentState], dict[str, Any]]) -> Runnable[ToolkenAgentState, dict[str, Any]]:
    """Make a node that decodes. In an async run it shares the LM with other runs, and stops when it is cancelled."""

    async def in_async_run(state: ToolkenAgentState) -> dict[str, Any]:
        return await in_thread(partial(step, state))

    return RunnableLambda(step, in_async_run, name=step.__name__)


def _after_reason(state: ToolkenAgentState) -> str:
    return END if state.get("reasoning") is None else "complete"


def _after_reinject(state: ToolkenAgentState) -> str:
    return "reason" if state.get("ending") is None else END


def _if_called(state: ToolkenAgentState, then: str) -> str:
    last = state["messages"][-1]
    return then if isinstance(last, AIMessage) and last.tool_calls else END


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
