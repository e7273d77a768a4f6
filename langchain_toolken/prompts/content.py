"""Tokenise text from outside so that it never becomes a special token.

Text from a user, a tool or the LM itself is *content*. It goes through `encode_content` or `encode_with_ends`, which
keep it character for character. Only a chat template's own text may contain special tokens; it goes through
`encode_template_text`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class _ContentRules:
    """What `encode_content` needs to know about a tokenizer, computed once per tokenizer and vocabulary size."""

    size: int
    markers: re.Pattern[str] | None  # the first character of an added token of two characters or more
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
    lead = tuple(_tokenize(tokenizer, "\n"))
    marked = tuple(_tokenize(tokenizer, "\na"))
    adds_space = marked[: len(lead)] == lead and marked[len(lead) :] != tuple(_tokenize(tokenizer, "a"))
    rules = _ContentRules(
        size=size,
        markers=_beginnings([text for text in added if len(text) > 1]),
        forbidden=frozenset(added.values()),
        lead=lead if adds_space else None,
    )
    _RULES[tokenizer] = rules
    return rules


def _beginnings(texts: Sequence[str]) -> re.Pattern[str] | None:
    """Return a pattern of one character that matches wherever one of `texts` begins; None if there are none.

    The texts are a tree of their characters, so that a place is decided in one walk down, however many texts there are:
    vocabularies have thousands that begin alike ("<unused0>").
    """
    if not texts:
        return None
    tree: dict[str, Any] = {}
    for text in texts:
        branch = tree
        for character in text:
            branch = branch.setdefault(character, {})
        branch[""] = {}  # a text ends here

    def rest(branch: dict[str, Any]) -> str:
        if "" in branch:
            return ""
        # A chain without forks is written as it is: patterns nested as deep as a text is long would not compile.
        chain = ""
        while len(branch) == 1 and "" not in branch:
            ((character, branch),) = branch.items()
            chain += re.escape(character)
        if "" in branch:
            return chain
        return chain + "(?:" + "|".join(re.escape(character) + rest(below) for character, below in branch.items()) + ")"

    return re.compile("|".join(f"{re.escape(character)}(?={rest(below)})" for character, below in tree.items()))


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
    cuts = [0, *(match.end() for match in rules.markers.finditer(text))] if rules.markers is not None else [0]
    spans = [(start, end) for start, end in pairwise([*cuts, len(text)]) if start < end]
    pieces = _encode_pieces(tokenizer, rules, [(text[s:e], continued or s > 0) for s, e in spans], offsets)
    encoded: list[tuple[int, int]] = []
    for (start, end), piece in zip(spans, pieces, strict=True):
        if any(index in rules.forbidden for index, _ in piece):
            # A tokenizer that normalises text (full-width forms, case) can find a marker that was spelled differently.
            piece = _by_character(tokenizer, rules, text[start:end], continued or start > 0, offsets)
        encoded.extend((index, start + stop) for index, stop in piece)
    return encoded


def _by_character(
    tokenizer: PreTrainedTokenizerBase, rules: _ContentRules, text: str, continued: bool, offsets: bool
) -> list[tuple[int, int]]:
    characters = [(character, continued or i > 0) for i, character in enumerate(text)]
    encoded: list[tuple[int, int]] = []
    for i, one in enumerate(_encode_pieces(tokenizer, rules, characters, offsets)):
        if any(index in rules.forbidden for index, _ in one):
            raise ValueError(
                f"The character {text[i]!r} is itself a special token of this tokenizer and can't be written as text. "
                "Remove it from the message."
            )
        encoded.extend((index, i + stop) for index, stop in one)
    return encoded


def holds_special(tokenizer: PreTrainedTokenizerBase, text: str) -> bool:
    """Return whether a template's own `text` has a token that content can't have."""
    return not _rules(tokenizer).forbidden.isdisjoint(_tokenize(tokenizer, text))


def encode_template_text(tokenizer: PreTrainedTokenizerBase, text: str, *, continued: bool) -> list[int]:
    """Tokenise a chat template's own text, in which special tokens are special.

    Args:
        tokenizer: The LM's tokenizer.
        text: The template's text.
        continued: Whether the ids will follow other ids, as in `encode_content`.
    """
    (piece,) = _encode_pieces(tokenizer, _rules(tokenizer), [(text, continued)], offsets=False)
    return [index for index, _ in piece]


def _encode_pieces(
    tokenizer: PreTrainedTokenizerBase, rules: _ContentRules, pieces: Sequence[tuple[str, bool]], offsets: bool
) -> list[list[tuple[int, int]]]:
    """Tokenise (text, whether other text precedes it) pairs, equal ones once and all of them in one call."""
    unlike = list(dict.fromkeys(pieces))
    led = [("\n" + text, len(rules.lead)) if after and rules.lead else (text, 0) for text, after in unlike]
    encoded = _with_ends(tokenizer, [text for text, _ in led], offsets)
    found: dict[tuple[str, bool], list[tuple[int, int]]] = {}
    for piece, (_, lead), ids in zip(unlike, led, encoded, strict=True):
        if not lead:
            found[piece] = ids
        elif tuple(index for index, _ in ids[:lead]) == rules.lead:
            found[piece] = [(index, end - 1) for index, end in ids[lead:]]
        else:
            (found[piece],) = _with_ends(tokenizer, [piece[0]], offsets)
    return [found[piece] for piece in pieces]


def _with_ends(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], offsets: bool) -> list[list[tuple[int, int]]]:
    if not texts:
        return []
    if not offsets:
        encoding = tokenizer(list(texts), add_special_tokens=False)
        return [[(index, 0) for index in _as_ints(ids)] for ids in encoding["input_ids"]]
    if not tokenizer.is_fast:
        raise ValueError(
            f"{type(tokenizer).__name__} can't tell where its tokens are in a text, which training needs. Load the "
            "model's tokenizer.json (a 'fast' tokenizer)."
        )
    encoding = tokenizer(list(texts), add_special_tokens=False, return_offsets_mapping=True)
    return [
        [(index, int(span[1])) for index, span in zip(_as_ints(ids), spans, strict=True)]
        for ids, spans in zip(encoding["input_ids"], encoding["offset_mapping"], strict=True)
    ]


def bos_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the ids that the tokenizer puts in front of every text, usually one or none; not those that it appends."""
    plain, whole = _tokenize(tokenizer, "a"), _as_ints(tokenizer("a")["input_ids"])
    for start in range(len(whole) - len(plain) + 1):
        if whole[start : start + len(plain)] == plain:
            return whole[:start]
    return []
