"""evaluation.methods.tokmem: only memory tokens are trained, through the LM, and what follows them learns from them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from langchain_toolken.evaluation.methods import tokmem
from langchain_toolken.evaluation.methods.tokmem import TokMem, train
from langchain_toolken.lm.transformers_model import TransformersModel
from tests.support.small_task import small_bench, small_task


def test_training_lowers_the_loss_and_leaves_the_lm_as_it_was(
    tiny_llama: TransformersModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = small_bench(tiny_llama, tmp_path)
    before = [parameter.clone() for parameter in tiny_llama.model.parameters()]
    sequences = [tokmem._sequence(bench, tiny_llama, each) for each in bench.task.demonstrations]
    losses = []
    for epochs in (0, 25):
        monkeypatch.setattr(tokmem, "EPOCHS", epochs)
        memory = train(bench, tiny_llama)
        losses.append(float(tokmem._loss(tiny_llama, memory, sequences)))  # type: ignore[arg-type]
    assert losses[1] < losses[0] - 0.1
    assert memory.shape == (2, tiny_llama.hidden_size)
    for old, new in zip(before, tiny_llama.model.parameters(), strict=True):
        assert torch.equal(old, new)
        assert new.grad is None


def test_the_memory_token_is_read_so_arguments_depend_on_it(tiny_llama: TransformersModel, tmp_path: Path) -> None:
    bench = small_bench(tiny_llama, tmp_path)
    one = tokmem._sequence(bench, tiny_llama, bench.task.demonstrations[0])
    assert one is not None
    place = next(at for at, index in enumerate(one.ids) if index >= tiny_llama.vocab_size)
    # Of what is learned only the last token, the end: the gradient can reach the memory token only through the LM.
    last = tokmem._Sequence(one.ids, [False] * (len(one.ids) - 1) + [True])
    memory = torch.randn(2, tiny_llama.hidden_size, requires_grad=True)
    tokmem._loss(tiny_llama, memory, [last]).backward()
    assert memory.grad is not None
    assert place < len(one.ids) - 2
    assert float(memory.grad[one.ids[place] - tiny_llama.vocab_size].norm()) > 0


def test_tokens_are_kept_and_calls_run(tiny_llama: TransformersModel, tmp_path: Path) -> None:
    bench = small_bench(tiny_llama, tmp_path)
    first = TokMem().prepare(bench)(bench.task.questions)
    (file,) = tmp_path.glob("tokmem-*.safetensors")
    written = file.stat().st_mtime_ns
    assert TokMem().prepare(bench)(bench.task.questions) == first
    assert file.stat().st_mtime_ns == written
    assert all(1 <= len(attempt.calls) <= bench.max_calls for attempt in first)
    ranked = TokMem().prepare(small_bench(tiny_llama, tmp_path, small_task("tool")))(bench.task.questions)
    assert all(set(attempt.ranked) == {"plus", "minus"} for attempt in ranked)
