"""Decoding by a compiled step, for tests: its graphs and steps are counted, and its answers compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from langchain_toolken.decoding.compiled_batch import CompiledStep
from langchain_toolken.decoding.engine import Completion, Reasoning
from langchain_toolken.decoding.lm import LanguageModel, load_language_model
from langchain_toolken.decoding.static_slots import Slots
from langchain_toolken.decoding.transformers_engine import TransformersEngine


class Compiled:
    """A compiled step whose backend only counts the graphs: what torch captured runs as it is."""

    def __init__(self, lm: LanguageModel, shortest: int = 512) -> None:
        self.lm = lm
        self.graphs = 0
        self.step = CompiledStep(lm, backend=self._backend, shortest=shortest)

    def _backend(self, graph: torch.fx.GraphModule, _: Any) -> Callable[..., Any]:
        self.graphs += 1
        return graph.forward

    def engine(self, **settings: Any) -> TransformersEngine:
        return TransformersEngine(self.lm, compiled=self.step, **settings)


class Steps:
    """All compiled steps while it is installed, by their number of rows; `before` as in `Passes`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rows: list[int] = []
        self.before: Callable[[int], None] | None = None
        call = CompiledStep.__call__

        def counted(step: CompiledStep, tokens: Sequence[int], positions: Sequence[int], slots: Slots) -> Tensor:
            self.rows.append(len(tokens))
            if self.before is not None:
                self.before(len(self.rows))
            return call(step, tokens, positions, slots)

        monkeypatch.setattr(CompiledStep, "__call__", counted)


def one_layer(tokenizer: PreTrainedTokenizerFast, context_length: int = 512) -> LanguageModel:
    """A random Llama of a single layer, whose graphs are made in a moment."""
    config = LlamaConfig(
        vocab_size=345,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=context_length,
        initializer_range=0.5,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
    )
    torch.manual_seed(3)
    return load_language_model(LlamaForCausalLM(config).eval(), tokenizer=tokenizer)


def check_same(ours: Reasoning | Completion, plain: Reasoning | Completion) -> None:
    """Everything is the same, and probabilities to float32's precision: sums come in another order."""
    if isinstance(ours, Completion) or isinstance(plain, Completion):
        assert ours == plain
        return
    for mine, its in zip(ours.logprobs, plain.logprobs, strict=True):
        assert (mine.token, [token for token, _ in mine.top]) == (its.token, [token for token, _ in its.top])
        assert [mine.logprob, *(p for _, p in mine.top)] == pytest.approx(
            [its.logprob, *(p for _, p in its.top)], abs=1e-4
        )
    candidates = [[*filter(None, [each.trigger]), *each.runners_up] for each in (ours, plain)]
    assert [each.tool for each in candidates[0]] == [each.tool for each in candidates[1]]
    assert [c.probability for c in candidates[0]] == pytest.approx([c.probability for c in candidates[1]], abs=1e-5)
    bare = {"trigger": None, "runners_up": (), "logprobs": ()}
    assert replace(ours, **bare) == replace(plain, **bare)
