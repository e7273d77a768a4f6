"""Which positions are learned from, and that the features are the LM's own numbers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.lm.transformers_model import TransformersModel
from langchain_toolken.training.demonstrations.demonstration import DemonstratedCall, Demonstration, DemonstrationError
from langchain_toolken.training.features.compute import Features, compute_features

TEXT = "Q: A box holds 12 pens. How many are in 7 boxes?\nA: There are 12 * 7 = 84 pens in 7 boxes."
NAMES = ["add", "multiply"]


def demonstration(
    text: str = TEXT, result: str = "84", tool: str = "multiply", line: int | None = None
) -> Demonstration:
    return Demonstration(
        text=text, calls=(DemonstratedCall(start=text.index(result), tool=tool, result=result),), line=line
    )


def tokens(lm: LanguageModel, text: str) -> tuple[list[int], list[tuple[int, int]]]:
    encoding = lm.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    return encoding["input_ids"], encoding["offset_mapping"]


def positions(lm: LanguageModel, features: Features, text: str) -> list[int]:
    """Find the position in the text of each feature row by its hidden state."""
    ids, _ = tokens(lm, text)
    states = lm.hidden_states(torch.tensor([ids]))[0]
    return [int((states - row).norm(dim=1).argmin()) for row in features.hidden]


def test_the_call_is_learnt_at_the_last_token_that_ends_at_or_before_its_start(tiny_llama: LanguageModel) -> None:
    features = compute_features(tiny_llama, [demonstration()], NAMES, "completion")
    _, offsets = tokens(tiny_llama, TEXT)
    call = positions(tiny_llama, features, TEXT)[int(features.target.argmax())]
    start = TEXT.index("84")
    assert offsets[call][1] <= start < offsets[call + 1][1]
    assert features.tool_positions == 1
    assert features.target[features.target >= 0].tolist() == [1]


def test_a_token_that_carries_the_space_in_front_of_the_result_comes_after_the_call(tiny_llama: LanguageModel) -> None:
    result = DemonstratedCall(start=TEXT.index("pens in"), tool="add", result="pens")
    features = compute_features(tiny_llama, [Demonstration(text=TEXT, calls=(result,))], NAMES, "completion")
    _, offsets = tokens(tiny_llama, TEXT)
    call = positions(tiny_llama, features, TEXT)[int(features.target.argmax())]
    assert (result.start - 1, result.start + 4) in offsets or (result.start, result.start + 4) in offsets
    assert TEXT[: offsets[call][1]].endswith("= 84")


def test_words_are_learnt_in_the_answer_and_not_within_the_result(tiny_llama: LanguageModel) -> None:
    features = compute_features(tiny_llama, [demonstration()], NAMES, "completion")
    ids, offsets = tokens(tiny_llama, TEXT)
    found = positions(tiny_llama, features, TEXT)
    words = sorted(p for p, target in zip(found, features.target.tolist(), strict=True) if target < 0)
    answer, start, end = TEXT.index("\nA:") + 3, TEXT.index("84"), TEXT.index("84") + 2
    expected = [
        p
        for p in range(len(ids) - 1)
        if offsets[p][1] >= answer and (offsets[p + 1][1] <= start or offsets[p][1] >= end)
    ]
    call = max(p for p in range(len(ids)) if offsets[p][1] <= start)
    assert words == [p for p in expected if p != call]
    assert any(offsets[p][1] == end for p in words), "what follows the result is learnt"


def test_a_call_without_a_result_leaves_out_nothing_but_itself(tiny_llama: LanguageModel) -> None:
    start = TEXT.index("84")
    bare = Demonstration(text=TEXT, calls=(DemonstratedCall(start=start, tool="add"),))
    with_result = compute_features(tiny_llama, [demonstration()], NAMES, "completion")
    without = compute_features(tiny_llama, [bare], NAMES, "completion")
    _, offsets = tokens(tiny_llama, TEXT)
    tokens_of_result = sum(start < e <= start + 2 for _, e in offsets)
    assert without.word_positions == with_result.word_positions + tokens_of_result - 1


@pytest.mark.parametrize("style", ["completion", "chat"])
def test_batching_and_padding_change_nothing(tiny_llama: LanguageModel, style) -> None:
    demos = [demonstration(), demonstration("Q: 2+3?\nA: 2+3=5", "5", "add"), demonstration(TEXT + " That is all.")]
    one = compute_features(tiny_llama, demos, NAMES, style, batch_tokens=1)
    many = compute_features(tiny_llama, demos, NAMES, style, batch_tokens=1000)
    torch.testing.assert_close(one.hidden, many.hidden, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(one.word_logsumexp, many.word_logsumexp, rtol=1e-4, atol=1e-4)
    assert one.target.tolist() == many.target.tolist()
    assert one.lm_passes == 1


def test_each_demonstration_goes_through_the_lm_once(tiny_llama: LanguageModel, monkeypatch) -> None:
    rows = []
    forward = TransformersModel.hidden_states

    def counted(self, input_ids, *args, **kwargs):
        rows.append(input_ids.shape[0])
        return forward(self, input_ids, *args, **kwargs)

    monkeypatch.setattr(TransformersModel, "hidden_states", counted)
    seen = []
    demos = [demonstration(f"Q: What is {i}*12?\nA: {i}*12=84", "84") for i in range(5)]
    compute_features(tiny_llama, demos, NAMES, "completion", batch_tokens=60, progress=lambda *step: seen.append(step))
    assert sum(rows) == 5
    assert 1 < len(rows) < 5
    assert seen[-1] == (5, 5, "LM pass")


def test_logits_and_logsumexp_are_the_models_own(tiny_lm: Callable[..., LanguageModel]) -> None:
    lm = tiny_lm("gemma2")
    features = compute_features(lm, [demonstration()], NAMES, "completion")
    ids, _ = tokens(lm, TEXT)
    logits = lm.model(torch.tensor([ids])).logits[0].float()
    for row, position in enumerate(positions(lm, features, TEXT)):
        torch.testing.assert_close(features.word_logsumexp[row], logits[position].logsumexp(0), rtol=1e-4, atol=1e-4)
        word = logits[position, ids[position + 1]] if features.target[row] < 0 else torch.tensor(0.0)
        torch.testing.assert_close(features.target_logit[row], word, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_sampled_negatives_stand_for_all_of_them(tiny_llama: LanguageModel) -> None:
    demos = [demonstration(), demonstration("Q: 2+3?\nA: 2+3=5, as all know who can count.", "5", "add")]
    every = compute_features(tiny_llama, demos, NAMES, "completion", negatives_per_demonstration=None)
    words = every.target < 0
    full = float(every.word_logsumexp[words].sum())
    sums = []
    for seed in range(150):
        some = compute_features(tiny_llama, demos, NAMES, "completion", negatives_per_demonstration=5, seed=seed)
        assert some.weight.sum().item() == pytest.approx(len(every), rel=1e-5)
        assert some.tool_positions == every.tool_positions
        assert (some.weight[some.target >= 0] == 1).all()
        sums.append(float((some.weight * some.word_logsumexp)[some.target < 0].sum()))
    estimates = torch.tensor(sums)
    error = estimates.std() / len(sums) ** 0.5
    assert abs(float(estimates.mean()) - full) < 4 * float(error)


def test_the_same_seed_draws_the_same_negatives(tiny_llama: LanguageModel) -> None:
    draws = [
        compute_features(tiny_llama, [demonstration()], NAMES, "completion", negatives_per_demonstration=5, seed=seed)
        for seed in (3, 3, 4)
    ]
    assert torch.equal(draws[0].hidden, draws[1].hidden)
    assert not torch.equal(draws[0].hidden, draws[2].hidden)


def test_a_text_beyond_the_context_is_cut_if_its_calls_still_fit_and_dropped_if_not(tiny_llama: LanguageModel) -> None:
    long_tail = demonstration(TEXT + " pens" * 600, line=8)
    long_head = demonstration("Q: x?\nA:" + " pens" * 600 + " so 84", line=9)
    features = compute_features(
        tiny_llama, [long_tail, long_head], NAMES, "completion", negatives_per_demonstration=None
    )
    assert features.tool_positions == 1
    assert features.tokens == tiny_llama.context_length - 1, "nothing is learnt at the last token"
    assert [row.line for row in features.dropped] == [9]
    assert "context of 512" in features.dropped[0].reason


def test_a_call_in_the_question_is_reported(tiny_llama: LanguageModel) -> None:
    in_question = Demonstration(text=TEXT, calls=(DemonstratedCall(start=15, tool="add", result="12"),), line=4)
    features = compute_features(tiny_llama, [demonstration(), in_question], NAMES, "completion")
    assert [row.line for row in features.dropped] == [4]
    assert "outside the answer" in features.dropped[0].reason
    with pytest.raises(DemonstrationError, match="line 4"):
        compute_features(tiny_llama, [in_question], NAMES, "completion")


def test_a_demonstration_without_calls_teaches_when_not_to_call(tiny_llama: LanguageModel) -> None:
    features = compute_features(tiny_llama, [Demonstration(text=TEXT, calls=())], NAMES, "completion")
    assert features.tool_positions == 0
    assert features.word_positions > 10


def test_no_negatives_at_all_is_refused(tiny_llama: LanguageModel) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        compute_features(tiny_llama, [demonstration()], NAMES, "completion", negatives_per_demonstration=0)


def test_a_tools_call_state_is_the_mean_over_its_calls_and_nothing_where_none_calls_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    target = torch.tensor([1, -1, 0, 1, 1, -1, 0])
    hidden = torch.randn(7, 4, generator=torch.Generator().manual_seed(0))
    features = Features(
        hidden=hidden,
        word_logsumexp=torch.zeros(7),
        word_max=torch.zeros(7),
        target=target,
        target_logit=torch.zeros(7),
        weight=torch.ones(7),
        demonstration=torch.arange(7),
    )
    expected = torch.stack([hidden[[2, 6]].mean(dim=0), hidden[[0, 3, 4]].mean(dim=0), torch.zeros(4)])
    torch.testing.assert_close(features.call_states(3), expected)
    monkeypatch.setattr("langchain_toolken.training.features.compute._CALLS_AT_ONCE", 2)
    torch.testing.assert_close(features.call_states(3), expected)
