r"""Keep content from opening a turn where turns are marked by text.

Special tokens mark the turns of most chat templates, and content can't hold one (`content`). But the completion style
marks turns by lines that begin with "Q:" or "A:", and some templates by plain text such as "[/INST]" or "USER:". The
same words in a message or a tool's result would have the ids of a real turn. So such a line gets "> " before its label,
as mail programs quote lines, and a template's marker gets a space before its last character. The LM still reads what
was said.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from langchain_toolken.prompts.content import encode_content

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

QUESTION_LABEL, ANSWER_LABEL, SYSTEM_LABEL = "Q", "A", "System"
_LABELS = (QUESTION_LABEL, ANSWER_LABEL, SYSTEM_LABEL)

_BREAKS = frozenset("\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029")
_COLONS = re.compile("[:\uff1a\ufe55\ufe13]")  # all characters that Unicode's compatibility form makes a colon
_UNSEEN = "[\\s\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2064\ufe00-\ufe0f\ufeff]*"


@dataclass(frozen=True)
class LabelReading:
    """What a tokenizer takes for the same text, so that a label may be written in other ways.

    Attributes:
        any_case: It ignores case: "q:" has the ids of "Q:".
        any_space: It reads a line break as a space: " Q:" has the ids of a line's beginning.
    """

    any_case: bool
    any_space: bool


def label_reading(tokenizer: PreTrainedTokenizerBase) -> LabelReading:
    """Return how `tokenizer` reads labels, found out by encoding some."""
    return _label_reading(tokenizer, len(tokenizer))


@lru_cache(maxsize=8)
def _label_reading(tokenizer: PreTrainedTokenizerBase, size: int) -> LabelReading:
    def same(one: str, other: str) -> bool:
        return encode_content(tokenizer, one) == encode_content(tokenizer, other)

    return LabelReading(any_case=same("a Q:", "a q:"), any_space=same("a\nQ:", "a Q:"))


def quoted(text: str, reading: LabelReading, *, begins_line: bool = False, goes_on: bool = False) -> str:
    r"""Put "> " before each label that begins a line of `text`.

    A line begins after any of Unicode's line breaks. Spaces and invisible characters around and in the label don't
    matter, and neither do characters that Unicode's compatibility form (NFKC) makes the same, since tokenizers drop or
    replace them.

    Args:
        text: A message's content, with the results in it.
        reading: How the tokenizer reads labels.
        begins_line: Whether the text itself begins a line.
        goes_on: Whether the LM goes on right after the text, where it could add the colon to a label.
    """
    starts = [_label_start(text, match.start(), reading, begins_line) for match in _COLONS.finditer(text)]
    if goes_on:
        starts.append(_label_start(text, len(text), reading, begins_line))
    quote = ">" if reading.any_space else "> "  # there a space itself would begin a line
    pieces, last = [], 0
    for start in starts:
        if start is not None:
            pieces += [text[last:start], quote]
            last = start
    return "".join([*pieces, text[last:]])


def _label_start(text: str, colon: int, reading: LabelReading, begins_line: bool) -> int | None:
    """Return where the label before a colon starts; None if there is none, or if it does not begin a line."""
    for label in _LABELS:
        at = colon
        for letter in reversed(label):
            at = _before_unseen(text, at) - 1
            if at < 0 or not _same_letter(text[at], letter, reading):
                break
        else:
            if _begins_line(text, at, reading, begins_line):
                return at
    return None


def _before_unseen(text: str, end: int) -> int:
    while end > 0 and _unseen(text[end - 1]):
        end -= 1
    return end


def _unseen(character: str) -> bool:
    """Return whether a tokenizer may drop a character or read it as a space: spaces, controls, formats, marks."""
    return unicodedata.category(character)[0] in "ZCM"


def _same_letter(character: str, letter: str, reading: LabelReading) -> bool:
    plain = character if character.isascii() else unicodedata.normalize("NFKC", character)
    return plain == letter or (reading.any_case and plain.casefold() == letter.casefold())


def _begins_line(text: str, at: int, reading: LabelReading, begins_line: bool) -> bool:
    start = at
    while start > 0 and _unseen(text[start - 1]):
        start -= 1
        if text[start] in _BREAKS or reading.any_space:
            return True
    return start == 0 and begins_line


def with_broken_markers(text: str, markers: Sequence[str]) -> str:
    """Put a space before the last character of each of a template's `markers` in `text`.

    Whitespace in a marker may be written in another way, and invisible or full-width characters don't hide one.
    """
    for marker in markers:
        text = _marker_pattern(marker).sub(r"\1 \2", text)
    return text


@lru_cache(maxsize=64)
def _marker_pattern(marker: str) -> re.Pattern[str]:
    def written(character: str) -> str:
        wide = chr(ord(character) + 0xFEE0) if "!" <= character <= "~" else character
        return f"[{re.escape(character)}{wide}]"

    *words, last = marker.split()
    lead = [_UNSEEN.join(map(written, word)) + _UNSEEN for word in [*words, last[:-1]] if word]
    return re.compile(f"({''.join(lead)})({written(last[-1])})")
