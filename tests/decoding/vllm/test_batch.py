"""Rows follow vLLM's batch wherever it moves them, and requests of others get no toolkens."""

from __future__ import annotations

import torch

from langchain_toolken.decoding.engine import Sampling
from langchain_toolken.decoding.vllm.batch import ServedBatch
from langchain_toolken.decoding.vllm.served import ServedLM
from langchain_toolken.decoding.vllm.wire import Asked, Reason
from langchain_toolken.lm.model import LanguageModel
from tests.support.decoding import PROMPTS, TOOLS
from tests.support.toolken_sets import make_toolkens

WIDTH = 3  # rows of padding in the served head


class Vllm:
    """Runs rows as vLLM would: whole prompts, then one token each."""

    def __init__(self, lm: LanguageModel) -> None:
        self.lm = lm
        self.words = len(lm.tokenizer)
        toolkens = make_toolkens(lm, TOOLS, scale=0.3, bias=-50.0)
        self.batch = ServedBatch(ServedLM(toolkens, lm.tokenizer, self.words, lm.eos_ids, torch.device("cpu")))

    def step(self, rows: list[list[int]], new: list[int]) -> tuple[list[int], torch.Tensor]:
        """Run the last `new` tokens of each row; append what is chosen."""
        states = [self.lm.hidden_states(torch.tensor([row]))[0][-count:] for row, count in zip(rows, new, strict=True)]
        bounds = [0]
        positions: list[int] = []
        for row, count in zip(rows, new, strict=True):
            bounds.append(bounds[-1] + count)
            positions += range(len(row) - count, len(row))
        self.batch.ran(bounds, positions, torch.cat(states))
        last = torch.stack([each[-1] for each in states])
        words = self.lm.head.word_logits(last)[:, : self.words]
        logits = self.batch.choose(last, torch.cat([words, torch.full((len(rows), len(TOOLS) + WIDTH), 9.0)], dim=1))
        shown = logits.clone()
        tokens = self.batch.force(logits).argmax(dim=1).tolist()
        for row, token in zip(rows, tokens, strict=True):
            row.append(token)
        return tokens, shown


def asked(uid: str, sampling: Sampling | None = None) -> Asked:
    return Asked(uid=uid, task=Reason(sampling=sampling or Sampling(max_tokens=30), toolkens=True))


def alone(lm: LanguageModel, prompt: list[int], steps: int) -> list[int]:
    vllm = Vllm(lm)
    vllm.batch.add(0, prompt, asked("alone"))
    row = list(prompt)
    vllm.step([row], [len(row)])
    for _ in range(steps - 1):
        vllm.step([row], [1])
    return row


def test_rows_go_on_where_vllm_moves_them(tiny_llama: LanguageModel) -> None:
    vllm = Vllm(tiny_llama)
    first, second, third = (list(prompt) for prompt in PROMPTS)
    for place, prompt in enumerate((first, second, third)):
        vllm.batch.add(place, prompt, asked(f"row {place}"))
    vllm.step([first, second, third], list(map(len, (first, second, third))))
    vllm.batch.move(0, 2, swap=True)
    vllm.step([third, second, first], [1, 1, 1])
    vllm.batch.remove([1])
    vllm.batch.move(2, 1, swap=False)
    vllm.step([third, first], [1, 1])
    assert first == alone(tiny_llama, list(PROMPTS[0]), 3)
    assert third == alone(tiny_llama, list(PROMPTS[2]), 3)


def test_a_row_that_vllm_takes_out_and_runs_again_goes_on(tiny_llama: LanguageModel) -> None:
    vllm = Vllm(tiny_llama)
    row = list(PROMPTS[0])
    vllm.batch.add(0, PROMPTS[0], asked("row"))
    vllm.step([row], [len(row)])
    vllm.step([row], [1])
    vllm.batch.remove([0])
    vllm.batch.add(0, PROMPTS[0], asked("row"))
    vllm.step([row], [len(row)])  # all of it again, what was written included
    assert row == alone(tiny_llama, list(PROMPTS[0]), 3)


def test_a_part_of_a_prompt_chooses_nothing(tiny_llama: LanguageModel) -> None:
    vllm = Vllm(tiny_llama)
    prompt = list(PROMPTS[0])
    vllm.batch.add(0, prompt, asked("row"))
    part = prompt[:4]
    vllm.step([part], [4])
    row = list(prompt)
    vllm.step([row], [len(prompt) - 4])
    assert row == alone(tiny_llama, prompt, 1)


def test_others_get_words_alone(tiny_llama: LanguageModel) -> None:
    vllm = Vllm(tiny_llama)
    vllm.batch.add(0, PROMPTS[0], None)
    vllm.batch.add(1, PROMPTS[1], asked("row"))
    rows = [list(PROMPTS[0]), list(PROMPTS[1])]
    tokens, shown = vllm.step(rows, list(map(len, rows)))
    words = tiny_llama.head.word_logits(tiny_llama.hidden_states(torch.tensor([list(PROMPTS[0])]))[0, -1:])
    assert tokens[0] == int(words[0, : vllm.words].argmax())
    assert torch.isneginf(shown[0, vllm.words :]).all()
    assert rows[1] == alone(tiny_llama, list(PROMPTS[1]), 1)
    # vLLM also computes logits that belong to no row, such as those of prompts.
    other = vllm.batch.choose(torch.zeros(5, 4), torch.zeros(5, vllm.words + len(TOOLS)))
    assert torch.isneginf(other[:, vllm.words :]).all()
