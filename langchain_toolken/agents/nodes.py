"""The nodes of an agent's graph: reason, complete, approve, reinject, respond. `execute` is LangGraph's ToolNode.

They share only the state, so reason and complete each lay out the prompt.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, BaseMessage, SystemMessage
from langchain_core.runnables import Runnable, RunnableLambda
from langchain_core.tools import BaseTool
from langgraph.config import get_stream_writer
from pydantic import TypeAdapter

from langchain_toolken.agents.approval import Refusal, ask_for
from langchain_toolken.agents.state import Ending, RunnerUp, Step, ToolkenAgentState
from langchain_toolken.chat import turn, whole_turns
from langchain_toolken.chat.answers import Thought
from langchain_toolken.chat.backtracing import Validators
from langchain_toolken.chat.history import calls_since_question, last_results, pending_calls, tokens_since_question
from langchain_toolken.chat.structured_output import AnswerForm
from langchain_toolken.chat.turn import DecodingSetup
from langchain_toolken.decoding.cancellation import in_thread
from langchain_toolken.decoding.engine import PromptTooLongError, Reasoning
from langchain_toolken.prompts.blocks import message_text
from langchain_toolken.prompts.messages import answer_so_far
from langchain_toolken.tools.spec import ToolSpec

if TYPE_CHECKING:
    from langchain_toolken.chat.model import ToolkenChat

_REASONING = TypeAdapter(Reasoning)
"""Writes a Reasoning as plain types and reads it back, so that checkpoints don't depend on this package's classes."""

_SHOWN_ARGUMENTS = 80


@dataclass(frozen=True)
class Nodes:
    """What the nodes work with, and the nodes as methods.

    Attributes:
        llm: The model.
        tools: The tools by name.
        specs: The same, as the LM is shown them.
        validators: Pydantic models that arguments must pass.
        direct: Names of the tools whose result is the answer.
        max_calls: Most calls per user message.
        token_budget: Most tokens that the LM writes per user message, or None.
        instructions: What the LM reads before the messages, or None.
        approve: Says which tools a person is asked about, or None.
        form: The form of the structured answer, or None.
        name: The agent's name, which its messages carry, or None.
    """

    llm: ToolkenChat
    tools: Mapping[str, BaseTool]
    specs: Sequence[ToolSpec]
    validators: Validators
    direct: frozenset[str]
    max_calls: int
    token_budget: int | None
    instructions: SystemMessage | None
    approve: Callable[[BaseTool], bool] | None
    form: AnswerForm | None
    name: str | None

    def reason(self, state: ToolkenAgentState) -> dict[str, Any]:
        """Let the LM write until its answer ends or it calls a tool."""
        messages = self._read(state)
        budget = self._left(messages)
        if budget is not None and budget < 1:
            why = f"Stopped: the budget of {self.token_budget} tokens (token_budget) is used up."
            return self._stopped(why, "token_budget")
        setup, writer = self._setup_for(messages), get_stream_writer()
        try:
            laid_out = setup.lay_out(messages, self.specs)
        except PromptTooLongError as error:
            return self._too_long(error, messages)
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
            answer.name = self.name
            cut = answer.response_metadata.get("finish_reason") == "length"
            by_budget = cut and budget is not None and budget <= self.llm.max_tokens
            ending: Ending = "token_budget" if by_budget else "length" if cut else "answered"
            return {**done, "messages": [answer], "ending": ending}
        step["tool"], step["probability"] = reasoning.trigger.tool, reasoning.trigger.probability
        step["runners_up"] = [RunnerUp(name=each.tool, probability=each.probability) for each in reasoning.runners_up]
        if calls_since_question(messages, self.direct) >= self.max_calls:
            why = (
                f"Stopped: the limit of {self.max_calls} tool calls per question (max_calls) is reached, and the LM "
                f"wants to call {reasoning.trigger.tool!r} next."
            )
            stop = self._stopped(why, "max_calls", text)
            return {**stop, "text": done["text"], "steps": [step, *stop["steps"]]}
        return {**done, "reasoning": _REASONING.dump_python(reasoning, mode="json"), "ending": None}

    def complete(self, state: ToolkenAgentState) -> dict[str, Any]:
        """Let the LM write the arguments of the call, or of each call where the message makes several."""
        messages = self._read(state)
        try:
            laid_out = self._setup_for(messages).lay_out(messages, self.specs)
            message = turn.complete(laid_out, _REASONING.validate_python(state.get("reasoning")), self.validators)
        except PromptTooLongError as error:
            return self._too_long(error, messages)
        message.name = self.name
        failed = message.invalid_tool_calls
        if message.tool_calls:
            # What is over the limit is asked for again, and stopped.
            message.tool_calls = message.tool_calls[: self.max_calls - calls_since_question(messages, self.direct)]
            alone = {one["name"]: one["probability"] for one in message.response_metadata.get("parallel", ())}
            steps = [Step(kind="complete", tool=one["name"], arguments=one["args"]) for one in message.tool_calls]
            for step in steps:
                if step["tool"] in alone:
                    step["probability"] = alone[step["tool"]]
            steps += [
                Step(kind="complete", tool=str(one["name"]), text=str(one["error"]), failed=True) for one in failed
            ]
            return {"reasoning": None, "messages": [message], "steps": steps}
        began = str(failed[0]["args"])[:_SHOWN_ARGUMENTS]
        why = f"Stopped: {failed[0]['name']!r} was not called. {failed[0]['error']} They began with {began!r}."
        return self._stopped(why, "invalid_arguments", before=[message])

    def ask(self, state: ToolkenAgentState) -> dict[str, Any]:
        """Ask a person about the calls that need leave."""
        message, pending = pending_calls(state["messages"])
        assert message is not None
        assert self.approve is not None
        decided = ask_for(message, pending, self.approve, self.tools)
        if isinstance(decided, Refusal):
            return self._stopped(decided.why, "not_approved", before=decided.results)
        return {} if decided.message is None else {"messages": [decided.message], "steps": decided.steps}

    def reinject(self, state: ToolkenAgentState) -> dict[str, Any]:
        """Put the results into the text, or end the run where a tool failed or its result is the answer."""
        steps: list[Step] = []
        results = last_results(state["messages"])
        for call, result in results:
            failed = result.status == "error"
            done = Step(kind="execute", tool=call["name"], arguments=call["args"], result=message_text(result))
            steps.append({**done, "failed": failed})
            if failed:
                arguments = ", ".join(f"{key}={json.dumps(value, default=str)}" for key, value in call["args"].items())
                why = f"Stopped: the tool {call['name']}({arguments}) failed: {steps[-1]['result']}"
                stop = self._stopped(why, "tool_failed")
                return {**stop, "steps": [*steps, *stop["steps"]]}
        is_answer = results and all((result.name or call["name"]) in self.direct for call, result in results)
        ending: Ending | None = "return_direct" if is_answer else None
        text = answer_so_far(self._read(state), self.llm.prompt_format.reinjection) if state["messages"] else None
        if text is None:  # the LM begins a new sentence: after a tool message, or after what else a Command added
            return {"steps": steps, "ending": ending}
        return {"text": text, "steps": [*steps, Step(kind="reinject", text=text)], "ending": ending}

    def respond(self, state: ToolkenAgentState) -> dict[str, Any]:
        """Let the LM say its answer again, in the form that was asked for."""
        assert self.form is not None
        *messages, answer = self._read(state)
        try:
            laid_out = self._setup_for(messages).lay_out(messages, self.specs)
            message = whole_turns.schema_message(laid_out, self.form.spec, said=message_text(answer))
            response = self.form.read(message)
        except PromptTooLongError as error:
            return self._too_long(error, messages)
        except OutputParserException as error:
            return self._stopped(f"Stopped: {error}", "invalid_response")
        return {"structured_response": response, "steps": [Step(kind="respond", text=message.text)]}

    def _read(self, state: ToolkenAgentState) -> list[BaseMessage]:
        return [*state["messages"]] if self.instructions is None else [self.instructions, *state["messages"]]

    def _left(self, messages: Sequence[BaseMessage]) -> int | None:
        """Return how many tokens may be written yet; None for as many as the model's `max_tokens`."""
        return None if self.token_budget is None else self.token_budget - tokens_since_question(messages, self.direct)

    def _setup_for(self, messages: Sequence[BaseMessage]) -> DecodingSetup:
        budget = self._left(messages)
        if budget is None:
            return self.llm.decoding_setup()
        return self.llm.decoding_setup(max_tokens=max(1, min(budget, self.llm.max_tokens)))

    def _stopped(
        self, why: str, ending: Ending, text: str = "", *, before: Sequence[BaseMessage] = ()
    ) -> dict[str, Any]:
        metadata = {"finish_reason": ending}
        answer = AIMessage(f"{text}\n\n{why}".lstrip(), name=self.name, response_metadata=metadata)
        steps = [Step(kind="stop", text=why)]
        return {"messages": [*before, answer], "steps": steps, "reasoning": None, "ending": ending}

    def _too_long(self, error: PromptTooLongError, messages: Sequence[BaseMessage]) -> dict[str, Any]:
        """End a run whose results leave no room; a question that is too long in itself is the caller's error."""
        if not calls_since_question(messages, self.direct):
            raise error
        sizes = [
            f"{call['name']!r} returned {len(message_text(one))} characters" for call, one in last_results(messages)
        ]
        return self._stopped(f"Stopped: {'; '.join([*sizes, str(error)])}.", "context_length")


def decoding(node: Callable[[ToolkenAgentState], dict[str, Any]]) -> Runnable[ToolkenAgentState, dict[str, Any]]:
    """Make a node that decodes. In an async run it shares the LM with other runs, and stops when it is cancelled."""

    async def in_async_run(state: ToolkenAgentState) -> dict[str, Any]:
        return await in_thread(partial(node, state))

    return RunnableLambda(node, in_async_run, name=node.__name__)
