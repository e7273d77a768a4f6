"""ReAct (arXiv 2210.03629): all tools in the prompt, and a thought before each action.

`react_toolkens` is the papers' open question: the same traces, no tool in the prompt, and the action chosen by a
toolken. Its toolkens are fitted where "Action:" ends in demonstrations that are written as traces, one after the other
as in the prompt: with four other traces before them, held-out traces of FuncQA get the right tool first in 0.63
(SmolLM2, 40 traces), and in 0.35 if the fit shows each trace alone. While it writes arguments, the LM reads traces of
the chosen tool in place of the others, which is the papers' tool mode.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from langchain_toolken.evaluation.methods.in_context import EXAMPLES, as_far_as_they_fit, examples_of, shown_tools
from langchain_toolken.evaluation.methods.method import Answerer, Bench, Change
from langchain_toolken.evaluation.methods.text_agent import Chosen, Shown, TextAgent
from langchain_toolken.evaluation.methods.worked_examples import ACTION, Worked, action_of, nearest
from langchain_toolken.evaluation.tasks import TaskKind, TaskQuestion
from langchain_toolken.prompts.call_cards import Asked, CallExample
from langchain_toolken.toolkens.examples import nearest_examples
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.tools.spec import ToolSpec
from langchain_toolken.training.demonstrations.demonstration import DemonstratedCall, Demonstration
from langchain_toolken.training.fitted_set import toolken_set
from langchain_toolken.training.options import FitOptions
from langchain_toolken.training.steps import candidate_priors, choose, solve_chosen


@dataclass(frozen=True)
class ReAct:
    """Thought, action, observation, with all tools in the prompt.

    Attributes:
        nearest: Whether each question is shown the traces nearest to it, found by BM25, in place of four drawn ones.
    """

    name: str = "react"
    says: str = "ReAct: all tools and 4 traces in the prompt; thoughts, then calls under a grammar"
    kinds: frozenset[TaskKind] = frozenset({"number", "tool"})
    random: bool = True
    learns: bool = False
    changed_by: frozenset[Change] = frozenset()
    nearest: bool = False

    def prepare(self, bench: Bench) -> Answerer:
        """Put the tools and the traces into a prompt."""
        tools = bench.task.specs
        if not self.nearest:
            shown = shown_tools(bench, tools, examples_of(bench, thoughts=True))
            return TextAgent(bench, lambda _: shown, thoughts=True).answer
        find = nearest(bench.task.demonstrations, EXAMPLES)

        def show(question: TaskQuestion) -> Shown:
            return shown_tools(bench, tools, examples_of(bench, thoughts=True, worked=find(question.text)))

        return TextAgent(bench, show, thoughts=True).answer


REACT_NEAREST = ReAct(
    "react_nearest", "ReAct with the 4 traces nearest to the question (BM25)", random=False, nearest=True
)


@dataclass(frozen=True)
class ReActToolkens:
    """ReAct's traces, with toolkens for the actions."""

    name: str = "react_toolkens"
    says: str = "ReAct's traces without tools in the prompt; a toolken chooses each action"
    kinds: frozenset[TaskKind] = frozenset({"number", "tool"})
    random: bool = True
    learns: bool = True
    changed_by: frozenset[Change] = frozenset({"lam", "prior"})

    def prepare(self, bench: Bench) -> Answerer:
        """Fit toolkens to the traces."""
        whole = bench.task.kind == "number"
        worked = [one for one in map(Worked.of, bench.task.demonstrations) if one is not None]
        texts = [one.trace(thoughts=True) if whole else one.choice(thoughts=True) for one in worked]
        traces = [as_trace(text, one) for text, one in zip(texts, worked, strict=True)]
        Random(f"chains {bench.seed}").shuffle(traces)

        toolkens = bench.kept_set(
            "react_toolkens", lambda: fitted(bench, chains(traces, EXAMPLES + 1)), "chains", bench.seed
        )
        shown = Shown(bench.task.specs, examples_of(bench, thoughts=True))

        def by_toolken(ids: list[int], tools: Sequence[ToolSpec]) -> Chosen:
            (ranked,) = bench.engine.rank([ids], toolkens=toolkens, active=frozenset(spec.name for spec in tools))
            return Chosen(ranked[0].tool, tuple(one.tool for one in ranked[:10]), len(ids), 1)

        of_tool: dict[str, list[Worked]] = {}
        for one in worked:
            of_tool.setdefault(one.calls[0].tool, []).append(one)

        def inputs(tool: str, question: TaskQuestion) -> str:
            own = {one.question: one for one in of_tool.get(tool, [])}
            listed = [CallExample(tool=tool, request=each, arguments={}) for each in own]
            near = nearest_examples(listed, Asked(question.text), EXAMPLES)
            traces = [own[each.request].trace(thoughts=True) for each in near]
            return as_far_as_they_fit(bench.engine, traces)

        return TextAgent(bench, lambda _: shown, thoughts=True, choose=by_toolken, inputs=inputs).answer


def fitted(bench: Bench, traces: Sequence[Demonstration]) -> ToolkenSet:
    """Fit toolkens to traces; not by `fit`, which refuses texts with calls in writing."""
    lm, specs = bench.engine.lm, bench.task.specs
    options = FitOptions(prior=bench.prior, lam=bench.lam, seed=bench.seed, progress=bench.progress)
    features = bench.features(traces, words_per_demonstration=options.negatives_per_demonstration)
    chosen = choose(features, candidate_priors(lm, specs, options.priors), options, lm.head_device)
    return toolken_set(
        lm,
        specs,
        solve_chosen(features, chosen, options, lm.head_device).matrix,
        chosen.rows,
        bias=0.0,
        style="completion",
        reinjection="inline",
        prior=chosen.prior,
        lam=chosen.lam,
        demonstrations=len(traces),
        features=features,
    )


def as_trace(text: str, worked: Worked) -> Demonstration:
    """Make a demonstration of a trace, with a call where each "Action:" ends."""
    calls, at = [], 0
    for call in worked.calls:
        action = f"\n{ACTION} {action_of(call.tool)}"
        found = text.find(action, at)
        if found < 0:
            break
        at = found + len(f"\n{ACTION}")
        calls.append(DemonstratedCall(start=at, tool=call.tool, result=action_of(call.tool)))
    return Demonstration(text=text, calls=tuple(calls))


def chains(traces: Sequence[Demonstration], length: int) -> list[Demonstration]:
    """Put traces one after the other, `length` in a text, as worked examples come before a question."""
    found = []
    for start in range(0, len(traces), length):
        text, calls = "", []
        for trace in traces[start : start + length]:
            text += "\n\n" if text else ""
            calls += [call.model_copy(update={"start": call.start + len(text)}) for call in trace.calls]
            text += trace.text
        found.append(Demonstration(text=text, calls=tuple(calls)))
    return found
