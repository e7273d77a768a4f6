"""In-context tools: the prompt describes all tools, as far as the context goes, and shows a few calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from langchain_toolken.decoding.local.engine import LocalEngine
from langchain_toolken.evaluation.methods.method import Answerer, Bench, Change
from langchain_toolken.evaluation.methods.plans import in_context_plans
from langchain_toolken.evaluation.methods.text_agent import Shown, TextAgent, list_of_tools
from langchain_toolken.evaluation.methods.worked_examples import Worked, few
from langchain_toolken.evaluation.tasks import TaskKind
from langchain_toolken.tools.spec import ToolSpec

EXAMPLES = 4
"""Worked examples in a prompt, as in the papers."""

_FOR_THE_REST = 1024
"""Tokens of the context that are kept free for the question, the trace and the answer; a third of a shorter context."""


@dataclass(frozen=True)
class InContext:
    """All tools in the prompt, a few examples, no thoughts."""

    name: str = "in_context"
    says: str = "all tools and 4 worked examples in the prompt; the LM writes its calls under a grammar"
    kinds: frozenset[TaskKind] = frozenset({"number", "tool", "plan"})
    random: bool = True
    learns: bool = False
    changed_by: frozenset[Change] = frozenset()

    def prepare(self, bench: Bench) -> Answerer:
        """Put the tools and the examples into a prompt."""
        if bench.task.kind == "plan":
            return in_context_plans(bench)
        shown = shown_tools(bench, bench.task.specs, examples_of(bench, thoughts=False))
        return TextAgent(bench, lambda _: shown, thoughts=False).answer


def shown_tools(bench: Bench, tools: Sequence[ToolSpec], examples: str) -> Shown:
    """Describe tools, as many as fit, and show examples of calls after them."""
    whole = bench.engine.context_length
    room = whole - min(_FOR_THE_REST, whole // 3) - len(bench.engine.tokenizer(examples)["input_ids"])
    kept, text = list_of_tools(bench.engine, tools, room)
    return Shown(kept, f"{text}{examples}")


def examples_of(bench: Bench, *, thoughts: bool, worked: Sequence[Worked] | None = None) -> str:
    """Write the examples that text agents read.

    Args:
        bench: The task.
        thoughts: Whether they show thoughts.
        worked: The examples; None draws some, the same ones for every method of one seed.
    """
    worked = few(bench.task.demonstrations, EXAMPLES, bench.seed) if worked is None else worked
    whole = bench.task.kind == "number"
    traces = [one.trace(thoughts=thoughts) if whole else one.choice(thoughts=thoughts) for one in worked]
    return as_far_as_they_fit(bench.engine, traces)


def as_far_as_they_fit(engine: LocalEngine, examples: Sequence[str]) -> str:
    """Put examples one after the other, without the last ones where they would take more than 2/5 of the context."""
    kept = list(examples)
    while kept:
        text = "".join(f"{example}\n\n" for example in kept)
        if len(engine.tokenizer(text)["input_ids"]) <= 2 * engine.context_length // 5:
            return text
        kept.pop()
    return ""
