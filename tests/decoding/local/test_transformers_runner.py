"""The runner for transformers: what it keeps of rows that wait, are held, end or fail."""

from __future__ import annotations

import pytest
import torch

from langchain_toolken.decoding.local.row import Row
from langchain_toolken.decoding.local.transformers_runner import TransformersRunner
from langchain_toolken.lm.transformers_model import TransformersModel
from tests.support.tiny import PROMPTS


@pytest.fixture
def runner(tiny_llama: TransformersModel) -> TransformersRunner:
    return TransformersRunner(tiny_llama, cached_prefixes=4)


def words_alone(lm: TransformersModel, ids: list[int]) -> torch.Tensor:
    return lm.head.word_logits(lm.hidden_states(torch.tensor([ids])))[0, -1]


@torch.inference_mode()
def test_a_row_that_was_held_goes_on_from_where_it_was(
    runner: TransformersRunner, tiny_llama: TransformersModel
) -> None:
    first, second = Row(PROMPTS[0]), Row(PROMPTS[2])
    runner.start([first, second])
    runner.hold([first])
    assert list(runner.rows) == [second]
    first.ids.append(7)
    assert first.pending == 1
    due = runner.start([first])
    torch.testing.assert_close(due.words[0], words_alone(tiny_llama, first.ids), rtol=1e-3, atol=1e-3)
    assert set(runner.rows) == {first, second}
    second.ids.append(9)
    first.ids.append(8)
    due = runner.step()
    for row, words in zip(due.rows, due.words, strict=True):
        torch.testing.assert_close(words, words_alone(tiny_llama, row.ids), rtol=1e-3, atol=1e-3)


@torch.inference_mode()
def test_rows_that_end_are_kept_and_rows_that_fail_are_not(runner: TransformersRunner) -> None:
    ended, failed = Row(PROMPTS[0]), Row(PROMPTS[2])
    runner.start([ended])
    runner.start([failed])
    runner.end([ended])
    runner.forget([failed])
    assert not runner.rows
    for prompt, reused in ((PROMPTS[0], len(PROMPTS[0])), (PROMPTS[2], 1)):  # all prompts begin with the same token
        again = Row([*prompt, 5, 6])
        runner.resume(again, len(again.ids))
        assert again.fed == reused
    runner.clear()
    last = Row(PROMPTS[0])
    runner.resume(last, len(last.ids))
    assert last.fed == 0


def test_rows_of_very_unlike_lengths_start_apart(runner: TransformersRunner) -> None:
    long, alike, short = Row([1] * 100), Row([1] * 60), Row([1] * 10)
    assert runner.groups([short, long, alike]) == [[long, alike], [short]]
