"""This package: `fit` with everything on "auto", as a user gets it; and the same with one part of it off."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from langchain_toolken.evaluation.methods.method import Answerer, Bench, Change
from langchain_toolken.evaluation.methods.toolken_chat import with_toolkens
from langchain_toolken.evaluation.tasks import TaskKind
from langchain_toolken.prompts.call_cards import PLAIN
from langchain_toolken.prompts.format import Style
from langchain_toolken.toolkens.examples import ArgumentSettings, Examples
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.training.demonstrations.demonstration import Demonstration
from langchain_toolken.training.demonstrations.request_calls import CallsFrom
from langchain_toolken.training.fit import fit

TakesOut = Callable[[ToolkenSet], ToolkenSet]


@dataclass(frozen=True)
class Ours:
    """The package's own toolkens.

    Attributes:
        change: What is taken out of the fitted set; None leaves it whole.
        demonstrated: Whether demonstrations are fitted on; without them, names and descriptions are all there is.
        in_text: Whether an LM with a chat template is fitted and asked in the task's own layout, as the papers' recipes
            are, where the task's demonstrations are texts; otherwise it is asked in a chat.
    """

    name: str = "ours"
    says: str = "this package, everything on auto: no tool and no example in the prompt"
    change: TakesOut | None = None
    demonstrated: bool = True
    in_text: bool = False
    kinds: frozenset[TaskKind] = frozenset({"number", "tool", "plan"})
    random: bool = False
    learns: bool = False
    changed_by: frozenset[Change] = frozenset({"lam", "prior"})

    def prepare(self, bench: Bench) -> Answerer:
        """Fit, or take the set that was fitted before, and take a part out of it."""
        shown = self.demonstrated and bench.task.demonstrations
        task = bench.task
        # Numbers are asked for in a chat, where calls straight from requests are what `auto` may choose.
        # Plans and due tools are learned inside of texts, and there is nothing to choose.
        place: CallsFrom | Literal["auto"] = "auto" if task.kind == "number" else "answer"

        # A plan is written in completion style, also by an LM with a chat template.
        in_text = self.in_text and not (shown and task.demonstrations[0].before)
        style: Style | None = "completion" if task.kind == "plan" or in_text else None

        learned = without_arguments(task.demonstrations) if task.kind == "tool" else task.demonstrations

        def make() -> ToolkenSet:
            return fit(
                bench.engine.lm,
                list(task.tools),
                learned if shown else None,
                prior=bench.prior,
                lam=bench.lam,
                calls_from=place if shown else "answer",
                # A plan's steps take no arguments, and it has no request that could need none of them.
                gate=task.kind != "plan",
                evidence=task.kind != "plan",
                negatives="none" if task.kind == "plan" else "default",
                style=style,
                card=PLAIN if task.kind == "plan" else "auto",
                docstring_examples=False,
                progress=bench.progress,
            ).toolkens

        toolkens = bench.kept_set("ours" if shown else "ours_zero_shot", make, place, style)
        return with_toolkens(bench, toolkens if self.change is None else self.change(toolkens))


def without_arguments(demonstrations: Sequence[Demonstration]) -> list[Demonstration]:
    """Leave out what tools are called with: where only the tool is asked for, `fit` need not try how to write it."""
    return [
        one.model_copy(update={"calls": tuple(call.model_copy(update={"args": None}) for call in one.calls)})
        for one in demonstrations
    ]


def without_gate(toolkens: ToolkenSet) -> ToolkenSet:
    """Decide when to call as the papers do: the best toolken against the best word."""
    if toolkens.evidence is None:
        return toolkens
    return replace(toolkens, evidence=replace(toolkens.evidence, gate=None))


def without_evidence(toolkens: ToolkenSet) -> ToolkenSet:
    """Choose among tools by the rows alone; the gate still says when."""
    if toolkens.evidence is None:
        return toolkens
    return replace(toolkens, evidence=replace(toolkens.evidence, scale=1.0, request_rows=None, lexical=()))


def without_copying(toolkens: ToolkenSet) -> ToolkenSet:
    """Complete arguments without slots, and with no preference for the request's own words or for rare choices."""
    examples = toolkens.examples
    if examples.settings is None:
        return toolkens
    settings = examples.settings.model_copy(update={"copy_nats": 0.0, "choices": {}})
    return replace(toolkens, examples=replace(examples, settings=settings, slots=None))


def with_plain_cards(toolkens: ToolkenSet) -> ToolkenSet:
    """Complete arguments after a tool's signature and one line of it, without examples and without copying."""
    # Tools that no demonstration shows copy from the request: here all count as shown, with nothing that is copied.
    return replace(toolkens, examples=Examples(settings=ArgumentSettings(copied=dict.fromkeys(toolkens.names, ()))))


OURS = Ours()
IN_TEXT = Ours(
    "ours_in_text",
    "ours, fitted and asked in the layout in which the papers' recipes are, not in a chat",
    in_text=True,
    kinds=frozenset({"tool"}),
)
ZERO_SHOT = Ours("ours_zero_shot", "this package from names and descriptions alone", demonstrated=False)
PARTS_OFF = (
    Ours("ours_no_gate", "ours; a call is made where a toolken beats the best word", without_gate),
    Ours("ours_no_evidence", "ours; tools are chosen by the rows alone", without_evidence),
    Ours("ours_no_copying", "ours; arguments without slots and copying", without_copying),
    Ours("ours_plain_cards", "ours; arguments after the bare card", with_plain_cards),
)
