"""Reasoning: the words of the model's own generate, toolkens at the right step, one loop for all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from langchain_toolken.decoding.engine import DecodingRequest, Reasoning, Sampling
from langchain_toolken.decoding.local.engine import TransformersEngine
from langchain_toolken.lm.load import load_language_model
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.toolkens.errors import ToolkenSetError
from langchain_toolken.toolkens.provenance import Calibration
from langchain_toolken.toolkens.set import ToolkenSet
from tests.support.decoding import GREEDY, PROMPTS, TOOLS, Lm, comparable
from tests.support.tiny import ARCHITECTURES, CONTEXT_LENGTH, WINDOW, make_model
from tests.support.toolken_sets import make_toolkens
from tests.support.tools import spec


def generate(lm: LanguageModel, prompt: Sequence[int], max_tokens: int) -> tuple[int, ...]:
    """The model's own greedy continuation, up to its end-of-text token."""
    ids = torch.tensor([list(prompt)])
    output = lm.model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=max_tokens, pad_token_id=2
    )
    words = output[0, len(prompt) :].tolist()
    return tuple(words[: words.index(1)] if 1 in words else words)


def step_logits(lm: LanguageModel, ids: Sequence[int], toolkens: ToolkenSet) -> torch.Tensor:
    """[words ; toolkens] after `ids`, from the model's own logits and what its output head was given."""
    seen: list[torch.Tensor] = []
    hook = lm.model.get_output_embeddings().register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    try:
        with torch.inference_mode():
            words = lm.model(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0, -1]
    finally:
        hook.remove()
    return torch.cat([words, toolkens.matrix @ seen[0][0, -1] + toolkens.bias])


# --- the same words as generate ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_reasoning_equals_generate_without_toolkens_and_with_masked_ones(
    tiny_lm: Lm, architecture: str, tied: bool
) -> None:
    lm = tiny_lm(architecture, tied=tied)
    engine = TransformersEngine(lm)
    toolkens = make_toolkens(lm, TOOLS, scale=10, bias=100)
    expected = [generate(lm, prompt, GREEDY.max_tokens) for prompt in PROMPTS]
    assert any(len(prompt) + len(words) > WINDOW for prompt, words in zip(PROMPTS, expected, strict=True))
    for bound, active in ((None, None), (toolkens, frozenset())):
        alone = [engine.reason([p], DecodingRequest(GREEDY, toolkens=bound, active=active))[0] for p in PROMPTS]
        together = engine.reason(PROMPTS, DecodingRequest(GREEDY, toolkens=bound, active=active))
        assert [r.token_ids for r in alone] == expected
        assert [r.token_ids for r in together] == expected
        assert all(r.trigger is None and r.runners_up == () for r in together)


def test_end_of_text_stops_a_row_and_is_not_part_of_it(tiny_lm: Lm) -> None:
    lm = tiny_lm("llama")
    words = generate(lm, PROMPTS[0], 24)
    engine = TransformersEngine(replace(lm))
    third = words[2]
    assert third not in words[:2]
    engine.lm.__dict__["eos_ids"] = frozenset({third})  # the cached property of this copy alone
    long, short = engine.reason([PROMPTS[1], PROMPTS[0]], DecodingRequest(GREEDY))
    assert (short.token_ids, short.finish_reason) == (words[:2], "stop")
    assert len(long.token_ids) > 2


def test_length_is_reported(tiny_llama: LanguageModel) -> None:
    result = TransformersEngine(tiny_llama).reason([PROMPTS[0]], DecodingRequest(Sampling(max_tokens=3)))[0]
    assert (len(result.token_ids), result.finish_reason) == (3, "length")
    assert result.prompt_tokens == len(PROMPTS[0])


# --- toolkens fire ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_copy_of_a_words_row_fires_where_that_word_would_have_come(tiny_lm: Lm, architecture: str) -> None:
    lm = tiny_lm(architecture)
    words = generate(lm, PROMPTS[0], 12)
    fresh = [i for i in range(1, len(words)) if words[i] not in words[:i]]
    assert fresh, "the model repeats its first word; choose another seed"
    step = fresh[-1]
    toolkens = make_toolkens(lm, TOOLS, scale=0.05)
    matrix = toolkens.matrix.clone()
    # A little over the word's logit at its step. Words may be scaled and soft-capped, toolkens never are.
    history = [*PROMPTS[0], *words[:step]]
    with torch.inference_mode():
        hidden = lm.hidden_states(torch.tensor([history]))[0, -1]
        row = lm.head.weight[words[step]]
        matrix[3] = row * (lm.head.word_logits(hidden)[words[step]] / (row @ hidden)) * 1.02
    toolkens = replace(toolkens, matrix=matrix, prior=matrix)

    expected = next(
        i for i in range(len(words)) if step_logits(lm, [*PROMPTS[0], *words[:i]], toolkens).argmax() >= lm.vocab_size
    )
    probabilities = step_logits(lm, [*PROMPTS[0], *words[:expected]], toolkens).softmax(-1)[lm.vocab_size :]
    ranked = probabilities.argsort(descending=True).tolist()

    for results in (
        TransformersEngine(lm).reason([PROMPTS[0]], DecodingRequest(GREEDY, toolkens=toolkens)),
        TransformersEngine(lm).reason(PROMPTS, DecodingRequest(GREEDY, toolkens=toolkens))[:1],
    ):
        result = results[0]
        assert result.finish_reason == "tool_calls"
        assert result.token_ids == words[:expected]
        assert result.trigger is not None
        assert result.trigger.tool == TOOLS[ranked[0]]
        assert result.trigger.probability == pytest.approx(probabilities[ranked[0]].item(), rel=1e-3)
        assert [c.tool for c in result.runners_up] == [TOOLS[k] for k in ranked[1:5]]
        for candidate, k in zip(result.runners_up, ranked[1:5], strict=True):
            assert candidate.probability == pytest.approx(probabilities[k].item(), rel=1e-3)


def test_a_toolken_may_fire_at_the_very_first_step(tiny_llama: LanguageModel) -> None:
    toolkens = make_toolkens(tiny_llama, TOOLS, bias=1000)
    result = TransformersEngine(tiny_llama).reason([PROMPTS[0]], DecodingRequest(GREEDY, toolkens=toolkens))[0]
    assert (result.token_ids, result.text, result.finish_reason) == ((), "", "tool_calls")


@pytest.mark.parametrize("begun", [None, 0])
def test_where_calls_come_first_none_fires_after_a_word(tiny_llama: LanguageModel, begun: int | None) -> None:
    toolkens = make_toolkens(tiny_llama, ["add"], bias=1000.0)
    request = DecodingRequest(Sampling(max_tokens=4), toolkens=toolkens, begun=begun)
    engine, prompt = TransformersEngine(tiny_llama), [[5, 9, 21]]
    (anywhere,) = engine.reason(prompt, request)
    (first,) = engine.reason(prompt, replace(request, calls_first=True))
    assert (anywhere.trigger is not None, len(anywhere.token_ids)) == (True, int(begun == 0))
    assert (first.trigger is not None, len(first.token_ids)) == ((True, 0) if begun is None else (False, 4))


def test_only_active_toolkens_fire_and_count(tiny_llama: LanguageModel) -> None:
    engine = TransformersEngine(tiny_llama)
    toolkens = make_toolkens(tiny_llama, TOOLS, bias=1000)
    result = engine.reason([PROMPTS[0]], DecodingRequest(GREEDY, toolkens=toolkens, active=frozenset({"add", "log"})))[
        0
    ]
    assert result.trigger is not None
    assert {result.trigger.tool, *(c.tool for c in result.runners_up)} == {"add", "log"}
    assert result.trigger.probability + result.runners_up[0].probability == pytest.approx(1)


def test_a_single_tool_has_no_runners_up(tiny_llama: LanguageModel) -> None:
    toolkens = make_toolkens(tiny_llama, ["add"], bias=1000)
    result = TransformersEngine(tiny_llama).reason([PROMPTS[0]], DecodingRequest(GREEDY, toolkens=toolkens))[0]
    assert result.trigger is not None
    assert result.runners_up == ()


def test_an_active_name_without_toolken_is_an_error(tiny_llama: LanguageModel) -> None:
    engine = TransformersEngine(tiny_llama)
    toolkens = make_toolkens(tiny_llama, TOOLS)
    with pytest.raises(ValueError, match="modulo"):
        engine.reason([PROMPTS[0]], DecodingRequest(GREEDY, toolkens=toolkens, active=frozenset({"add", "modulo"})))
    with pytest.raises(ValueError, match="add"):
        engine.reason([PROMPTS[0]], DecodingRequest(GREEDY, active=frozenset({"add"})))


def test_toolkens_of_another_lm_are_refused(tiny_llama: LanguageModel) -> None:
    other = load_language_model(make_model("llama", seed=7), tokenizer=tiny_llama.tokenizer)
    with pytest.raises(ToolkenSetError, match="output head"):
        TransformersEngine(tiny_llama).reason(
            [PROMPTS[0]], DecodingRequest(GREEDY, toolkens=make_toolkens(other, TOOLS))
        )


# --- sampling ---------------------------------------------------------------------------------------------------------


def test_a_seed_repeats_a_batch_and_another_seed_does_not(tiny_llama: LanguageModel) -> None:
    engine = TransformersEngine(tiny_llama)
    sampling = Sampling(temperature=1.5, top_p=0.95, top_k=50, seed=3, max_tokens=16)

    def run(sampling: Sampling) -> list[tuple[int, ...]]:
        return [r.token_ids for r in engine.reason(PROMPTS, DecodingRequest(sampling))]

    first = run(sampling)
    torch.manual_seed(99)
    assert run(sampling) == first
    assert run(replace(sampling, seed=4)) != first


def test_top_k_of_one_is_greedy_whatever_the_temperature(tiny_llama: LanguageModel) -> None:
    engine = TransformersEngine(tiny_llama)
    sampling = Sampling(temperature=5, top_k=1, max_tokens=24)
    hot = engine.reason(PROMPTS, DecodingRequest(sampling))
    greedy = engine.reason(PROMPTS, DecodingRequest(GREEDY))
    assert [comparable(result) for result in hot] == [comparable(result) for result in greedy]


def test_the_triggers_probability_is_untempered(tiny_llama: LanguageModel) -> None:
    engine = TransformersEngine(tiny_llama)
    toolkens = make_toolkens(tiny_llama, TOOLS, bias=1000)
    greedy = engine.reason([PROMPTS[0]], DecodingRequest(GREEDY, toolkens=toolkens))[0]
    hot = engine.reason([PROMPTS[0]], DecodingRequest(Sampling(temperature=9, seed=0), toolkens=toolkens))[0]
    assert greedy.trigger is not None
    assert hot.trigger is not None
    by_tool = {c.tool: c.probability for c in (greedy.trigger, *greedy.runners_up)}
    assert sum(by_tool.values()) <= 1.001
    assert all(c.probability == pytest.approx(by_tool[c.tool]) for c in hot.runners_up if c.tool in by_tool)


@pytest.mark.parametrize(
    ("field", "value"), [("temperature", -1), ("top_p", 0), ("top_p", 1.1), ("top_k", -1), ("max_tokens", 0)]
)
def test_a_setting_out_of_range_is_named(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=field):
        Sampling(**{field: value})


# --- the prefix cache -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_agents_steps_are_the_same_with_the_prefix_cache_and_without(tiny_lm: Lm, architecture: str) -> None:
    lm = tiny_lm(architecture)
    toolkens = make_toolkens(lm, TOOLS, scale=0.8)
    numbers = spec(a={"type": "integer", "minimum": 0, "maximum": 999}, b={"type": "boolean"})
    card, result = [70, 71, 72, 73, 74], [17, 18, 19]

    def steps(engine: TransformersEngine) -> list[Any]:
        text, done = list(PROMPTS[2]), []
        for bound in (None, toolkens, None, toolkens):
            reasoning = engine.reason([text], DecodingRequest(Sampling(max_tokens=10), toolkens=bound))[0]
            text += reasoning.token_ids
            completion = engine.complete([[*text, *card]], [numbers])[0]
            done += [reasoning, completion]
            text += result
        return done

    with_cache, without = steps(TransformersEngine(lm)), steps(TransformersEngine(lm, cached_prefixes=0))
    # The sums of attention come in another order, so probabilities agree to float32's precision and no further.
    assert [comparable(step) for step in with_cache] == without
    assert with_cache[0].reused_tokens == 0
    # Only the card is new to `complete`, only the result to the next `reason` (and the one token that must be run).
    for reasoning, completion, following in zip(with_cache[::2], with_cache[1::2], with_cache[2::2], strict=False):
        told = reasoning.prompt_tokens + len(reasoning.token_ids)
        assert completion.reused_tokens >= told - 1
        assert following.reused_tokens >= told - 1
    assert all(step.reused_tokens == 0 for step in without)


# --- text and stop strings --------------------------------------------------------------------------------------------


def test_a_streams_pieces_join_to_its_text(tiny_llama: LanguageModel) -> None:
    engine = TransformersEngine(tiny_llama)
    for seed in range(5):
        sampling = Sampling(temperature=3, seed=seed, max_tokens=40)
        *pieces, last = engine.stream(PROMPTS[0], DecodingRequest(sampling, stop=("ab", "e t")))
        assert isinstance(last, Reasoning)
        assert "".join(str(piece) for piece in pieces) == last.text
        assert last == replace(
            engine.reason([PROMPTS[0]], DecodingRequest(sampling, stop=("ab", "e t")))[0],
            reused_tokens=last.reused_tokens,
        )


def test_text_ends_before_a_stop_string_and_so_do_the_tokens(tiny_llama: LanguageModel) -> None:
    engine = TransformersEngine(tiny_llama)
    plain = engine.reason([PROMPTS[1]], DecodingRequest(GREEDY))[0]
    ends = [len(engine.tokenizer.decode(list(plain.token_ids[:n]))) for n in range(len(plain.token_ids) + 1)]
    stop = plain.text[ends[3] : ends[5]]
    cut = plain.text.index(stop)
    result = engine.reason([PROMPTS[1]], DecodingRequest(GREEDY, stop=(stop,)))[0]
    assert (result.text, result.finish_reason) == (plain.text[:cut], "stop")
    assert result.token_ids == plain.token_ids[: max(n for n, end in enumerate(ends) if end <= cut)]


def test_an_empty_stop_string_is_an_error(tiny_llama: LanguageModel) -> None:
    with pytest.raises(ValueError, match="stop string"):
        TransformersEngine(tiny_llama).reason([PROMPTS[0]], DecodingRequest(GREEDY, stop=("",)))


# --- limits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["reason", "stream", "complete"])
def test_a_prompt_longer_than_the_context_is_an_error_with_both_numbers(tiny_llama: LanguageModel, call: str) -> None:
    engine = TransformersEngine(tiny_llama)
    prompt = [5] * (CONTEXT_LENGTH + 3)
    with pytest.raises(ValueError, match=rf"{CONTEXT_LENGTH + 3}.*{CONTEXT_LENGTH}"):
        if call == "reason":
            engine.reason([PROMPTS[0], prompt], DecodingRequest(GREEDY))
        elif call == "stream":
            engine.stream(prompt, DecodingRequest(GREEDY))
        else:
            engine.complete([prompt], [spec(a={"type": "boolean"})])


def test_an_empty_prompt_is_an_error(tiny_llama: LanguageModel) -> None:
    with pytest.raises(ValueError, match="no tokens"):
        TransformersEngine(tiny_llama).reason([[]], DecodingRequest(GREEDY))


def test_decoding_ends_at_the_end_of_the_context(tiny_llama: LanguageModel) -> None:
    prompt = [5 + i % 200 for i in range(CONTEXT_LENGTH - 4)]
    result = TransformersEngine(tiny_llama).reason([prompt], DecodingRequest(GREEDY))[0]
    assert (len(result.token_ids), result.finish_reason) == (4, "length")


def test_no_prompts_give_no_results(tiny_llama: LanguageModel) -> None:
    engine = TransformersEngine(tiny_llama)
    assert engine.reason([], DecodingRequest(GREEDY)) == []
    assert engine.complete([], []) == []


def test_calibration_changes_the_reported_probabilities_and_not_the_calls(tiny_llama: LanguageModel) -> None:
    biases = torch.linspace(80, 81, len(TOOLS))
    plain = replace(make_toolkens(tiny_llama, TOOLS), bias=2.0, tool_biases=biases)
    calibration = Calibration(
        temperature=4.0,
        fitted_bias=1.0,
        ece_before=0.1,
        ece_after=0.0,
        f1=1.0,
        recall=1.0,
        false_call_rate=0.0,
        max_false_call_rate=None,
    )
    results = [
        TransformersEngine(tiny_llama).reason([PROMPTS[0]], DecodingRequest(GREEDY, toolkens=toolkens))[0]
        for toolkens in (plain, replace(plain, calibration=calibration))
    ]
    logits = step_logits(tiny_llama, PROMPTS[0], replace(plain, bias=0.0))
    words, raw = logits[: tiny_llama.vocab_size].logsumexp(0, keepdim=True), logits[tiny_llama.vocab_size :]
    expected = (
        torch.cat([words, raw + 2.0 + biases]).softmax(0)[1:],
        (torch.cat([words, raw + 1.0]) / 4.0).softmax(0)[1:],
    )
    fired = int((raw + biases).argmax())
    for result, probabilities in zip(results, expected, strict=True):
        assert result.trigger is not None
        assert result.trigger.tool == TOOLS[fired]
        for candidate in (result.trigger, *result.runners_up):
            assert candidate.probability == pytest.approx(
                float(probabilities[TOOLS.index(candidate.tool)]), rel=1e-3, abs=1e-9
            )
