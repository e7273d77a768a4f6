"""`ServedLM`: what the plugin in a vLLM server has of the LM, the toolkens, and the states that rows asked for."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerBase

from langchain_toolken.decoding.export import CONFIG_KEY, TOOLKENS_FOLDER, ExportMark
from langchain_toolken.decoding.local.grammar import ArgumentGrammars
from langchain_toolken.decoding.local.placed_toolkens import PlacedEvidence, PlacedToolkens
from langchain_toolken.decoding.local.request_means import RequestMeans
from langchain_toolken.decoding.local.result_guard import ResultGuard
from langchain_toolken.toolkens.set import ToolkenSet

_READINGS_KEPT = 1_024
_MEANS_KEPT = 4_096  # more than there are prompts in vLLM's cache of keys and values


class ServedLM:
    """An exported LM in a vLLM server.

    Args:
        toolkens: The toolkens.
        tokenizer: The LM's tokenizer; it may have the toolkens as special tokens.
        words: How many ids are words.
        eos_ids: Ids that end a text.
        device: Where hidden states and logits are.

    Attributes:
        toolkens: The toolkens.
        tokenizer: The tokenizer.
        vocab_size: How many ids are words; toolken k has the id vocab_size + k.
        eos_ids: Ids that end a text.
        means: Mean states of recent requests.
        readings: States of texts that were read for their slots, by their numbers.
    """

    def __init__(
        self,
        toolkens: ToolkenSet,
        tokenizer: PreTrainedTokenizerBase,
        words: int,
        eos_ids: frozenset[int],
        device: torch.device,
    ) -> None:
        self.toolkens = toolkens
        self.fingerprint = toolkens.fingerprint
        self.tokenizer = tokenizer
        self.vocab_size = words
        self.eos_ids = eos_ids
        self.device = device
        self.means = RequestMeans(_MEANS_KEPT)
        self.readings: OrderedDict[str, Tensor] = OrderedDict()
        self._matrix = toolkens.matrix.to(device=device, dtype=torch.float32)
        self._biases = toolkens.biases.to(device)
        self._evidence = None if toolkens.evidence is None else PlacedEvidence.on(device, toolkens.evidence)

    @classmethod
    def of_folder(cls, folder: str | Path, device: torch.device) -> ServedLM | None:
        """Read an exported checkpoint; None for another one.

        Raises:
            ToolkenSetError: The toolkens in it can't be read.
        """
        config = AutoConfig.from_pretrained(folder)
        mark = getattr(config, CONFIG_KEY, None)
        if mark is None:
            return None
        tokenizer = AutoTokenizer.from_pretrained(folder)
        ends: set[int] = set()
        for found in (tokenizer.eos_token_id, _generation_eos(folder)):  # as in `TransformersModel.eos_ids`
            ends.update([] if found is None else [found] if isinstance(found, int) else found)
        toolkens = ToolkenSet.load(Path(folder) / TOOLKENS_FOLDER)
        return cls(toolkens, tokenizer, ExportMark.model_validate(mark).words, frozenset(ends), device)

    @cached_property
    def grammars(self) -> ArgumentGrammars:
        """Compiles grammars for the tokenizer."""
        return ArgumentGrammars(self.tokenizer, self.vocab_size, self.eos_ids)

    @cached_property
    def guard(self) -> ResultGuard:
        """Keeps results from being lengthened."""
        return ResultGuard(self.tokenizer, self.vocab_size)

    @property
    def end(self) -> int:
        """The id that ends a row: the one that vLLM ends texts at by itself."""
        own = self.tokenizer.eos_token_id
        return own if isinstance(own, int) else min(self.eos_ids)

    def placed(self, active: Sequence[bool] | None) -> PlacedToolkens:
        """Return the toolkens as one row uses them."""
        mask = None if active is None else torch.tensor(active, device=self.device)
        toolkens = self.toolkens
        return PlacedToolkens(
            toolkens.names, self._matrix, self._biases, mask, toolkens.calibration, evidence=self._evidence
        )

    def keep_reading(self, number: str, states: Tensor) -> None:
        """Keep the states of a text that was read, and drop the oldest if there are too many."""
        self.readings[number] = states
        if len(self.readings) > _READINGS_KEPT:
            self.readings.popitem(last=False)


def _generation_eos(folder: str | Path) -> int | list[int] | None:
    from transformers import GenerationConfig

    try:
        found: int | list[int] | None = GenerationConfig.from_pretrained(folder).eos_token_id
    except OSError:  # it has none
        return None
    return found
