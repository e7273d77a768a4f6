"""Tokenise text from outside so that it never becomes a special token.

Text from a user, a tool or the LM itself is *content*. It goes through `encode_content` or `encode_with_ends`, which
keep it character for character. Only a chat template's own text may contain special tokens; it goes through
`encode_template_text`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class _ContentRules:
    """What `encode_content` needs to know about a tokenizer, computed once per tokenizer and vocabulary size."""

    size: int
    markers: dict[str, tuple[str, ...]]  # added tokens of two characters or more, by first character
    first: re.Pattern[str] | None  # any character that a marker begins with
    forbidden: frozenset[int]  # ids that content must never contain
    lead: tuple[int, ...] | None  # ids of "\n", for tokenizers that put a space in front of every text


_RULES: WeakKeyDictionary[PreTrainedTokenizerBase, _ContentRules] = WeakKeyDictionary()


def _rules(tokenizer: PreTrainedTokenizerBase) -> _ContentRules:
    size = len(tokenizer)
    known = _RULES.get(tokenizer)
    if known is not None and known.size == size:
        return known
    added: dict[str, int] = dict(tokenizer.get_added_vocab())
    for special in tokenizer.all_special_tokens:
        added.setdefault(special, _as_ints(tokenizer.convert_tokens_to_ids([special]))[0])
    # Some tokenizers (Gemma, GPT-NeoX) list runs of spaces and newlines among their added tokens: ordinary text.
    added = {text: index for text, index in added.items() if text.strip()}
    markers: defaultdict[str, list[str]] = defaultdict(list)
    for text in added:
        if len(text) > 1:
            markers[text[0]].append(text)
    lead = tuple(_tokenize(tokenizer, "\n"))
    marked = tuple(_tokenize(tokenizer, "\na"))
    adds_space = marked[: len(lead)] == lead and marked[len(lead) :] != tuple(_tokenize(tokenizer, "a"))
    rules = _ContentRules(
        size=size,
        markers={character: tuple(texts) for character, texts in markers.items()},
        first=re.compile("[" + re.escape("".join(sorted(markers))) + "]") if markers else None,
        forbidden=frozenset(added.values()),
        lead=lead if adds_space else None,
    )
    _RULES[tokenizer] = rules
    return rules


def _as_ints(ids: object) -> list[int]:
    return [int(index) for index in ids] if isinstance(ids, list | tuple) else []


def _tokenize(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return _as_ints(tokenizer(text, add_special_tokens=False)["input_ids"])


def encode_content(tokenizer: PreTrainedTokenizerBase, text: str, *, continued: bool = False) -> list[int]:
    """Tokenise `text`, keeping special and added tokens in it as plain text.

    Each occurrence of an added token's string is cut after its first character and the pieces are encoded separately,
    so "<|im_end|>" in a user's message becomes about eight ordinary tokens. Added tokens that are only whitespace are
    ordinary text and stay whole. Lone surrogates, which tokenizers reject, become U+FFFD.

    Args:
        tokenizer: The LM's tokenizer.
        text: The content.
        continued: Whether the ids will follow other ids. A tokenizer that starts every text with a space
            (SentencePiece, as in Llama 2) then leaves the space out.

    Raises:
        ValueError: The text contains a special token of a single character, which can't be cut.
    """
    return [index for index, _ in encode_with_ends(tokenizer, text, continued=continued, offsets=False)]


def encode_with_ends(
    tokenizer: PreTrainedTokenizerBase, text: str, *, continued: bool, offsets: bool
) -> list[tuple[int, int]]:
    """Tokenise `text` as `encode_content` does, with the position where each token ends.

    Args:
        tokenizer: The LM's tokenizer.
        text: The content.
        continued: Whether other text precedes this one, so that the tokenizer's leading space must go.
        offsets: Whether to compute the ends, which not every tokenizer can.

    Returns:
        An (id, end of the token in `text`) pair for each token. Without `offsets` the ends mean nothing.

    Raises:
        ValueError: See `encode_content`. Also if the tokenizer can't give offsets.
    """
    rules = _rules(tokenizer)
    text = _SURROGATES.sub("\ufffd", text)
    cuts = [0]
    if rules.first is not None:
        for match in rules.first.finditer(text):
            if text.startswith(rules.markers[match.group()], match.start()):
                cuts.append(match.start() + 1)
    cuts.append(len(text))
    encoded: list[tuple[int, int]] = []
    for start, end in pairwise(cuts):
        if start == end:
            continue
        piece = _encode_piece(tokenizer, rules, text[start:end], continued or start > 0, offsets)
        if any(index in rules.forbidden for index, _ in piece):
            # A tokenizer that normalises text (full-width forms, case) can find a marker that was spelled differently.
            piece = []
            for i, character in enumerate(text[start:end]):
                one = _encode_piece(tokenizer, rules, character, continued or start + i > 0, offsets)
                if any(index in rules.forbidden for index, _ in one):
                    raise ValueError(
                        f"The character {character!r} is itself a special token of this tokenizer and can't be "
                        "written as text. Remove it from the message."
                    )
                piece.extend((index, i + stop) for index, stop in one)
        encoded.extend((index, start + stop) for index, stop in piece)
    return encoded


def encode_template_text(tokenizer: PreTrainedTokenizerBase, text: str, *, continued: bool) -> list[int]:
    """Tokenise a chat template's own text, in which special tokens are special.

    Args:
        tokenizer: The LM's tokenizer.
        text: The template's text.
        continued: Whether the ids will follow other ids, as in `encode_content`.
    """
    return [index for index, _ in _encode_piece(tokenizer, _rules(tokenizer), text, continued, False)]


def _encode_piece(
    tokenizer: PreTrainedTokenizerBase, rules: _ContentRules, text: str, continued: bool, offsets: bool
) -> list[tuple[int, int]]:
    if not continued or rules.lead is None:
        return _with_ends(tokenizer, text, offsets)
    encoded = _with_ends(tokenizer, "\n" + text, offsets)
    if tuple(index for index, _ in encoded[: len(rules.lead)]) != rules.lead:
        return _with_ends(tokenizer, text, offsets)
    return [(index, end - 1) for index, end in encoded[len(rules.lead) :]]


def _with_ends(tokenizer: PreTrainedTokenizerBase, text: str, offsets: bool) -> list[tuple[int, int]]:
    if not offsets:
        return [(index, 0) for index in _tokenize(tokenizer, text)]
    if not tokenizer.is_fast:
        raise ValueError(
            f"{type(tokenizer).__name__} can't tell where its tokens are in a text, which training needs. Load the "
            "model's tokenizer.json (a 'fast' tokenizer)."
        )
    encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids, spans = _as_ints(encoding["input_ids"]), encoding["offset_mapping"]
    return [(index, int(span[1])) for index, span in zip(ids, spans, strict=True)]


def bos_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the ids that the tokenizer puts in front of every text, usually one or none; not those that it appends."""
    plain, whole = _tokenize(tokenizer, "a"), _as_ints(tokenizer("a")["input_ids"])
    for start in range(len(whole) - len(plain) + 1):
        if whole[start : start + len(plain)] == plain:
            return whole[:start]
    return []
