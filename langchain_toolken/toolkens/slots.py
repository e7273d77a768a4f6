"""Where in a request a parameter's value stands: a few learned rows for each parameter, over the LM's hidden states.

A toolken is a row that tells from a hidden state which tool is wanted. A slot has three rows that tell, word by word,
whether a value begins, goes on, or ends there. It is learnt from demonstrations whose values stand in the request, and
steers copying (`decoding.local.copying`): of all spans of the request, those that look like this parameter's values are
preferred. Slot filling by a linear probe, in the field's terms.

The text is run through the LM by itself (`SLOT_LEAD` before it), so that a slot depends neither on the prompt's layout
nor on the conversation before it. Slots read the states in the middle of the LM where they can be had (`SLOT_DEPTH`).
"""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from safetensors import SafetensorError
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor

from langchain_toolken.prompts.content import encode_with_ends
from langchain_toolken.toolkens.errors import ToolkenSetError
from langchain_toolken.toolkens.lexicon import Lexicon

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SLOT_LEAD = "\n"
"""Stands before the text, so that its first words don't have the states of a text's beginning, which are unlike all."""

SLOT_DEPTH = 0.53
"""After which part of the LM's layers slots read its states: later ones tell more of the next word than of this one.

SmolLM2's layer 16 of 30 finds 182 of 201 demonstrated and dev values of 14 tools, each held out; the last one 172.
"""

SLOT_PARTS = 3  # begins, inside, ends

LONGEST_SLOT_TEXT = 1_200
"""Characters of the longest text that slots are used for: reading a longer one again would take longer than a call."""

_LONGEST_VALUE = 40  # words
# Nats of the likeliest span, from which on a slot says that an optional parameter is there; below 0 it is left out.
# SmolLM2, everyday, 5 parameters, held out: all 15 that are there have 1.5 or more, and 6 of 8 that are not have less.
_SURE = 1.5
_WORD = re.compile(
    r"""(?=[\w.@-]*[^\W\d])\w[\w-]*(?:[.@]\w[\w-]*)+  # k.tanaka@example.jp, 1.4.0-rc2: no value is a part of one
    |\d+(?:[.,:]\d+)*
    |['’]s\b  # of "Ann's", which is no part of the name
    |\w+(?:['’](?!s\b)\w+)*
    |[^\w\s]""",
    re.VERBOSE,
)
_HOUR = "one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve"
_CLOCK = re.compile(
    rf"\b(?:half|(?:a\s+)?quarter|(?:five|ten|twenty|twenty[\s-]five)(?:\s+minutes)?)\s+(?:past|to)\s+(?:{_HOUR}|\d\d?)\b",
    re.IGNORECASE,
)

TimeUnit = Literal["seconds", "minutes", "hours", "days", "weeks"]


def slot_words(text: str) -> list[tuple[int, int]]:
    """Return where the words of a text start and stop. A number is one word, as is each mark of punctuation."""
    return [found.span() for found in _WORD.finditer(text)]


@dataclass(frozen=True, eq=False)
class SlotText:
    """A text as slots read it.

    Attributes:
        text: The text.
        ids: The token ids of `SLOT_LEAD` and the text.
        words: Where its words start and stop, in characters.
        places: For each word, the index in `ids` of the token before its first one, and of its last one.
    """

    text: str
    ids: list[int]
    words: list[tuple[int, int]]
    places: list[tuple[int, int]]

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase, text: str) -> SlotText:
        """Lay a text out for an LM. Nothing in it becomes a special token."""
        pieces = encode_with_ends(tokenizer, SLOT_LEAD + text, continued=False, offsets=True)
        ends = [end - len(SLOT_LEAD) for _, end in pieces]
        words, places = [], []
        for start, stop in slot_words(text):
            first, last = bisect_right(ends, start), bisect_left(ends, stop)
            if last < len(ends):  # a tokenizer may drop the end of a text
                words.append((start, stop))
                places.append((max(first - 1, 0), last))
        return cls(text, [index for index, _ in pieces], words, places)

    @property
    def times(self) -> list[tuple[int, int]]:
        """The first and last word of each time of day in words, such as "half past five": no value is a part of one."""
        found = [match.span() for match in _CLOCK.finditer(self.text)]
        inside = [[i for i, (a, b) in enumerate(self.words) if start <= a and b <= stop] for start, stop in found]
        return [(words[0], words[-1]) for words in inside if words]

    def words_between(self, first: int, last: int) -> str:
        """Return the text from the word `first` to the word `last`."""
        return self.text[self.words[first][0] : self.words[last][1]]

    def features(self, states: Tensor) -> Tensor:
        """Return (n, 2d): for each word the state before it, and the state at its end.

        Args:
            states: (len(ids), d), the LM's hidden states of `ids` (`lm.states.text_states`).
        """
        if not self.places:
            return states.new_zeros(0, 2 * states.shape[-1])
        before, at = (torch.tensor(places) for places in zip(*self.places, strict=True))
        return torch.cat([states[before], states[at]], dim=-1).float().cpu()


@dataclass(frozen=True, eq=False)
class Slot:
    """One parameter's rows.

    Attributes:
        rows: (3, 2d) float32: a value begins at a word, a word is part of one, a value ends there.
        biases: (3,).
        optional: Whether demonstrations call the tool with this parameter and without it, so that the slot tells which.
        depth: After which part of the LM's layers it reads its states; 1 for the last ones.
        lexicon: For a parameter of fixed choices, which of them the words mean that the slot finds; None for one whose
            values are copied.
        unit: For a parameter whose numbers are lengths of time, what they are counted in.

    Raises:
        ToolkenSetError: Shapes do not agree, or a value is not finite.
    """

    rows: Tensor
    biases: Tensor
    optional: bool = False
    depth: float = 1.0
    lexicon: Lexicon | None = None
    unit: TimeUnit | None = None

    def __post_init__(self) -> None:
        if self.rows.ndim != 2 or len(self.rows) != SLOT_PARTS or self.biases.shape != (SLOT_PARTS,):
            raise ToolkenSetError(
                f"a slot has rows {tuple(self.rows.shape)} and biases {tuple(self.biases.shape)}; they must be "
                f"({SLOT_PARTS}, 2d) and ({SLOT_PARTS},)"
            )
        if not bool(torch.isfinite(self.rows).all() and torch.isfinite(self.biases).all()):
            raise ToolkenSetError("a slot has a value that is not finite")

    def scores(self, features: Tensor, times: Sequence[tuple[int, int]] = ()) -> SlotScores:
        """Score the words of a text.

        Args:
            features: (n, 2d), the words' features.
            times: First and last words of what is not parted (`SlotText.times`).
        """
        begins, inside, ends = (features @ self.rows.T + self.biases).T.tolist() if len(features) else ([], [], [])
        for first, last in times:
            begins[first + 1 : last + 1] = [-math.inf] * (last - first)
            ends[first:last] = [-math.inf] * (last - first)
        return SlotScores(begins, inside, ends, self.optional)


@dataclass(frozen=True)
class SlotValue:
    """A span of a text as a parameter's value.

    Attributes:
        score: Nats; above 0 it is likelier than that there is no value.
        words: Its words.
    """

    score: float
    words: range


@dataclass(frozen=True)
class SlotScores:
    """How a parameter's slot scores the words of a text, in nats.

    Attributes:
        begins: For each word, the log odds that a value begins there.
        inside: The log odds that it is part of a value.
        ends: The log odds that a value ends there.
        optional: As in `Slot`.
    """

    begins: Sequence[float]
    inside: Sequence[float]
    ends: Sequence[float]
    optional: bool = False
    _totals: dict[int, list[float]] = field(default_factory=dict, repr=False, compare=False)

    def has_value(self, best: float) -> bool | None:
        """Whether the call has the parameter, whose likeliest span has the score `best`; None where that can't tell."""
        return best > 0 if self.optional and not 0 <= best <= _SURE else None

    def best(self, taken: Collection[int] = ()) -> SlotValue:
        """Return the likeliest span that has none of the words `taken`."""
        found = SlotValue(-math.inf, range(0))
        for first in range(len(self.begins)):
            for length, score in enumerate(self.spans_from(first), start=1):
                if first + length - 1 in taken:
                    break
                if score > found.score:
                    found = SlotValue(score, range(first, first + length))
        return found

    def spans_from(self, first: int) -> list[float]:
        """Return the scores of the spans from word `first` to each word from there on."""
        if first not in self._totals:
            total, found = self.begins[first], []
            for last in range(first, min(len(self.ends), first + _LONGEST_VALUE)):
                total += self.inside[last]
                found.append(total + self.ends[last])
            self._totals[first] = found
        return self._totals[first]

    def items_from(self, first: int) -> list[float]:
        """Return the scores of the spans from word `first` to each word from there on, each as one value of a list.

        A list's slot judges each word by itself, so that several values together have a higher sum than each of them.
        So an item is what all words that look like values make up until one that doesn't: 0 nats, and less for words
        that look otherwise inside of it, and for one next to it that looks like its own.
        """

        def left_out(word: int) -> float:
            return max(self.inside[word], 0.0) if 0 <= word < len(self.inside) else 0.0

        total, found = -left_out(first - 1), []
        for last in range(first, min(len(self.inside), first + _LONGEST_VALUE)):
            total += min(self.inside[last], 0.0)
            found.append(total - left_out(last + 1))
        return found


@dataclass(frozen=True, eq=False)
class Slots:
    """The slots of some tools' parameters.

    Attributes:
        of_tool: By tool and parameter.
    """

    of_tool: Mapping[str, Mapping[str, Slot]] = field(default_factory=dict)

    def __len__(self) -> int:
        return sum(map(len, self.of_tool.values()))

    @cached_property
    def saved(self) -> bytes:
        """What `slots.safetensors` holds: all rows (P, 3, 2d) and biases (P, 3), and whose they are."""
        named = [(tool, parameter) for tool, slots in self.of_tool.items() for parameter in slots]
        slots = [self.of_tool[tool][parameter] for tool, parameter in named]
        tensors = {
            "rows": torch.stack([slot.rows for slot in slots]).contiguous(),
            "biases": torch.stack([slot.biases for slot in slots]).contiguous(),
        }
        whose = [
            (*name, slot.optional, slot.depth, None if slot.lexicon is None else asdict(slot.lexicon), slot.unit)
            for name, slot in zip(named, slots, strict=True)
        ]
        # One entry: safetensors writes several in an order that differs from run to run.
        return tensors_to_bytes(tensors, metadata={"slots": json.dumps(whose)})

    @classmethod
    def of_saved(cls, content: bytes, names: Collection[str]) -> Slots:
        """Read what `saved` wrote.

        Args:
            content: The file's content.
            names: The tools that may have slots.

        Raises:
            ToolkenSetError: The content is damaged, or has slots of other tools.
        """
        try:
            tensors = tensors_from_bytes(content)
            # safetensors reads metadata from files only. The header is JSON after its length in eight bytes.
            header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
            whose = json.loads(header["__metadata__"]["slots"])
            of_tool: dict[str, dict[str, Slot]] = {}
            for (tool, parameter, optional, *later), rows, biases in zip(
                whose, tensors["rows"], tensors["biases"], strict=True
            ):
                of_tool.setdefault(str(tool), {})[str(parameter)] = Slot(rows, biases, bool(optional), *_later(*later))
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise ToolkenSetError(f"it is damaged ({error})") from error
        if foreign := of_tool.keys() - set(names):
            raise ToolkenSetError(f"it has slots of {min(foreign)!r}, which has no toolken here")
        return cls(of_tool)

    def check(self, hidden_size: int) -> None:
        """Raise a ToolkenSetError if a slot is for an LM of another hidden size."""
        for tool, slots in self.of_tool.items():
            for parameter, slot in slots.items():
                if slot.rows.shape[1] != 2 * hidden_size:
                    raise ToolkenSetError(
                        f"the slot of {tool}'s {parameter!r} has rows of {slot.rows.shape[1]} numbers, not "
                        f"{2 * hidden_size}, two hidden states of this LM"
                    )

    def select(self, names: Collection[str]) -> Slots:
        """Keep these tools."""
        return Slots({tool: slots for tool, slots in self.of_tool.items() if tool in names})

    def merged(self, other: Slots) -> Slots:
        """Put two sets of tools together; where both have a tool, it is this one's."""
        return Slots({**other.of_tool, **self.of_tool})


def _later(
    depth: float = 1.0, lexicon: dict[str, Any] | None = None, unit: TimeUnit | None = None
) -> tuple[float, Lexicon | None, TimeUnit | None]:
    """Read what slots of earlier versions don't have."""
    if unit is not None and unit not in get_args(TimeUnit):
        raise ValueError(f"no unit is called {unit!r}")
    if lexicon is None:
        return float(depth), None, unit
    pairs = tuple((str(words), str(choice)) for words, choice in lexicon["pairs"])
    return float(depth), Lexicon(tuple(map(str, lexicon["choices"])), pairs, tuple(map(float, lexicon["usual"]))), unit
