r"""An agent whose LM reads and writes everything as text: Thought, Action, Action Input, Observation, Answer.

It is the rival of toolkens, so it is no straw man: worked examples are in the prompt, a tool's name is decoded under a
grammar of the names there are, arguments under the tool's schema (llguidance), and tools run as they do for all other
methods. The graph is LangGraph's:

    write -> act -> observe -> write -> ... -> answer

`choose` says how an action's tool is chosen: by the LM, which writes a name (ReAct, arXiv 2210.03629), or by toolkens.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import add
from typing import Annotated, Any

from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_core.tools import BaseTool
from langgraph.graph import END, START, StateGraph
from typing_extensions import TypedDict

from langchain_toolken.decoding.engine import DecodingRequest, PromptTooLongError, Sampling
from langchain_toolken.decoding.local.engine import LocalEngine
from langchain_toolken.evaluation.attempts import Attempt, AttemptedCall, TraceStep
from langchain_toolken.evaluation.methods.method import Bench
from langchain_toolken.evaluation.methods.worked_examples import (
    ACTION,
    ANSWER,
    INPUT,
    OBSERVATION,
    QUESTION,
    THOUGHT,
    action_of,
)
from langchain_toolken.evaluation.tasks import TaskKind, TaskQuestion
from langchain_toolken.prompts.call_cards import without_separators, written_arguments
from langchain_toolken.prompts.content import bos_ids, encode_content
from langchain_toolken.tools.spec import ToolSpec

_LABELS = (ACTION, ANSWER, OBSERVATION, QUESTION)
_LABEL_TOKENS = 6
# JSON begins a piece of its own, as where the LM writes it: after a space it would begin with another token.
_BEFORE_JSON = re.compile(f"(?<=\n{ACTION} )|(?<=\n{INPUT} )")


@dataclass(frozen=True)
class Chosen:
    """The tool of an action.

    Attributes:
        tool: Its name.
        ranked: The tools by score, where there are scores.
        prompt_tokens: What the LM read.
        generated_tokens: What it wrote.
    """

    tool: str
    ranked: tuple[str, ...]
    prompt_tokens: int
    generated_tokens: int


Choose = Callable[[list[int], Sequence[ToolSpec]], Chosen]
"""Chooses a tool where a prompt ends in "Action:"."""


@dataclass(frozen=True)
class Shown:
    """What the LM reads before a question.

    Attributes:
        tools: The tools that may be called.
        head: Text before everything else: a list of tools, and worked examples.
    """

    tools: tuple[ToolSpec, ...]
    head: str


class _State(TypedDict, total=False):
    """What is known of a question's trace; a node returns the part that it changes."""

    number: int
    transcript: str
    next: str
    calls: Annotated[list[AttemptedCall], add]
    ranked: list[str]
    steps: Annotated[list[TraceStep], add]
    read: Annotated[int, add]
    written: Annotated[int, add]


@dataclass(frozen=True, eq=False)
class TextAgent:
    """The agent.

    Attributes:
        bench: The task and the engine.
        show: What the LM reads before each question.
        thoughts: Whether it thinks before it acts.
        choose: How a tool is chosen; None: the LM writes its name.
        inputs: What replaces the head while a tool's arguments are written, by the tool's name; None keeps it.
    """

    bench: Bench
    show: Callable[[TaskQuestion], Shown]
    thoughts: bool
    choose: Choose | None = None
    inputs: Callable[[str, TaskQuestion], str] | None = None

    def answer(self, questions: Sequence[TaskQuestion]) -> list[Attempt]:
        """Answer some questions together."""
        shown = [self.show(question) for question in questions]
        graph = self._graph(questions, shown)
        config = RunnableConfig(max_concurrency=self.bench.batch_size, recursion_limit=4 * (self.bench.max_calls + 3))
        kind = self.bench.task.kind
        begun: list[_State] = [
            _State(
                number=number,
                transcript=f"{QUESTION} {asked_text(question, kind)}",
                next="",
                calls=[],
                ranked=[],
                steps=[TraceStep(kind="prompt", text=f"{len(one.tools)} tools in the prompt; {question.text}")],
                read=0,
                written=0,
            )
            for number, (question, one) in enumerate(zip(questions, shown, strict=True))
        ]
        # One alone first: it leaves the list of tools in the cache, which the others then share.
        states = [graph.invoke(begun[0], config), *graph.batch(begun[1:], config)] if begun else []
        return [self._attempt(question, state) for question, state in zip(questions, states, strict=True)]

    def _attempt(self, question: TaskQuestion, state: _State) -> Attempt:
        return Attempt(
            question=question.id,
            text=state["transcript"].partition("\n")[2],
            calls=tuple(state["calls"]),
            ranked=tuple(state["ranked"]),
            prompt_tokens=state["read"],
            generated_tokens=state["written"],
            trace=tuple(state["steps"]),
        )

    def _graph(self, questions: Sequence[TaskQuestion], shown: Sequence[Shown]) -> Any:
        engine, bench = self.bench.engine, self.bench
        only_tool = bench.task.kind == "tool"
        by_name = {tool.name: tool for tool in bench.task.tools}

        def write(state: _State) -> _State:
            # Without thoughts the LM writes the next label, on a line begun for it: it adds nothing to a result.
            lead = f"\n{THOUGHT}" if self.thoughts else "\n"
            stops = tuple(f"\n{label}" if self.thoughts else label for label in _LABELS)
            most = bench.max_tokens if self.thoughts else _LABEL_TOKENS
            ids = prompt_ids(engine, f"{shown[state['number']].head}{state['transcript']}{lead}")
            (said,) = engine.reason([ids], DecodingRequest(Sampling(max_tokens=most), stop=stops))
            thought = " ".join(said.text.split()) if self.thoughts else ""
            calls, label = len(state["calls"]), (said.stopped_by or "").strip()
            wants_action = label == ACTION or (not calls and label != ANSWER)
            then = "act" if only_tool or (wants_action and calls < bench.max_calls) else "answer"
            added = f"\n{THOUGHT} {thought}" if self.thoughts and thought else ""
            return {
                "transcript": state["transcript"] + added,
                "next": then,
                "steps": [TraceStep(kind="thought", text=thought)] if thought else [],
                "read": said.prompt_tokens,
                "written": len(said.token_ids),
            }

        def act(state: _State) -> _State:
            one, transcript = shown[state["number"]], f"{state['transcript']}\n{ACTION}"
            if self.choose is None:
                chosen = by_writing(engine, prompt_ids(engine, f"{one.head}{transcript} "), one.tools)
            else:
                chosen = self.choose(prompt_ids(engine, f"{one.head}{transcript}"), one.tools)
            transcript += f" {action_of(chosen.tool)}"
            found: _State = {
                "ranked": list(chosen.ranked) if not state["calls"] else state["ranked"],
                "steps": [TraceStep(kind="tool", text=chosen.tool)],
            }
            if only_tool:
                call = AttemptedCall(tool=chosen.tool)
                cost: _State = {"read": chosen.prompt_tokens, "written": chosen.generated_tokens}
                return {**found, **cost, "transcript": transcript, "calls": [call], "next": END}
            head = one.head if self.inputs is None else self.inputs(chosen.tool, questions[state["number"]])
            spec = next(spec for spec in one.tools if spec.name == chosen.tool)
            ids = prompt_ids(engine, f"{head}{transcript}\n{INPUT} ")
            (done,) = engine.complete([ids], [spec], max_tokens=bench.max_tokens)
            arguments = done.arguments or {}
            call = AttemptedCall(tool=chosen.tool, arguments=arguments)
            found["steps"].append(TraceStep(kind="arguments", text=done.text))
            return {
                **found,
                "transcript": f"{transcript}\n{INPUT} {written_arguments(arguments)}",
                "calls": [call],
                "next": "observe" if done.arguments is not None else "answer",
                "read": chosen.prompt_tokens + done.prompt_tokens,
                "written": chosen.generated_tokens + done.completion_tokens,
            }

        def observe(state: _State) -> _State:
            call = state["calls"][-1]
            result = run_tool(by_name[call.tool], call.arguments)
            state["calls"][-1] = call.model_copy(update={"result": result})
            return {
                "transcript": f"{state['transcript']}\n{OBSERVATION} {' '.join(result.split())}",
                "steps": [TraceStep(kind="result", text=result)],
                "next": "write",
            }

        def answer(state: _State) -> _State:
            ids = prompt_ids(engine, f"{shown[state['number']].head}{state['transcript']}\n{ANSWER}")
            (said,) = engine.reason([ids], DecodingRequest(Sampling(max_tokens=bench.max_tokens), stop=("\n",)))
            return {
                "transcript": f"{state['transcript']}\n{ANSWER} {said.text.strip()}",
                "steps": [TraceStep(kind="text", text=said.text.strip())],
                "read": said.prompt_tokens,
                "written": len(said.token_ids),
            }

        graph: StateGraph[Any, Any, Any, Any] = StateGraph(_State)
        for node in (write, act, observe, answer):
            graph.add_node(node.__name__, RunnableLambda(_within_context(node)))
        graph.add_edge(START, "write")
        graph.add_conditional_edges("write", lambda state: state["next"], ["act", "answer", END])
        graph.add_conditional_edges("act", lambda state: state["next"], ["observe", "answer", END])
        graph.add_edge("observe", "write")
        graph.add_edge("answer", END)
        return graph.compile()


def asked_text(question: TaskQuestion, kind: TaskKind) -> str:
    """Write a question on one line; numbers without the commas that an LM would cut them at in JSON."""
    text = " ".join(question.text.split())
    return without_separators(text) if kind == "number" else text


def _within_context(node: Callable[[_State], _State]) -> Callable[[_State], _State]:
    """End a trace that has outgrown the LM's context, with what there is."""

    def step(state: _State) -> _State:
        try:
            return node(state)
        except PromptTooLongError as error:
            return {"next": END, "steps": [TraceStep(kind="stop", text=str(error))]}

    return step


def by_writing(engine: LocalEngine, ids: list[int], tools: Sequence[ToolSpec]) -> Chosen:
    """Let the LM write the name of one of the tools, under a grammar of their names."""
    names = {"type": "string", "enum": [spec.name for spec in tools]}
    schema = {"type": "object", "properties": {"name": names}, "required": ["name"]}
    (done,) = engine.complete([ids], [ToolSpec(name="action", description="The tool.", json_schema=schema)])
    assert done.arguments is not None
    return Chosen(done.arguments["name"], (), done.prompt_tokens, done.completion_tokens)


def run_tool(tool: BaseTool, arguments: Mapping[str, Any]) -> str:
    """Run a tool; an error is its result, so that the LM can read it."""
    try:
        return str(tool.invoke(dict(arguments)))
    except Exception as error:  # noqa: BLE001 - tools may raise anything
        return f"Error: {error}"


def prompt_ids(engine: LocalEngine, text: str) -> list[int]:
    """Tokenise a prompt, JSON in pieces of its own."""
    pieces = _BEFORE_JSON.split(text)
    first, *others = [
        encode_content(engine.tokenizer, piece, continued=place > 0) for place, piece in enumerate(pieces)
    ]
    return [*bos_ids(engine.tokenizer), *first, *(index for piece in others for index in piece)]


def list_of_tools(engine: LocalEngine, tools: Sequence[ToolSpec], room: int) -> tuple[tuple[ToolSpec, ...], str]:
    """Describe tools in a prompt, as many as there is room for.

    Args:
        engine: The engine, for its tokenizer.
        tools: The tools, the most important first.
        room: Most tokens of the list.

    Returns:
        The tools that fit, and the text.
    """
    text = "Answer the question with the help of these tools:\n"
    kept: list[ToolSpec] = []
    left = room - len(encode_content(engine.tokenizer, text))
    for spec in tools:
        line = f"- {spec.signature}: {spec.summary}\n"
        left -= len(encode_content(engine.tokenizer, line, continued=True))
        if left < 0 and kept:
            break
        text += line
        kept.append(spec)
    return tuple(kept), f"{text}\n"
