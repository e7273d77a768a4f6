"""Prefer tokens that continue a span of the request while arguments are decoded.

Most values stand in the request word for word, and a small LM garbles them: it writes "Lisbon" for Lissabon, or drops a
digit. Where a parameter's values are known to be copied (`CopySource.nats`), the logits of tokens that continue such a
span get a bonus. It is a preference and not a constraint: the LM can still write anything that the grammar allows.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from llguidance import LLTokenizer

from langchain_toolken.decoding.copy_source import CopySource
from langchain_toolken.decoding.local.json_cursor import JsonCursor, Value

# "13,289" is one number, "1,2,3" are three. The minus of "5-3" is none.
_NUMBER = re.compile(r"(?<![\w.])-?\d{1,3}(?:,\d{3})+(?:\.\d+)?(?![\d])|(?<![\w.])-?\d+(?:\.\d+)?|\d+(?:\.\d+)?")
_AFTER_NUMBER = (",", "}", "]")
_OTHER_VALUES = ("n", "t", "f", "[", "{")
# Longer tokens than this are continued piece by piece.
_LONGEST_TOKEN = 24
# Only the end of a longer text is copied from, so that a step takes no time that can be noticed.
_LONGEST_SOURCE = 8_000


@dataclass(frozen=True)
class Span:
    """Characters `start` to `end` of a source, and the text that JSON has for them."""

    start: int
    end: int
    text: str


def numbers_in(text: str) -> list[Span]:
    """Find the numbers of a text, as JSON writes them: without thousands separators."""
    found = []
    for match in _NUMBER.finditer(text):
        plain = match.group().replace(",", "")
        sign, digits = ("-", plain[1:]) if plain.startswith("-") else ("", plain)
        whole, point, rest = digits.partition(".")
        found.append(Span(match.start(), match.end(), f"{sign}{whole.lstrip('0') or '0'}{point}{rest}"))
    return found


def is_copied(value: object, text: str) -> bool:
    """Return whether a string or number, or all of a list of them, stands in `text` word for word, case aside."""
    if isinstance(value, bool):
        return False
    if isinstance(value, list):
        return bool(value) and all(is_copied(item, text) for item in value)
    if isinstance(value, int | float):
        return any(float(span.text) == value for span in numbers_in(text))
    return isinstance(value, str) and bool(value) and next(_occurrences(text, value, whole=True), None) is not None


class TokensByText:
    """The vocabulary by the tokens' texts, computed once for a tokenizer.

    Args:
        tokenizer: llguidance's view of it.
        vocab_size: How many ids the head has.
    """

    def __init__(self, tokenizer: LLTokenizer, vocab_size: int) -> None:
        ids: defaultdict[str, list[int]] = defaultdict(list)
        first: defaultdict[str, list[int]] = defaultdict(list)
        for token in range(min(vocab_size, tokenizer.vocab_size)):
            if tokenizer.is_special_token(token):
                continue
            try:
                text = bytes(tokenizer.decode_bytes([token])).decode("utf-8")
            except UnicodeDecodeError:  # a part of a character
                continue
            if text:
                ids[text].append(token)
                first[text[0]].append(token)
        self._ids = dict(ids)
        self._first = dict(first)

    def continuing(self, text: str) -> Iterator[int]:
        """Yield the tokens that `text` begins with, of any length."""
        for length in range(1, min(len(text), _LONGEST_TOKEN) + 1):
            yield from self._ids.get(text[:length], ())

    def beginning_with(self, character: str) -> list[int]:
        """Return the tokens whose text begins with `character`."""
        return self._first.get(character, [])


class Copier:
    """Names the tokens to prefer while one call's arguments are written.

    Args:
        source: Where values may come from, and how much copying is preferred.
        tokens: The vocabulary.
    """

    def __init__(self, source: CopySource, tokens: TokensByText) -> None:
        text = source.text[-_LONGEST_SOURCE:]
        self._nats = source.nats
        self._tokens = tokens
        self._cursor = JsonCursor()
        self._read = 0
        self._numbers = numbers_in(text)
        # Compared as JSON writes it, since that is what is being written.
        self._text = json.dumps(text, ensure_ascii=False)[1:-1]
        self._used_numbers: list[Span] = []
        self._used_text: list[Span] = []
        self._finished = 0

    def favoured(self, written: str) -> tuple[float, list[int]]:
        """Return the bonus in nats, and the tokens that get it after the JSON `written` so far."""
        self._cursor.feed(written[self._read :])
        self._read = len(written)
        for complete in self._cursor.finished[self._finished :]:
            self._use_up(complete)
        self._finished = len(self._cursor.finished)
        value = self._cursor.value
        nats = 0.0 if value is None else self._nats.get(value.parameter, 0.0)
        if value is None or not nats:
            return 0.0, []
        found: set[int] = set()
        if value.kind != "string":
            found |= self._number_tokens(value.written)
        if value.kind != "number":
            found |= self._text_tokens(value.written, opening='"' if value.kind == "start" else "")
        if value.kind == "start":
            # Whether a value is null, say, is not decided by copying.
            for character in _OTHER_VALUES:
                found.update(self._tokens.beginning_with(character))
        return nats, sorted(found)

    def _number_tokens(self, written: str) -> set[int]:
        found: set[int] = set()
        for span in self._numbers:
            if span not in self._used_numbers and span.text.startswith(written):
                found.update(self._tokens.continuing(span.text[len(written) :]))
                if span.text == written:
                    for character in _AFTER_NUMBER:
                        found.update(self._tokens.beginning_with(character))
        return found

    def _text_tokens(self, written: str, opening: str) -> set[int]:
        found: set[int] = set()
        for start, end in _occurrences(self._text, written, whole=False):
            if any(used.start <= start < used.end for used in self._used_text):
                continue
            found.update(self._tokens.continuing(opening + self._text[end : end + _LONGEST_TOKEN]))
            if written and _ends_word(self._text, end):
                # Where a word of the span ends, the value may end too: without this the bonus would make values longer.
                found.update(self._tokens.beginning_with('"'))
        return found

    def _use_up(self, value: Value) -> None:
        """Take the span that a value was copied from out of those that later values may come from."""
        if value.kind == "number":
            spans = [span for span in self._numbers if span.text == value.written and span not in self._used_numbers]
            self._used_numbers += spans[:1]
        elif value.written:
            for start, end in _occurrences(self._text, value.written, whole=True):
                span = Span(start, end, value.written)
                if span not in self._used_text:
                    self._used_text.append(span)
                    break


def _occurrences(text: str, part: str, *, whole: bool) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of `part` in `text`, case aside, where a word begins; `whole`: and where one ends."""
    pattern = r"(?<!\w)" + re.escape(part) if not part or part[0].isalnum() else re.escape(part)
    for match in re.finditer(pattern + ("" if part else r"(?=\S)"), text, re.IGNORECASE):
        if not whole or _ends_word(text, match.end()):
            yield match.span()


def _ends_word(text: str, end: int) -> bool:
    return end == len(text) or not (text[end].isalnum() and text[end - 1 : end].isalnum())
