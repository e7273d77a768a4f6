"""Demonstrations as worked examples in prompts: the text alone, or with thoughts, actions and observations (ReAct)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from langchain_toolken.evaluation.graders import final_number
from langchain_toolken.prompts.call_cards import without_separators, written_arguments
from langchain_toolken.toolkens.lexical import LexicalMatch
from langchain_toolken.training.demonstrations.demonstration import DemonstratedCall, Demonstration, result_end

QUESTION, ANSWERED = "Q:", "\nA:"
THOUGHT, ACTION, INPUT, OBSERVATION, ANSWER = "Thought:", "Action:", "Action Input:", "Observation:", "Answer:"


@dataclass(frozen=True)
class Worked:
    """A demonstration, taken apart.

    Attributes:
        text: The demonstration as it is, results in place.
        question: What is asked.
        thoughts: What is said before each call.
        calls: The calls.
        rest: What is said after the last one.
    """

    text: str
    question: str
    thoughts: tuple[str, ...]
    calls: tuple[DemonstratedCall, ...]
    rest: str

    @classmethod
    def of(cls, demonstration: Demonstration) -> Worked | None:
        """Take a demonstration apart; None if it asks nothing, or nothing is called in it."""
        if demonstration.before:
            question, text, start = str(demonstration.before[-1].text), demonstration.text, 0
        elif ANSWERED in demonstration.text and demonstration.text.startswith(QUESTION):
            question = demonstration.text.partition(ANSWERED)[0].removeprefix(QUESTION)
            text, start = demonstration.text, demonstration.text.index(ANSWERED) + len(ANSWERED)
        elif "? " in demonstration.text[: demonstration.calls[0].start + 1 if demonstration.calls else 0]:
            question = demonstration.text.partition("? ")[0] + "?"
            text, start = demonstration.text, len(question)
        else:
            return None
        if not demonstration.calls:
            return None
        thoughts = []
        for call in demonstration.calls:
            thoughts.append(_one_line(text[start : call.start]))
            start = result_end(text, call) or call.start
        return cls(text.strip(), _one_line(question), tuple(thoughts), demonstration.calls, _one_line(text[start:]))

    @property
    def answer(self) -> str:
        """What the trace ends with: the number after a mark, or else the last result."""
        number = final_number(self.rest) if "####" in self.rest else None
        return str(number) if number is not None else (self.calls[-1].result or self.rest).strip()

    def trace(self, *, thoughts: bool) -> str:
        """Write it with actions and observations."""
        lines = [f"{QUESTION} {without_separators(self.question)}"]
        for thought, call in zip(self.thoughts, self.calls, strict=True):
            if thoughts and thought:
                lines.append(f"{THOUGHT} {without_separators(thought)}")
            lines.append(f"{ACTION} {action_of(call.tool)}")
            lines.append(f"{INPUT} {written_arguments(_named(call.args))}")
            lines.append(f"{OBSERVATION} {(call.result or '').strip()}")
        lines.append(f"{ANSWER} {self.answer}")
        return "\n".join(lines)

    def choice(self, *, thoughts: bool) -> str:
        """Write it up to its first action, for tasks that ask for the tool alone."""
        said = [f"{THOUGHT} {self.thoughts[0]}"] if thoughts and self.thoughts[0] else []
        return "\n".join([f"{QUESTION} {self.question}", *said, f"{ACTION} {action_of(self.calls[0].tool)}"])


def action_of(tool: str) -> str:
    """Write an action's name as the grammar of names makes the LM write it."""
    return written_arguments({"name": tool})


def nearest(demonstrations: Sequence[Demonstration], count: int) -> Callable[[str], list[Worked]]:
    """Return what finds the `count` examples whose questions share most words with one (BM25), the nearest last."""
    worked = [one for one in map(Worked.of, demonstrations) if one is not None and len(one.text) < _LONGEST]
    match = LexicalMatch("demonstrations", 1.0, tuple(one.question for one in worked)) if worked else None

    def find(question: str) -> list[Worked]:
        if match is None:
            return []
        scores = match.scores(question).tolist()
        return [worked[k] for k in reversed(sorted(range(len(worked)), key=lambda k: (-scores[k], k))[:count])]

    return find


def few(demonstrations: Sequence[Demonstration], count: int, seed: int) -> list[Worked]:
    """Draw `count` examples, of different tools as far as there are any, and none of a length that fills the prompt."""
    worked = [one for one in map(Worked.of, demonstrations) if one is not None and len(one.text) < _LONGEST]
    Random(f"examples {seed}").shuffle(worked)
    firsts: list[Worked] = []
    others: list[Worked] = []
    seen: set[str] = set()
    for one in worked:
        tool = one.calls[0].tool
        (others if tool in seen else firsts).append(one)
        seen.add(tool)
    return [*firsts, *others][:count]


_LONGEST = 2000  # characters


def _named(args: object) -> Mapping[str, object]:
    return args if isinstance(args, dict) else {}


def _one_line(text: str) -> str:
    return " ".join(text.split())
