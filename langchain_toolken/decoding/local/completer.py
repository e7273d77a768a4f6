"""`Completer`: decodes the arguments of one `complete` call under the tools' grammars."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from langchain_toolken.decoding.copy_source import CopySource
from langchain_toolken.decoding.engine import Completion
from langchain_toolken.decoding.local.copying import Copier, SlotReading
from langchain_toolken.decoding.local.grammar import ArgumentGrammars, ArgumentMatcher
from langchain_toolken.tools.spec import ToolSpec


@dataclass(frozen=True)
class ArgumentPiece:
    """A piece of arguments that are being decoded.

    Attributes:
        text: Its text.
        allowed: How many tokens the grammar allowed in its place: 1 for text that it forced.
    """

    text: str
    allowed: int


class ArgumentReader:
    """Reads the JSON of a matcher piece by piece while it is decoded. The pieces join to its text.

    Args:
        matcher: The matcher.
    """

    def __init__(self, matcher: ArgumentMatcher) -> None:
        self._matcher = matcher
        self._read = 0
        # A character may end in the piece after the one that it begins in.
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def new(self, *, last: bool = False) -> list[ArgumentPiece]:
        """Return what has come since; tokens that were forced together are one piece.

        Args:
            last: Whether nothing will follow.
        """
        matcher, start = self._matcher, self._read
        self._read = len(matcher.ids)
        pieces = []
        chosen = range(start, self._read)
        for _, run in groupby(chosen, key=lambda at: -1 if matcher.allowed[at] == 1 else at):
            at = list(run)
            text = self._decoder.decode(matcher.bytes_from(at[0], at[-1] + 1))
            pieces.append(ArgumentPiece(text, matcher.allowed[at[0]]))
        if last:
            rest = self._decoder.decode(b"", final=True) if matcher.ids else matcher.text()
            pieces.append(ArgumentPiece(rest, 1))
        return [piece for piece in pieces if piece.text]


class Completer:
    """The rows of one `complete` call.

    Rows that the grammar alone completes never reach the LM.

    Args:
        prompts: Token ids, each with at least one token.
        specs: The tool of each prompt.
        max_tokens: Most tokens of each row's arguments.
        room: Returns how many tokens may follow a prompt.
        grammars: Compiles the tools' grammars.
        copying: What each row's arguments are likely copied from.
        readings: What slots say of these sources.

    Attributes:
        prompts: The rows for the LM, with the tokens that their grammars force first.

    Raises:
        ValueError: `max_tokens` is less than 1.
        ToolError: A tool's schema cannot be compiled to a grammar.
    """

    def __init__(
        self,
        prompts: Sequence[Sequence[int]],
        specs: Sequence[ToolSpec],
        max_tokens: int,
        *,
        room: Callable[[Sequence[int]], int],
        grammars: ArgumentGrammars,
        copying: Sequence[CopySource | None],
        readings: Sequence[SlotReading | None],
    ) -> None:
        if max_tokens < 1:
            raise ValueError(f"max_tokens must be 1 or more, got {max_tokens}")
        self._lengths = [len(prompt) for prompt in prompts]
        self._limits = [min(max_tokens, room(prompt)) for prompt in prompts]
        self._matchers: list[ArgumentMatcher] = [grammars.matcher(spec) for spec in specs]
        self._copiers = [
            None if source is None else Copier(source, grammars.tokens_by_text, reading)
            for source, reading in zip(copying, readings, strict=True)
        ]
        forced = [matcher.force() for matcher in self._matchers]
        # The scheduler gets only these rows: its row i is the prompt at open_rows[i].
        self._open_rows = [row for row in range(len(prompts)) if not self._over(row)]
        self.prompts = [[*prompts[row], *forced[row]] for row in self._open_rows]

    def choose(self, rows: list[int], logits: Tensor) -> list[list[int]]:
        """Choose the likeliest token that the grammar allows (copied text preferred), and those that it then forces."""
        matchers = [self._matchers[self._open_rows[row]] for row in rows]
        masks = torch.stack([matcher.mask() for matcher in matchers]).to(logits.device)
        allowed = logits.masked_fill(~masks, float("-inf"))
        for i, row in enumerate(rows):
            if (copier := self._copiers[self._open_rows[row]]) is not None:
                bonus = copier.favoured(matchers[i].text())
                allowed[i, list(bonus)] += torch.tensor(list(bonus.values()), device=logits.device)
        tokens: list[int] = allowed.argmax(dim=-1).tolist()
        chosen = []
        for row, matcher, token in zip(rows, matchers, tokens, strict=True):
            matcher.consume(token)
            following = [token, *matcher.force()]
            chosen.append([] if self._over(self._open_rows[row]) else following)
        return chosen

    def reader(self, row: int) -> ArgumentReader:
        """Return what reads a row's arguments piece by piece."""
        return ArgumentReader(self._matchers[row])

    @property
    def ids(self) -> list[list[int]]:
        """The tokens of each row's arguments so far."""
        return [matcher.ids for matcher in self._matchers]

    def results(self, reused: Sequence[int]) -> list[Completion]:
        """Return the result of every row.

        Args:
            reused: How many tokens of each of `self.prompts` came out of the prefix cache.
        """
        of_row = dict(zip(self._open_rows, reused, strict=True))
        results = []
        for row, (matcher, limit) in enumerate(zip(self._matchers, self._limits, strict=True)):
            whole = matcher.done and len(matcher.ids) <= limit
            results.append(
                Completion(
                    text=matcher.text(),
                    arguments=matcher.arguments() if whole else None,
                    finish_reason="stop" if whole else "length",
                    completion_tokens=len(matcher.ids),
                    prompt_tokens=self._lengths[row],
                    reused_tokens=min(of_row.get(row, 0), self._lengths[row]),
                )
            )
        return results

    def _over(self, row: int) -> bool:
        return self._matchers[row].done or len(self._matchers[row].ids) >= self._limits[row]
