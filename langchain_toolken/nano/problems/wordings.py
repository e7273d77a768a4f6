"""The templates of word problems, read from the text files in `wordings/`.

A file has sections (`## add`). A template is a question line and an answer line, followed by an empty line. `[one|two|]` is a choice,
here between "one", "two" and nothing. `{ts}` and the like are words, `{x}`, `{y}`, `{xs}` are numbers. Questions that begin with `!` are
held out for evaluation.

In the answer of a one-step problem, `{E}` is the expression with its result (`5572%3241=2331`), `{W}` is the operation in words with its
result ("the greatest common divisor of 12 and 18, which is 6"), and `{R}` is the result alone. The answer of a multi-step problem names
operation and operands, `{multiply:x,y}`; `#1` is the result of the first step.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent / "wordings"


@dataclass(frozen=True)
class Template:
    """A question and its answer, with fields to fill. `held_out` templates are for evaluation only."""

    question: str
    answer: str
    held_out: bool


def _read(name: str) -> dict[str, tuple[Template, ...]]:
    sections: dict[str, tuple[Template, ...]] = {}
    section = ""
    for block in (_FOLDER / name).read_text(encoding="utf-8").strip().split("\n\n"):
        if block.startswith("## "):
            section = block.removeprefix("## ")
            sections[section] = ()
            continue
        lines = block.splitlines()
        if len(lines) != 2:
            raise ValueError(f"{_FOLDER / name}: a template is a question and an answer, not {block!r}")
        question, answer = lines
        held_out = question.startswith("!")
        sections[section] += (Template(question.removeprefix("!").strip(), answer, held_out),)
    return sections


@cache
def one_step_templates() -> dict[str, tuple[Template, ...]]:
    """Read the one-step templates of each operation, in the papers' order of the 13 FuncQA tools."""
    return _read("one_step.txt")


@cache
def multi_step_templates() -> tuple[Template, ...]:
    """Read the templates that take two or more operations."""
    return _read("multi_step.txt")["multi_step"]


# Events of a story: what happens, and the operation on the amount so far.
EVENTS: tuple[tuple[str, str], ...] = (
    ("[buys|gets|finds|wins|receives] {v} more", "add"),
    ("is given {v}[ by {m}|]", "add"),
    ("[picks|makes|collects] another {v}", "add"),
    ("[earns|gathers|takes in|is sent] {v}[ more|]", "add"),
    ("[puts|brings] {v} more there", "add"),
    ("[gives|hands|sells] {v} to {m}", "subtract"),
    ("[gives|throws|sends] {v} away", "subtract"),
    ("[loses|uses|breaks|throws away] {v}[ of them|]", "subtract"),
    ("[eats|wastes|returns|donates|lends out|spends] {v}[ of them|]", "subtract"),
    ("[multiplies|increases] the stock {v} times", "multiply"),
    ("[has|sees] the number grow {v} times", "multiply"),
    ("[divides|splits|shares] [them|what is there] equally among {v} {members} and keeps one share", "divide"),
    ("[borrows|fetches] {v} more", "add"),
    ("[purchases|imports] {v} additional {ts}", "add"),
    ("unpacks {v} [further|extra] ones", "add"),
    ("discovers {v} more in [the attic|a drawer|a closet]", "add"),
    ("is lent {v} by {m}", "add"),
    ("[accepts|obtains] {v} from {m}", "add"),
    ("[carries|drags|hauls] in {v} [others|more]", "add"),
    ("[rescues|saves] {v} [others|more] from the trash", "add"),
    ("[stacks|places] {v} more beside them", "add"),
    ("[wins|scores] {v} in a [raffle|lottery|contest]", "add"),
    ("[inserts|includes] {v} new ones", "add"),
    ("[acquires|secures] {v} at an auction", "add"),
    ("[downloads|produces|builds] {v} new ones", "add"),
    ("[gains|claims] {v}", "add"),
    ("[welcomes|takes delivery of] {v} further {ts}", "add"),
    ("gets {v} back from {m}", "add"),
    ("[steals|snatches] {v} from {m}", "add"),
    ("digs up {v} [behind the house|in the yard] and keeps them", "add"),
    ("stocks up with {v} [new|further] ones", "add"),
    ("adds {v} to [them|the collection|the heap]", "add"),
    ("[buries|misplaces] {v}", "subtract"),
    ("[ships|mails] {v} to {m}", "subtract"),
    ("[discards|scraps|burns] {v}", "subtract"),
    ("[removes|takes out|withdraws] {v}", "subtract"),
    ("[forgets|leaves behind] {v} on the [train|bus|bench]", "subtract"),
    ("[ruins|spoils|damages] {v} beyond repair", "subtract"),
    ("is robbed of {v}", "subtract"),
    ("[awards|presents] {v} to {m} as a prize", "subtract"),
    ("[exports|smuggles out] {v}", "subtract"),
    ("[consumes|swallows|devours] {v}", "subtract"),
    ("[delivers|brings] {v} to a customer", "subtract"),
    ("[passes on|concedes] {v} to {m}", "subtract"),
    ("[recycles|crushes] {v} of them", "subtract"),
    ("[surrenders|pays] {v} as a fine", "subtract"),
    ("sees {v} of them [disappear|vanish]", "subtract"),
    ("[hands back|gives back] {v} to {m}", "subtract"),
    ("[auctions off|bets and loses] {v}", "subtract"),
    ("[cancels|deletes|crosses out] {v}", "subtract"),
    ("lets {m} [keep|have|take] {v}", "subtract"),
    ("has {v} [stolen|confiscated|taken away] by a thief", "subtract"),
    ("[brings|raises] the number to {v} times what it was", "multiply"),
    ("[orders|gets] enough to have {v} times as many", "multiply"),
    ("[breaks|cuts|splits] each of them into {v} smaller ones", "multiply"),
    ("[arranges|sorts] them in {v} equal [heaps|parts] and holds on to one of these", "divide"),
    ("[cuts|brings] the number down to one part in {v}", "divide"),
)
HELD_OUT_EVENTS: tuple[tuple[str, str], ...] = (
    ("adds {v} from the cellar", "add"),
    ("trades {v} for nothing", "subtract"),
    ("inherits {v}", "add"),
    ("drops {v} into the river", "subtract"),
)
STORY_QUESTIONS = (
    "How many {ts} does {n} have [now|in the end|at the end|then]?",
    "How many {ts} are there [now|in the end|at last]?",
    "What is the number of {ts} [now|in the end|{n} has now]?",
    "[Find|Give|Work out] the number of {ts} [in the end|after all this|that {n} has then].",
    "How [large|big] is the [stock|number of {ts}] [now|after this|in the end]?",
    "What [does {n} have|is there] [in the end|after all this|now]?",
)
HELD_OUT_STORY_QUESTIONS = ("With how many {ts} does {n} end up?",)
