"""training.choice_habits: what an LM chooses whatever is asked is taken out, where that helps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.prompts.call_cards import CallExample
from langchain_toolken.prompts.content import encode_content
from langchain_toolken.training import choice_habits
from langchain_toolken.training.choice_habits import choice_nats
from langchain_toolken.training.demonstrations.demonstration import DemonstratedCall, Demonstration
from langchain_toolken.training.held_out_calls import HeldOutCall
from tests.support.tools import spec

TOOL = spec("printer", action={"enum": ["stop", "go"]}, place={"type": "string"})
HABIT = 3.0  # nats that the LM gives to "stop", whatever is asked


def calls(actions: Sequence[str | None]) -> list[tuple[HeldOutCall, list[int]]]:
    """Calls whose prompt is their number, so that an LM can tell them apart."""
    found = []
    for number, action in enumerate(actions):
        example = CallExample(tool="printer", request=f"r{number}", arguments={"action": action} if action else {})
        call = DemonstratedCall(start=0, tool="printer", args=example.arguments)
        found.append((HeldOutCall(TOOL, example, Demonstration(text="Print", calls=(call,)), call), [number]))
    return found


def learnt(
    lm: LanguageModel, actions: Sequence[str | None], knows: float, monkeypatch: pytest.MonkeyPatch, **known: Any
) -> Any:
    """What is learnt of an LM that favours what is asked by `knows` nats, and always "stop" by `HABIT`."""
    written = [encode_content(lm.tokenizer, f'{{"action":"{each}"', continued=True) for each in ("stop", "go")]
    stop, go = next(pair for pair in zip(*written, strict=False) if pair[0] != pair[1])

    def logits(_: LanguageModel, texts: Sequence[list[int]]) -> Tensor:
        scores = torch.zeros(len(texts), lm.vocab_size)
        for row, text in enumerate(texts):
            scores[row, stop] += HABIT
            scores[row, stop if actions[text[0]] == "stop" else go] += knows
        return scores

    monkeypatch.setattr(choice_habits, "next_word_logits", logits)
    return choice_nats(lm, calls(actions), **known)


def test_the_choice_that_an_lm_always_makes_gets_less(
    tiny_llama: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    nats = learnt(tiny_llama, ["stop", "go", "stop", "go"], 1.0, monkeypatch)["printer"]["action"]
    assert nats['"stop"'] == 0
    assert HABIT - 1 < nats['"go"'] < HABIT + 1


def test_a_choice_that_is_mostly_made_keeps_its_lead(
    tiny_llama: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    even = learnt(tiny_llama, ["stop", "go"] * 4, 1.0, monkeypatch)["printer"]["action"]
    mostly = learnt(tiny_llama, ["stop"] * 6 + ["go"] * 2, 1.0, monkeypatch)["printer"]["action"]
    assert mostly['"go"'] < even['"go"'] - 0.2


def test_a_habit_that_is_mostly_right_is_left_alone(tiny_llama: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    assert learnt(tiny_llama, ["stop"] * 7 + ["go"], 0.0, monkeypatch) == {}


@pytest.mark.parametrize("actions", [["stop", "go"], ["stop", "stop", "stop"], [None, "stop", "go"]])
def test_nothing_is_learnt_of_too_few_calls_or_of_one_choice(
    actions: list[str | None], tiny_llama: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert learnt(tiny_llama, actions, 1.0, monkeypatch) == {}


def test_a_choice_that_the_requests_own_words_tell_is_left_to_them(
    tiny_llama: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {"printer": ("action",)}
    assert learnt(tiny_llama, ["stop", "go", "stop", "go"], 1.0, monkeypatch, known=known) == {}
