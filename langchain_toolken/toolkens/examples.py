"""The demonstrated calls that a toolken set carries, for the cards of its tools, and the form of these cards.

A set keeps a bounded number of calls, as different from each other as possible (`chosen_examples`), and saves them as
`examples.jsonl`, a call a line. Whoever must not pass the demonstrations on fits with `keep_demonstrations=False`, or
deletes the file: the set works without it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from langchain_toolken.prompts.call_cards import PLAIN, Asked, CallExample, CardForm, call_card
from langchain_toolken.toolkens.errors import ToolkenSetError
from langchain_toolken.toolkens.worked_answers import WorkedAnswers
from langchain_toolken.tools.schemas import fields_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from langchain_toolken.toolkens.slots import Slots
    from langchain_toolken.tools.spec import ToolSpec

EXAMPLES_FILE = "examples.jsonl"
SLOTS_FILE = "slots.safetensors"
WORKED_FILE = "worked_answers.json"

MOST_OF_A_TOOL = 64
"""Most examples kept of a tool. A card shows 16 at most; the others are there to be nearer to some request."""

_LONGEST = 4_000  # characters of one line of the file; a longer call would crowd a card
_LARGEST = 16_000_000  # characters of the whole file
_LOOKED_AT = 512  # calls of a tool that its examples are chosen from


ChoiceNats = dict[str, dict[str, float]]
"""For each parameter of fixed choices, what is added to the logits of each choice, written as JSON: the likelier the LM
finds it whatever is asked, the less."""


class ToolAccuracy(BaseModel):
    """How often a tool's arguments were exactly right in held-out demonstrations.

    Attributes:
        right: How many calls were right in every argument.
        asked: How many calls were tried.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    right: int = Field(ge=0)
    asked: int = Field(ge=1)


class FormTried(BaseModel):
    """One form of card, and how it did on the held-out demonstrations that it was tried on.

    Attributes:
        form: The form.
        copy_nats: How much copying from the request was preferred, in nats, for parameters whose values are copied.
        slots: Whether slots said which spans to copy.
        right: How many calls were right in every argument.
        asked: How many calls were tried.
        tokens: Mean length of the card.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    form: CardForm
    copy_nats: float = Field(default=0.0, ge=0)
    slots: bool = False
    right: int = Field(ge=0)
    asked: int = Field(ge=1)
    tokens: float = Field(ge=0)

    @property
    def copying(self) -> str:
        """What is told of copying after the form; "" without it."""
        if not self.copy_nats:
            return ""
        return ", copying preferred" + (", the spans found by slots" if self.slots else "")


class ArgumentSettings(BaseModel):
    """How a set's tools have their arguments completed.

    Attributes:
        form: The form of the cards.
        copied: For each tool, the parameters whose values stand in the request word for word in most demonstrations.
        copy_nats: How much copying from the request is preferred for these, in nats; 0 where it does not help.
        choices: For each tool, what is added for fixed choices; empty where that does not help.
        tried: The forms and nats that were tried; empty if nothing was chosen.
        tools: How the chosen form did, by tool, for the tools that were tried.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    form: CardForm = PLAIN
    copied: dict[str, tuple[str, ...]] = {}
    copy_nats: float = Field(default=0.0, ge=0)
    choices: dict[str, ChoiceNats] = {}
    tried: tuple[FormTried, ...] = ()
    tools: dict[str, ToolAccuracy] = {}

    @property
    def accuracy(self) -> float | None:
        """Share of the tried calls whose arguments were exactly right; None if none was tried."""
        asked = sum(tool.asked for tool in self.tools.values())
        return sum(tool.right for tool in self.tools.values()) / asked if asked else None

    def of(self, names: Iterable[str]) -> Self:
        """Keep the figures of these tools only."""
        kept = set(names)
        figures = {name: one for name, one in self.tools.items() if name in kept}
        copied = {name: parameters for name, parameters in self.copied.items() if name in kept}
        choices = {name: nats for name, nats in self.choices.items() if name in kept}
        return self.model_copy(update={"tools": figures, "copied": copied, "choices": choices})

    def merged(self, other: Self) -> Self:
        """Put the figures of two sets together. The form is that of the set that more calls were tried for."""
        asked = [sum(tool.asked for tool in one.tools.values()) for one in (self, other)]
        first, second = (self, other) if asked[0] >= asked[1] else (other, self)
        # What the other set measured was another card.
        figures = {**second.tools, **first.tools} if first.form == second.form else first.tools
        choices = {**second.choices, **first.choices} if first.form == second.form else first.choices
        return first.model_copy(update={"tools": figures, "choices": choices})


@dataclass(frozen=True)
class Examples:
    """What a set has its tools' arguments completed with.

    Attributes:
        calls: Demonstrated calls.
        settings: The form of the cards; None in sets of versions that did not choose it.
        slots: Where in a request the values of copied parameters are; None where copying is not preferred.
        worked: What is put before a question; None where calls don't come better with it.
    """

    calls: tuple[CallExample, ...] = ()
    settings: ArgumentSettings | None = None
    slots: Slots | None = None
    worked: WorkedAnswers | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "calls", tuple(self.calls))

    @property
    def form(self) -> CardForm:
        """The form of the cards."""
        return PLAIN if self.settings is None else self.settings.form

    @property
    def fingerprint(self) -> str:
        """The sha256 of all that decoding reads."""
        settings = self.settings
        copying = None if settings is None else (settings.copy_nats, settings.copied, settings.choices)
        own = hashlib.sha256(f"{self.form} {copying}\n".encode())
        for content in self.files().values():
            own.update(content)
        return own.hexdigest()

    def told_by_words(self, tool: str) -> tuple[str, ...]:
        """Return the tool's parameters whose values the request's own words tell: copied ones, and those with slots."""
        settings = self.settings
        if settings is None or not settings.copy_nats:
            return ()
        slots = {} if self.slots is None else self.slots.of_tool.get(tool, {})
        return tuple(dict.fromkeys([*settings.copied.get(tool, ()), *slots]))

    def shows(self, tool: str) -> bool:
        """Whether a demonstration called the tool, as far as that is kept."""
        settings = self.settings
        known = settings is not None and (tool in settings.copied or tool in settings.tools)
        return known or any(call.tool == tool for call in self.calls)

    def check(self, names: Collection[str], hidden_size: int) -> None:
        """Raise a ToolkenSetError if a call is of a tool that is not in `names`, or a slot is for another LM."""
        for number, call in enumerate(self.calls, start=1):
            if call.tool not in names:
                raise ToolkenSetError(f"example {number} calls {call.tool!r}, which has no toolken here")
        if self.slots is not None:
            self.slots.check(hidden_size)

    def select(self, names: Collection[str]) -> Examples:
        """Keep the calls and figures of these tools."""
        calls = tuple(call for call in self.calls if call.tool in names)
        settings = None if self.settings is None else self.settings.of(names)
        slots = None if self.slots is None else self.slots.select(names)
        return Examples(calls, settings, slots, None if self.worked is None else self.worked.select(names))

    def extended(self, learnt: Examples) -> Examples:
        """Add what was learnt of more calls for the same set.

        Where both know a tool, its figures and slots are the later ones. What was tried stays: it is what the set's way
        of completing calls was chosen by, and later trials only measure that way.
        """
        settings, slots = learnt.settings, learnt.slots
        if self.settings is not None and settings is not None:
            kept = {
                "tools": {**self.settings.tools, **settings.tools},
                "copied": {**self.settings.copied, **settings.copied},
                "choices": {**self.settings.choices, **settings.choices},
                "tried": self.settings.tried,
            }
            settings = settings.model_copy(update=kept)
        if self.slots is not None:
            slots = self.slots if slots is None else slots.merged(self.slots)
        worked = learnt.worked if self.worked is None else self.worked
        return Examples(chosen_examples((*self.calls, *learnt.calls)), settings, slots, worked)

    def merged(self, other: Examples) -> Examples:
        """Put the examples of two sets together, as many as a set keeps."""
        settings = self.settings or other.settings
        if self.settings is not None and other.settings is not None:
            settings = self.settings.merged(other.settings)
        slots = self.slots or other.slots
        if self.slots is not None and other.slots is not None:
            slots = self.slots.merged(other.slots)
        worked = self.worked or other.worked
        if self.worked is not None and other.worked is not None:
            worked = self.worked.merged(other.worked)
        return Examples(chosen_examples((*self.calls, *other.calls)), settings, slots, worked)

    def files(self) -> dict[str, bytes]:
        """Return the files of a saved set that hold the calls and the slots, by name."""
        found = {}
        if self.calls:
            found[EXAMPLES_FILE] = "".join(f"{_line(call)}\n" for call in self.calls).encode()
        if self.slots:
            found[SLOTS_FILE] = self.slots.saved
        if self.worked is not None:
            found[WORKED_FILE] = self.worked.saved
        return found

    @classmethod
    def of_files(
        cls, files: Mapping[str, bytes], settings: ArgumentSettings | None, names: Collection[str], folder: Path
    ) -> Self:
        """Read what `files` gave.

        Args:
            files: The files of a saved set, by name.
            settings: The settings, which are saved with the set's own.
            names: The set's tools.
            folder: Where the files are, for messages.

        Raises:
            ToolkenSetError: A file is damaged, or is of other tools. The message names it.
        """
        calls = read_calls(files.get(EXAMPLES_FILE, b""), names, folder / EXAMPLES_FILE)
        slots = worked = None
        try:
            if WORKED_FILE in files:
                worked = WorkedAnswers.of_saved(files[WORKED_FILE], names)
        except ToolkenSetError as error:
            raise ToolkenSetError(f"{folder / WORKED_FILE}: {error}. Delete the file, or fit anew") from error
        if SLOTS_FILE in files:
            from langchain_toolken.toolkens.slots import Slots  # loads torch

            try:
                slots = Slots.of_saved(files[SLOTS_FILE], names)
            except ToolkenSetError as error:
                raise ToolkenSetError(f"{folder / SLOTS_FILE}: {error}. Fit anew") from error
        return cls(calls, settings, slots, worked)


NO_EXAMPLES = Examples()


def read_calls(content: bytes, names: Collection[str], file: Path) -> tuple[CallExample, ...]:
    """Read the content of `examples.jsonl`.

    Args:
        content: The content.
        names: The tools that may be called.
        file: The file's name, for messages.

    Raises:
        ToolkenSetError: A line is no example, or one of another tool. The message names the file and the line.
    """
    calls = []
    for number, line in enumerate(content.decode("utf-8", errors="replace").split("\n"), start=1):
        if not line:
            continue
        try:
            call = CallExample.model_validate_json(line)
            fault = "" if call.tool in names else f"it calls {call.tool!r}, which has no toolken here"
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            fault = f"{'.'.join(map(str, first['loc'])) or 'the line'}: {first['msg']}"
        if fault:
            raise ToolkenSetError(
                f"{file}, line {number}: {fault}. Delete the file to go without examples, or fit anew"
            )
        calls.append(call)
    return tuple(calls)


def nearest_examples(examples: Sequence[CallExample], asked: Asked, count: int) -> list[CallExample]:
    """Return the `count` examples that share most words with what is asked (BM25), the nearest first."""
    if not examples or count < 1:
        return []
    from langchain_toolken.toolkens.lexical import LexicalMatch  # loads torch

    with_answer = bool(asked.so_far)
    match = LexicalMatch("demonstrations", 1.0, tuple(_text(example.asked, with_answer) for example in examples))
    scores = match.scores(_text(asked, with_answer)).tolist()
    order = sorted(range(len(examples)), key=lambda i: (-scores[i], i))
    return [examples[i] for i in order[:count]]


def card_of(
    tokenizer: PreTrainedTokenizerBase,
    spec: ToolSpec,
    examples: Examples,
    asked: Asked,
    *,
    room: int,
) -> list[int]:
    """Lay out a called tool's card, with the examples nearest to what is asked; see `call_cards.call_card`.

    A tool without examples gets the plain card where the form was chosen for cards with examples.

    Args:
        tokenizer: The LM's tokenizer.
        spec: The tool.
        examples: The form of the card, and calls of any tools.
        asked: What the call answers.
        room: Most tokens of the card.
    """
    form = examples.form
    own = [example for example in examples.calls if example.tool == spec.name and _takes(spec, example)]
    nearest = nearest_examples(own, asked, form.examples)
    if form.examples and not nearest:
        form = PLAIN
    return call_card(tokenizer, spec, form, nearest, asked, room)


def chosen_examples(found: Iterable[CallExample]) -> tuple[CallExample, ...]:
    """Choose the examples that a set keeps: of each tool at most `MOST_OF_A_TOOL`, the unlike before the alike.

    The first call of a tool is kept, then always the one that shares the fewest words with those kept so far. Calls
    that fill more than a few lines are left out, and if all together are too large, each tool keeps fewer.
    """
    of_tool: dict[str, dict[str, CallExample]] = {}
    for example in found:
        line = _line(example)
        if len(line) <= _LONGEST:
            of_tool.setdefault(example.tool, {}).setdefault(line, example)
    ranked = {tool: _unlike(list(calls.values())) for tool, calls in of_tool.items()}
    kept: dict[str, list[CallExample]] = {tool: [] for tool in ranked}
    left = _LARGEST
    for place in range(MOST_OF_A_TOOL):
        for tool, calls in ranked.items():
            if place < len(calls) and (size := len(_line(calls[place])) + 1) <= left:
                kept[tool].append(calls[place])
                left -= size
    return tuple(example for calls in kept.values() for example in calls)


def _takes(spec: ToolSpec, example: CallExample) -> bool:
    """Return whether the tool has all arguments of the example; it may have lost one since it was recorded."""
    fields = fields_of(spec.json_schema, spec.json_schema)
    return fields.open_ended or example.arguments.keys() <= fields.schemas.keys()


def _line(example: CallExample) -> str:
    return json.dumps(example.model_dump(), ensure_ascii=False)


def _text(asked: Asked, with_answer: bool) -> str:
    return f"{asked.request} {asked.so_far if with_answer else ''}"


def _unlike(calls: Sequence[CallExample]) -> list[CallExample]:
    """Order calls so that each shares the fewest words with those before it (as the closest of them, by Jaccard)."""
    from langchain_toolken.toolkens.lexical import words_of  # loads torch

    calls = calls[:: -(-len(calls) // _LOOKED_AT)]
    words = [frozenset(words_of(_text(call.asked, True))) | call.arguments.keys() for call in calls]
    closest = [0.0] * len(calls)
    left, order = list(range(1, len(calls))), [0]
    while left and len(order) < MOST_OF_A_TOOL:
        last = words[order[-1]]
        for i in left:
            closest[i] = max(closest[i], len(last & words[i]) / (len(last | words[i]) or 1))
        order.append(min(left, key=lambda i: (closest[i], i)))
        left.remove(order[-1])
    return [calls[i] for i in order]
