"""The card that the LM reads after a trigger, before it writes the arguments: tool, examples, and what is asked.

This is the papers' tool mode. `call_card` lays out the card for decoding and for measuring on held-out demonstrations
alike. Which parts it has is a `CardForm`, which a fit chooses (`training.arguments`).

Requests and examples are content: no text in them becomes a special token, and none begins a line of the card, so that
a request can't pass for another example or open a turn.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from langchain_toolken.prompts.content import encode_content
from langchain_toolken.prompts.tool_cards import tool_card
from langchain_toolken.prompts.turns import turns_of
from langchain_toolken.tools.schemas import fields_of, resolve
from langchain_toolken.tools.value_kinds import value_kinds

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage
    from transformers import PreTrainedTokenizerBase

    from langchain_toolken.prompts.format import Reinjection
    from langchain_toolken.tools.spec import ToolSpec

MOST_EXAMPLES = 16
"""Most examples on a card. Each is read anew at every call."""

_LONGEST_TEXT = 1000  # characters of a request on a card; the whole request is in the prompt before it
_CUT = " … "
_SEPARATED = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])")
_UNESCAPED_BREAKS = re.compile("[\x85\u2028\u2029]")  # ends of lines that JSON leaves as they are
_ARGS = re.compile(r"(?:Args|Arguments|Parameters|Params):")
_DESCRIBED = re.compile(r"(\w+)(?: *\([^)]*\))?: *(.*)")


@dataclass(frozen=True)
class Asked:
    """What a call answers.

    Attributes:
        request: The text of the last user message; "" if there is none.
        so_far: What the assistant has written since then, up to the call, with the results in place.
    """

    request: str
    so_far: str = ""

    @property
    def text(self) -> str:
        """Both, one after the other."""
        return f"{self.request}\n{self.so_far}".strip()


class CallExample(BaseModel):
    """A call that a demonstration makes.

    Attributes:
        tool: The tool's name.
        request: What the user asked for; "" in a text without a question.
        so_far: What the assistant had written when it made the call.
        arguments: The call's arguments by name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    tool: str = Field(min_length=1)
    request: str
    so_far: str = ""
    arguments: dict[str, Any]

    @model_validator(mode="after")
    def _can_be_saved(self) -> Self:
        try:
            json.dumps(self.model_dump(), ensure_ascii=False, allow_nan=False).encode()
        except UnicodeEncodeError as error:
            raise ValueError("it holds a lone surrogate, half of a character") from error
        return self

    @property
    def asked(self) -> Asked:
        """What the call answers."""
        return Asked(self.request, self.so_far)


class CardForm(BaseModel):
    """Which parts a card has, besides the tool's signature and the first line of its description.

    Attributes:
        descriptions: Whether it lists the parameters' descriptions and defaults.
        examples: How many examples of the tool's calls it shows, the nearest to what is asked.
        request: Whether it repeats what is asked.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    descriptions: bool = False
    examples: int = Field(default=0, ge=0, le=MOST_EXAMPLES)
    request: bool = False

    def __str__(self) -> str:
        parts = ["signature", *(["descriptions"] if self.descriptions else [])]
        parts += [f"{self.examples} examples"] if self.examples else []
        return ", ".join([*parts, *(["request"] if self.request else [])])


PLAIN = CardForm()
"""The tool alone: signature and first line."""


def asked_in(messages: Sequence[BaseMessage], reinjection: Reinjection, written: str = "") -> Asked:
    """Return what a call answers that comes after `messages` and the text `written`.

    Args:
        messages: The history.
        reinjection: How results are put back; see `prompts.turns.turns_of`.
        written: What the assistant has written after `messages`.
    """
    turns = turns_of(messages, reinjection)
    open_text = turns[-1].text if turns[-1].role == "assistant" else ""
    request = next((turn.text for turn in reversed(turns) if turn.role == "user"), "")
    return Asked(request, open_text + written)


def call_card(
    tokenizer: PreTrainedTokenizerBase,
    spec: ToolSpec,
    form: CardForm,
    examples: Sequence[CallExample],
    asked: Asked,
    room: int,
) -> list[int]:
    """Lay out the card of a called tool; its arguments' JSON follows it.

    A card that is longer than `room` loses the farthest examples first, then a half of the request at a time, then
    everything that `PLAIN` does not have.

    Args:
        tokenizer: The LM's tokenizer.
        spec: The tool.
        form: Which parts the card has.
        examples: Calls of this tool, the nearest first. The first `form.examples` are shown, the nearest last.
        asked: What the call answers.
        room: Most tokens of the card. The plain card is returned whatever it has.
    """
    if form == PLAIN:
        return encode_content(tokenizer, tool_card(spec), continued=True)
    shown = list(examples[: form.examples])
    longest = _LONGEST_TEXT
    while True:
        texts = _texts(spec, form, shown, asked, longest)
        card = [index for text in texts for index in encode_content(tokenizer, text, continued=True)]
        if len(card) <= room:
            return card
        if shown:
            shown.pop()
        elif form.request and longest > len(_CUT):
            longest //= 2
        else:
            return encode_content(tokenizer, tool_card(spec), continued=True)


def _texts(
    spec: ToolSpec, form: CardForm, examples: Sequence[CallExample], asked: Asked, longest: int
) -> Iterator[str]:
    """Yield the card's texts, each to be tokenised by itself.

    Examples' arguments are tokenised as those of the call will be. Together with the space before them, most
    tokenizers would begin them with another token.
    """
    numbers = only_numbers(spec)
    text = f"\nTool: {spec.signature}\n{spec.summary}\n"
    if form.descriptions:
        text += "".join(f"{line}\n" for line in _parameters(spec))
    for example in reversed(examples):
        yield f"{text}\n{_question(example.asked, numbers, _LONGEST_TEXT, bool(asked.so_far))}Arguments: "
        yield written_arguments(example.arguments)
        text = "\n"
    yield f"{text}\n{_question(asked, numbers, longest, True) if form.request else ''}Arguments: "


def _question(asked: Asked, numbers: bool, longest: int, with_answer: bool) -> str:
    named = [("Request", asked.request), ("Answer", asked.so_far if with_answer else "")]
    return "".join(f"{name}: {_line(text, numbers, longest)}\n" for name, text in named if text.strip())


def _line(text: str, numbers: bool, longest: int) -> str:
    """Shorten a text in its middle, and indent all lines but the first, so that none begins a line of the card."""
    text = text.strip()
    if len(text) > longest:
        half = max((longest - len(_CUT)) // 2, 1)
        text = text[:half] + _CUT + text[-half:]
    if numbers:
        text = without_separators(text)
    return "\n  ".join(text.splitlines())


def written_arguments(arguments: Mapping[str, Any]) -> str:
    """Write arguments as the LM has to: compact JSON, on one line."""
    written = json.dumps(arguments, ensure_ascii=False, separators=(",", ":"))
    return _UNESCAPED_BREAKS.sub(lambda found: f"\\u{ord(found[0]):04x}", written)


def without_separators(text: str) -> str:
    """Take the commas out of numbers like 13,289, which an LM would write as two numbers of a JSON list."""
    return _SEPARATED.sub(lambda found: found[0].replace(",", ""), text)


def only_numbers(spec: ToolSpec) -> bool:
    """Return whether all parameters of a tool are numbers, truth values or fixed choices, and at least one a number.

    Such a tool has no parameter that takes text from the request as it is written there.
    """
    root = spec.json_schema
    fields = fields_of(root, root)
    kinds = {kind for field in fields.schemas.values() for kind in value_kinds(field, root)}
    return not fields.open_ended and "number" in kinds and kinds <= {"number", "choice"}


def _parameters(spec: ToolSpec) -> Iterator[str]:
    """Yield a line for each parameter of which more is known than the signature says."""
    written = _written_descriptions(spec.description)
    for name, field in fields_of(spec.json_schema, spec.json_schema).schemas.items():
        field = resolve(field, spec.json_schema)
        field = field if isinstance(field, Mapping) else {}
        described = [" ".join(str(field.get("description") or written.get(name, "")).split())]
        if field.get("default") is not None:
            described.append(f"Default: {json.dumps(field['default'], ensure_ascii=False)}")
        if any(described):
            yield f"- {' '.join(name.split())}: {' '.join(filter(None, described))}"


def _written_descriptions(docstring: str) -> dict[str, str]:
    """Read the `Args:` section of a Google-style docstring, which LangChain leaves in a tool's description."""
    lines = iter(docstring.splitlines())
    if not any(_ARGS.fullmatch(line.strip()) for line in lines):
        return {}
    found: dict[str, str] = {}
    name, indent = "", None
    for line in lines:
        depth = len(line) - len(line.lstrip())
        if indent is None:
            indent = depth
        if not line.strip() or depth < indent or (depth == 0 and indent > 0):
            break
        described = _DESCRIBED.match(line.strip()) if depth == indent else None
        if described:
            name = described[1]
            found[name] = described[2]
        elif name:
            found[name] += " " + line.strip()
    return found
