"""Argument grammars: token masks and forced tokens from llguidance."""

from __future__ import annotations

import json
from collections.abc import Collection
from functools import cached_property
from typing import Any

import torch
from llguidance import LLMatcher
from llguidance.hf import from_tokenizer
from torch import Tensor
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from langchain_toolken.decoding.local.tokens_by_text import TokensByText
from langchain_toolken.tools.spec import ToolError, ToolSpec, argument_grammar, takes_no_arguments


class ArgumentGrammars:
    """Makes matchers for one LM's tokenizer. llguidance takes up to a second to read the tokenizer, so make one only.

    Args:
        tokenizer: A fast tokenizer.
        vocab_size: V, the rows of the LM's head.
        eos_ids: Ids that end a text; a grammar allows them only where the JSON may end.

    Raises:
        ValueError: The tokenizer is not a fast one.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, vocab_size: int, eos_ids: Collection[int]) -> None:
        if not isinstance(tokenizer, PreTrainedTokenizerFast):
            raise ValueError(
                f"arguments are decoded under a grammar, which needs a fast tokenizer; {type(tokenizer).__name__} is "
                "not one. Convert it to tokenizer.json, or give another tokenizer="
            )
        self.vocab_size = vocab_size
        # A head may have fewer rows than the tokenizer has tokens; llguidance refuses that, so the mask is cut instead.
        self.tokenizer = from_tokenizer(
            tokenizer, n_vocab=max(vocab_size, len(tokenizer)), eos_token=sorted(eos_ids) or None
        )

    @cached_property
    def tokens_by_text(self) -> TokensByText:
        """The vocabulary by the tokens' texts."""
        return TokensByText(self.tokenizer, self.vocab_size)

    def matcher(self, spec: ToolSpec) -> ArgumentMatcher:
        """Return a matcher at the beginning of the tool's arguments.

        Raises:
            ToolError: The tool's schema cannot be compiled to a grammar.
        """
        return ArgumentMatcher(self, spec)


class ArgumentMatcher:
    """Follows one JSON object through a tool's grammar, token by token.

    Args:
        grammars: Reads the tokenizer's tokens.
        spec: The tool.

    Attributes:
        ids: The JSON's tokens so far.
        allowed: For each of them, how many tokens the grammar allowed in its place: 1 for those that it forced.

    Raises:
        ToolError: The tool's schema cannot be compiled to a grammar.
    """

    def __init__(self, grammars: ArgumentGrammars, spec: ToolSpec) -> None:
        self._grammars = grammars
        self._spec = spec
        self._bits = torch.arange(8, dtype=torch.uint8)
        self.ids: list[int] = []
        self.allowed: list[int] = []
        self._choices = 0
        if takes_no_arguments(spec):
            self._matcher = None
            return
        self._matcher = LLMatcher(grammars.tokenizer, argument_grammar(spec), log_level=0)
        self._check()

    @property
    def done(self) -> bool:
        """Whether the JSON is complete and nothing may follow."""
        return self._matcher is None or self._matcher.is_stopped()

    def force(self) -> list[int]:
        """Consume the tokens that the grammar forces next, and return them."""
        forced: list[int] = []
        while self._matcher is not None and not self.done and (tokens := self._matcher.compute_ff_tokens()):
            self._matcher.consume_tokens(tokens)
            self._check()
            forced += tokens
        self.ids += forced
        self.allowed += [1] * len(forced)
        return forced

    def mask(self) -> Tensor:
        """Compute which tokens may come next.

        Returns:
            (V,) bool on the CPU.

        Raises:
            ValueError: The JSON is already complete.
        """
        if self._matcher is None or self.done:
            raise ValueError(f"the arguments of {self._spec.name} are whole; nothing may follow")
        packed = torch.frombuffer(bytearray(self._matcher.compute_bitmask()), dtype=torch.uint8)
        self._check()
        mask = ((packed[:, None] >> self._bits) & 1).bool().flatten()[: self._grammars.vocab_size]
        self._choices = int(mask.count_nonzero())
        return mask

    def consume(self, token: int) -> None:
        """Add one token that `mask` allows.

        Raises:
            ValueError: The tool takes no arguments.
            ToolError: The grammar does not allow the token.
        """
        if self._matcher is None:
            raise ValueError(f"{self._spec.name} takes no arguments; nothing may follow")
        self._matcher.consume_token(token)
        self._check()
        self.ids.append(token)
        self.allowed.append(self._choices)

    def text(self) -> str:
        """Return the JSON so far."""
        if self._matcher is None:
            return "{}"
        # From the tokens' bytes: a tokenizer's own decode may add or strip spaces.
        return self.bytes_from(0).decode("utf-8", errors="replace")

    def bytes_from(self, start: int, stop: int | None = None) -> bytes:
        """Return the bytes of some of the tokens; a character may begin in one token and end in the next."""
        return bytes(self._grammars.tokenizer.decode_bytes(self.ids[start:stop]))

    def arguments(self) -> dict[str, Any] | None:
        """Return the parsed JSON; None if it is incomplete, or has an integer with more digits than Python parses."""
        if not self.done:
            return None
        try:
            parsed = json.loads(self.text())
        except json.JSONDecodeError:
            raise
        except ValueError:
            return None
        assert isinstance(parsed, dict)
        return parsed

    def _check(self) -> None:
        if self._matcher is not None and self._matcher.is_error():
            raise ToolError(
                f"tool {self._spec.name!r}: its arguments' grammar failed: {self._matcher.get_error()}. "
                "Simplify the argument types (shorter enums, fewer nested objects)"
            )
