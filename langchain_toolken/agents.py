"""create_toolken_agent: reason -> complete -> execute -> reinject as a LangGraph state graph (DESIGN §3).

An agent step by step, for those who want to see or steer each one. Where that is not needed, a ToolkenChat goes into
any LangGraph agent (`langchain.agents.create_agent`) as it is.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal, NotRequired, TypedDict

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from langchain_core.runnables import Runnable, RunnableLambda
from langchain_core.tools import BaseTool
from langchain_core.tools import tool as make_tool
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.prebuilt import ToolNode

from langchain_toolken.chat import turn as chat_turn
from langchain_toolken.chat.answers import Thought
from langchain_toolken.chat.backtracing import validators_of
from langchain_toolken.decoding.cancellation import in_thread
from langchain_toolken.decoding.engine import Candidate, Judgement, Reasoning, TokenLogprob
from langchain_toolken.prompts.messages import answer_so_far
from langchain_toolken.tools.spec import tool_specs

if TYPE_CHECKING:
    from langgraph.graph.state import CompiledStateGraph

    from langchain_toolken.chat.model import ToolkenChat

_STEPS_PER_CALL = 4


class Step(TypedDict):
    """One thing that happened, for whoever shows a run. Which fields a step has depends on its kind.

    reason: text (what the LM wrote), and tool, probability, runners_up if a toolken fired. complete: tool, arguments.
    execute: tool, result, failed. reinject: text (the sentence with the result in it). stop: text (why a run ended
    early).
    """

    kind: Literal["reason", "complete", "execute", "reinject", "stop"]
    text: NotRequired[str]
    tool: NotRequired[str]
    probability: NotRequired[float]
    runners_up: NotRequired[list[tuple[str, float]]]
    arguments: NotRequired[dict[str, Any]]
    result: NotRequired[str]
    failed: NotRequired[bool]


class ToolkenAgentState(TypedDict):
    """The state of `create_toolken_agent`'s graph; plain JSON types and messages, so any checkpointer holds it.

    messages: the history. text: the assistant's whole text since the last user message, results in place. steps: what
    happened, over all runs of a thread. reasoning: what the reason node hands to complete.
    """

    messages: Annotated[list[AnyMessage], add_messages]
    text: NotRequired[str]
    steps: NotRequired[Annotated[list[Step], operator.add]]
    reasoning: NotRequired[dict[str, Any] | None]


def create_toolken_agent(
    llm: ToolkenChat,
    tools: Sequence[BaseTool | Callable[..., Any]],
    *,
    max_calls: int = 16,
    checkpointer: Any = None,
) -> CompiledStateGraph[ToolkenAgentState, None, ToolkenAgentState, ToolkenAgentState]:
    """An agent whose LM calls `tools` through toolkens.

    Invoke it with {"messages": [("user", "…")]}. The end state has the history in `messages` and the answer, results
    in place, in `text`. `stream_mode="updates"` gives one update per step, under the node's name; "custom" gives the
    words as they come, as {"kind": "reason", "text": piece}, and a thought's before them as {"kind": "thought", ...}.

    A tool that raises ends the run with an assistant message that names the tool, its arguments and the error: the LM
    would otherwise go on from a sentence without its number.

    Args:
        llm: the model; `bind_tools` is not needed.
        tools: LangChain tools or typed functions with a docstring.
        max_calls: most tool calls per user message; a run that wants more ends with a message that says so. 16 is
            more than the papers' longest questions take.
        checkpointer: a LangGraph checkpointer.

    Raises:
        ToolError: there are two tools of one name, or one without a description.
        ValueError: max_calls is less than 1.
    """
    if max_calls < 1:
        raise ValueError(f"max_calls must be at least 1, not {max_calls}.")
    runnable = [made if isinstance(made, BaseTool) else make_tool(made) for made in tools]
    specs = tool_specs(runnable)
    validators = validators_of(runnable)

    def reason(state: ToolkenAgentState) -> dict[str, Any]:
        messages, turn = state["messages"], llm.turn()
        writer = get_stream_writer()
        before = answer_so_far(messages, turn.prompt_format.reinjection) or ""
        reasoning: Reasoning | None = None
        for piece in chat_turn.stream_reason(turn, messages, specs, forced=False):
            if isinstance(piece, Reasoning):
                reasoning = piece
            elif isinstance(piece, Thought):
                writer({"kind": "thought", "text": piece.text})
            else:
                writer({"kind": "reason", "text": piece})
        assert reasoning is not None
        text = chat_turn.answer_to(turn, messages, reasoning).text
        step = Step(kind="reason", text=text)
        if reasoning.trigger is None:
            answer = chat_turn.complete(turn, messages, reasoning, specs)
            return {"messages": [answer], "text": before + text, "steps": [step], "reasoning": None}
        step["tool"], step["probability"] = reasoning.trigger.tool, reasoning.trigger.probability
        step["runners_up"] = [(other.tool, other.probability) for other in reasoning.runners_up]
        if _calls_since_question(messages) >= max_calls:
            why = (
                f"Stopped: the limit of {max_calls} tool calls per question (max_calls) is reached, and the LM wants "
                f"to call {reasoning.trigger.tool!r} once more."
            )
            answer = AIMessage(f"{text}\n\n{why}".lstrip(), response_metadata={"finish_reason": "max_calls"})
            stop = Step(kind="stop", text=why)
            return {"messages": [answer], "text": before + text, "steps": [step, stop], "reasoning": None}
        return {"text": before + text, "steps": [step], "reasoning": _to_state(reasoning)}

    def complete(state: ToolkenAgentState) -> dict[str, Any]:
        data = state.get("reasoning")
        assert data is not None
        message = chat_turn.complete(llm.turn(), state["messages"], _from_state(data), specs, validators)
        done: dict[str, Any] = {"reasoning": None}
        if message.tool_calls:
            call = message.tool_calls[0]
            return {
                **done,
                "messages": [message],
                "steps": [Step(kind="complete", tool=call["name"], arguments=call["args"])],
            }
        cut = message.invalid_tool_calls[0]
        why = f"Stopped: no call of {cut['name']!r} was made. {cut['error']} They began {str(cut['args'])[:80]!r}."
        return {**done, "messages": [message, AIMessage(why)], "steps": [Step(kind="stop", text=why)]}

    def reinject(state: ToolkenAgentState) -> dict[str, Any]:
        messages = state["messages"]
        result = messages[-1]
        call = _call_of(messages)
        if not isinstance(result, ToolMessage):
            raise TypeError(f"The tool {call['name']!r} left a {type(result).__name__} behind, not a ToolMessage.")
        content = str(result.text)
        failed = result.status == "error"
        executed = Step(kind="execute", tool=call["name"], arguments=call["args"], result=content, failed=failed)
        if failed:
            arguments = ", ".join(f"{name}={json.dumps(value, default=str)}" for name, value in call["args"].items())
            why = f"Stopped: the tool {call['name']}({arguments}) failed: {content}"
            return {"messages": [AIMessage(why)], "steps": [executed, Step(kind="stop", text=why)]}
        text = answer_so_far(messages, llm.prompt_format.reinjection)
        if text is None:  # a tool turn: the sentence ends here and the LM begins a new one
            return {"steps": [executed]}
        return {"text": text, "steps": [executed, Step(kind="reinject", text=text)]}

    graph: StateGraph[ToolkenAgentState, None, ToolkenAgentState, ToolkenAgentState] = StateGraph(ToolkenAgentState)
    graph.add_node("reason", _decoding(reason))
    graph.add_node("complete", _decoding(complete))
    graph.add_node("execute", ToolNode(runnable, handle_tool_errors=_describe))
    graph.add_node("reinject", reinject)
    graph.add_edge(START, "reason")
    graph.add_conditional_edges("reason", _after_reason, ["complete", END])
    graph.add_conditional_edges("complete", _after_complete, ["execute", END])
    graph.add_edge("execute", "reinject")
    graph.add_conditional_edges("reinject", _after_reinject, ["reason", END])
    compiled = graph.compile(checkpointer=checkpointer, name="toolken_agent")
    # LangGraph's own limit counts nodes and would end a run before max_calls does.
    return compiled.with_config(recursion_limit=_STEPS_PER_CALL * (max_calls + 2))


def _decoding(step: Callable[[ToolkenAgentState], dict[str, Any]]) -> Runnable[ToolkenAgentState, dict[str, Any]]:
    """A node that decodes: in an async run it shares the LM with other runs, and stops when its run is cancelled."""

    async def in_async_run(state: ToolkenAgentState) -> dict[str, Any]:
        return await in_thread(partial(step, state))

    return RunnableLambda(step, in_async_run, name=step.__name__)


def _after_reason(state: ToolkenAgentState) -> str:
    return END if state.get("reasoning") is None else "complete"


def _after_complete(state: ToolkenAgentState) -> str:
    last = state["messages"][-1]
    return "execute" if isinstance(last, AIMessage) and last.tool_calls else END


def _after_reinject(state: ToolkenAgentState) -> str:
    return "reason" if isinstance(state["messages"][-1], ToolMessage) else END


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _calls_since_question(messages: Sequence[AnyMessage]) -> int:
    calls = 0
    for message in reversed(messages):
        if isinstance(message, HumanMessage):
            break
        if isinstance(message, AIMessage):
            calls += len(message.tool_calls)
    return calls


def _call_of(messages: Sequence[AnyMessage]) -> Mapping[str, Any]:
    """The call of the last assistant message that makes one."""
    return next(m.tool_calls[-1] for m in reversed(messages) if isinstance(m, AIMessage) and m.tool_calls)


def _to_state(reasoning: Reasoning) -> dict[str, Any]:
    """A Reasoning in plain types: checkpointers are not to need this package's classes to read a state."""
    return {
        **asdict(reasoning),
        "token_ids": list(reasoning.token_ids),
        "runners_up": [asdict(candidate) for candidate in reasoning.runners_up],
        "logprobs": [asdict(word) for word in reasoning.logprobs],
        "judgements": [asdict(one) for one in reasoning.judgements],
    }


def _from_state(data: Mapping[str, Any]) -> Reasoning:
    return Reasoning(
        **{
            **data,
            "token_ids": tuple(data["token_ids"]),
            "trigger": Candidate(**data["trigger"]),
            "judgements": tuple(
                Judgement(**{**one, "scores": tuple((name, score) for name, score in one["scores"])})
                for one in data["judgements"]
            ),
            "runners_up": tuple(Candidate(**candidate) for candidate in data["runners_up"]),
            "logprobs": tuple(
                TokenLogprob(word["token"], word["logprob"], tuple((token, value) for token, value in word["top"]))
                for word in data["logprobs"]
            ),
        }
    )
