"""Pre-training: batches are packed correctly, and an interrupted run resumes exactly."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from pretraining.documents import BOS, SPECIAL_TOKENS
from pretraining.pretrain import LONG_EVERY, batches, learning_rate_factor, main, make_batch
from pretraining.tokenizer import train_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(documents=2000)


def test_the_tokenizer_writes_digits_one_by_one_and_text_comes_back_whole(tokenizer: PreTrainedTokenizerFast) -> None:
    text = "A: 5572%3241=2331, über 12.5 \U0001f600 <b>\n"
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert tokenizer.decode(ids) == text
    digits = [token for token in tokenizer.convert_ids_to_tokens(ids) if any(c.isdigit() for c in token)]
    assert all(len(token) == 1 for token in digits)
    assert tokenizer("")["input_ids"] == [tokenizer.bos_token_id]


def test_the_chat_template_writes_the_form_of_the_pre_training_text(tokenizer: PreTrainedTokenizerFast) -> None:
    function = {
        "name": "find",
        "description": "Finds it.\nAnd more.",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "array", "items": {"type": "number"}}},
            "required": ["a"],
        },
    }
    call = {"type": "function", "function": {"name": "find", "arguments": '{"a":1}'}}
    rendered = tokenizer.apply_chat_template(
        [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "content": "5"},
        ],
        tools=[{"type": "function", "function": function}],
        tokenize=False,
        add_generation_prompt=True,
    )
    assert rendered == (
        "<s><|im_start|>system\nYou can call these tools:\n- find(a: integer, b?: list[number]): Finds it.<|im_end|>\n"
        "<|im_start|>user\nhi<|im_end|>\n"
        '<|im_start|>assistant\n<tool_call>{"name":"find","arguments":{"a":1}}</tool_call><|im_end|>\n'
        "<|im_start|>tool\n5<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_batch_packs_whole_documents_whose_positions_start_at_zero(tokenizer: PreTrainedTokenizerFast) -> None:
    batch = make_batch(tokenizer, seed=1, step=0, rows=6, length=256)
    assert batch.tokens.shape == batch.weights.shape == batch.positions.shape == (6, 256)
    starts = batch.tokens == tokenizer.convert_tokens_to_ids(BOS)
    assert (batch.positions[starts] == 0).all()
    padding = batch.tokens == tokenizer.pad_token_id
    assert (batch.weights[padding] == 0).all()
    assert padding.mean() < 0.25
    inside = ~starts & ~padding
    inside[:, 0] = False
    assert (batch.positions[inside] == np.roll(batch.positions, 1, axis=1)[inside] + 1).all()
    assert set(np.unique(batch.tokens[batch.weights == 1.0])) - set(range(len(SPECIAL_TOKENS)))


def test_batches_made_by_workers_are_those_made_one_by_one(tokenizer: PreTrainedTokenizerFast) -> None:
    alone = list(batches(tokenizer, 1, 0, LONG_EVERY + 1, rows=4, length=256, workers=0))
    helped = list(batches(tokenizer, 1, 0, LONG_EVERY + 1, rows=4, length=256, workers=1))
    for one, other in zip(alone, helped, strict=True):
        assert (one.tokens == other.tokens).all()
        assert (one.weights == other.weights).all()
    assert alone[LONG_EVERY - 1].tokens.shape == (2, 512)


def test_the_learning_rate_warms_up_stays_and_falls_to_zero() -> None:
    factors = [learning_rate_factor(step, 1000) for step in range(1000)]
    assert factors[0] == 0.01
    assert set(factors[100:750]) == {1.0}
    assert factors[-1] == pytest.approx(1 / 250)
    assert all(a >= b for a, b in pairwise(factors[750:]))


@pytest.mark.slow
def test_a_run_cut_off_and_resumed_ends_in_the_weights_of_an_unbroken_one(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    def run(folder: str, *token_counts: float) -> dict[str, torch.Tensor]:
        checkpoints = tmp_path / folder
        tokenizer.save_pretrained(checkpoints / "tokenizer")
        for tokens in token_counts:
            main(
                tokens=tokens,
                rows=2,
                length=128,
                checkpoints=checkpoints,
                checkpoint_every=1,
                out=tmp_path / f"{folder}-out",
            )
        return load_file(checkpoints / "checkpoint.safetensors")

    whole = run("whole", 4 * 256e-6)
    # warm-up: the learning rate of the first steps does not depend on how long the run is to be
    parts = run("parts", 4 * 256e-6 * 0.5, 4 * 256e-6)
    moved = [name for name in whole if name.startswith("model|")]
    assert moved
    for name in moved:
        torch.testing.assert_close(parts[name], whole[name], rtol=2e-2, atol=2e-4)

    out = tmp_path / "whole-out"
    model = AutoModelForCausalLM.from_pretrained(out)
    assert model.dtype == torch.bfloat16
    assert AutoTokenizer.from_pretrained(out).chat_template
    assert sum(file.stat().st_size for file in out.iterdir()) < 24e6
    ends = AutoTokenizer.from_pretrained(out).convert_tokens_to_ids(["</s>", "<|im_end|>"])
    assert model.generation_config.eos_token_id == ends
