"""Batches, shared prefixes and offloading don't change what the LM gives at a position."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from langchain_toolken.lm.load import load_language_model
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.lm.states import shared_beginning
from langchain_toolken.prompts.format import Style
from langchain_toolken.training.demonstrations.demonstration import DemonstratedCall, Demonstration
from langchain_toolken.training.demonstrations.histories import history_demonstrations
from langchain_toolken.training.features.compute import Features, compute_features
from langchain_toolken.training.features.lm_pass import plan_batches, run_batch, sequences_of, tokens_run
from langchain_toolken.training.features.supervision import Supervision, supervise
from tests.support.tiny import ARCHITECTURES, make_model

NAMES = ["add", "multiply"]


def demonstrations() -> list[Demonstration]:
    texts = [f"Q: A box holds {i} pens.{' So?' * (i % 5)}\nA: There are {i}*7={i * 7} pens." for i in range(14)]
    return [
        Demonstration(text=text, calls=(DemonstratedCall(start=text.index("=") + 1, tool=NAMES[i % 2]),))
        for i, text in enumerate(texts)
    ]


def history() -> list[Demonstration]:
    return history_demonstrations(
        [
            HumanMessage("How many pens are in 7 boxes of 12?"),
            AIMessage("There are ", tool_calls=[{"id": "1", "name": "multiply", "args": {"a": 12, "b": 7}}]),
            ToolMessage("84", tool_call_id="1"),
            AIMessage("There are 84 pens."),
            HumanMessage("And with 5 more?"),
            AIMessage("", tool_calls=[{"id": "2", "name": "add", "args": {"a": 84, "b": 5}}]),
            ToolMessage("89", tool_call_id="2"),
            AIMessage("Then there are 89."),
        ]
    )


def alone(lm: LanguageModel, supervision: Supervision) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Hidden states, word logits and the request's mean state of one demonstration: no batch, the model's own head."""
    with torch.no_grad():
        output = lm.model(torch.tensor([supervision.ids]), output_hidden_states=True)
    positions = torch.tensor(supervision.positions)
    states = output.hidden_states[-1][0]
    request = states[slice(*supervision.request)].mean(dim=0)
    return states[positions], output.logits[0, positions].float(), request


def assert_as_alone(lm: LanguageModel, found: Features, supervisions: list[Supervision]) -> None:
    for one in supervisions:
        mine = found.subset(found.demonstration == one.demonstration)
        hidden, logits, request = alone(lm, one)
        scale = float(hidden.abs().max())
        assert found.requests is not None
        torch.testing.assert_close(found.requests[one.demonstration], request, rtol=0, atol=1e-5 * max(scale, 1))
        torch.testing.assert_close(mine.hidden[:], hidden, rtol=0, atol=1e-5 * max(scale, 1))
        scale = max(float(logits.abs().max()), 1)
        torch.testing.assert_close(mine.word_logsumexp, logits.logsumexp(1), rtol=0, atol=1e-5 * scale)
        torch.testing.assert_close(mine.word_max, logits.amax(1), rtol=0, atol=1e-5 * scale)
        assert mine.target.tolist() == list(one.tools)
        at = logits.gather(1, torch.tensor(one.words)[:, None])[:, 0]
        expected = torch.where(torch.tensor(one.tools) < 0, at, torch.zeros(()))
        torch.testing.assert_close(mine.target_logit, expected, rtol=0, atol=1e-5 * scale)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_features_are_those_of_each_demonstration_by_itself(
    tiny_lm: Callable[..., LanguageModel], architecture: str
) -> None:
    lm = tiny_lm(architecture)
    found = compute_features(lm, demonstrations(), NAMES, "completion", batch_tokens=200)
    supervisions, _ = supervise(lm, demonstrations(), NAMES, "completion")
    assert_as_alone(lm, found, supervisions)


@pytest.mark.parametrize("style", ["chat", "completion"])
def test_all_answers_of_a_history_take_one_pass(tiny_llama: LanguageModel, style: Style) -> None:
    demos = history()
    supervisions, dropped = supervise(tiny_llama, demos, NAMES, style)
    assert len(supervisions) == 4
    assert not dropped
    found = compute_features(tiny_llama, demos, NAMES, style)
    longest = max(max(one.positions) + 1 for one in supervisions)
    assert found.tokens == longest
    assert_as_alone(tiny_llama, found, supervisions)


def test_an_answer_that_is_laid_out_otherwise_later_takes_a_pass_of_its_own(tiny_llama: LanguageModel) -> None:
    """A template that leaves out the thoughts of earlier answers."""
    one = Supervision(0, (5, 6, 7, 8), (2,), (-1,), (8,), (1.0,))
    goes_on = Supervision(1, (5, 6, 7, 9, 4), (1, 3), (-1, 0), (7, 0), (1.0, 1.0))
    differs = Supervision(2, (5, 6, 8, 7, 9, 9), (4,), (-1,), (9,), (1.0,))
    batches = plan_batches([one, goes_on, differs], 100)
    assert [batch.sequences for batch in batches] == [((5, 6, 8, 7, 9), (5, 6, 7, 9))]
    assert [[s.demonstration for s in group] for group in batches[0].supervised] == [[2], [0, 1]]
    hidden, words, _ = run_batch(tiny_llama, batches[0])
    assert hidden.shape == (4, tiny_llama.hidden_size)
    assert words[:, 2].tolist()[-1] == 0, "a call has no word"


ids = st.lists(st.integers(0, 2), min_size=2, max_size=9)


@given(texts=st.lists(ids, min_size=1, max_size=20), budget=st.integers(1, 40), data=st.data())
def test_every_position_is_in_one_batch_behind_its_own_words_and_no_batch_exceeds_the_budget(
    texts: list[list[int]], budget: int, data: st.DataObject
) -> None:
    supervisions = []
    for number, text in enumerate(texts):
        positions = data.draw(st.lists(st.integers(0, len(text) - 2), min_size=1, max_size=3, unique=True))
        n = len(positions)
        words = tuple(text[p + 1] for p in positions)
        supervisions.append(Supervision(number, tuple(text), tuple(positions), (-1,) * n, words, (1.0,) * n))
    batches = plan_batches(supervisions, budget)
    assert sorted(one.demonstration for batch in batches for one in batch.supervisions) == list(range(len(texts)))
    row = 0
    sequences = [ids for batch in batches for ids in batch.sequences]
    assert len(set(sequences)) == len(sequences)
    for batch in batches:
        assert batch.rows.start == row
        row = batch.rows.stop
        width = max(map(len, batch.sequences))
        assert len(batch.sequences) == 1 or width * len(batch.sequences) <= budget
        for sequence, group in zip(batch.sequences, batch.supervised, strict=True):
            for one in group:
                for position in one.positions:
                    assert sequence[: position + 1] == one.ids[: position + 1]
    assert row == sum(len(one.positions) for one in supervisions)


def test_an_lm_partly_on_disk_gives_the_same(tiny_llama: LanguageModel, tmp_path: Path) -> None:
    """A device_map as for an LM larger than one device: here the CPU, and the disk for one layer."""
    make_model("llama").save_pretrained(tmp_path / "model")
    tiny_llama.tokenizer.save_pretrained(tmp_path / "model")
    names = {"model.embed_tokens": "cpu", "model.norm": "cpu", "model.rotary_emb": "cpu", "lm_head": "cpu"}
    device_map = {**names, "model.layers.0": "cpu", "model.layers.1": "disk"}
    lm = load_language_model(tmp_path / "model", device_map=device_map, offload_folder=tmp_path / "offload")
    assert lm.model.get_parameter("model.layers.1.mlp.up_proj.weight").is_meta
    assert lm.weights_fingerprint == tiny_llama.weights_fingerprint
    assert lm.model.get_parameter("model.layers.1.mlp.up_proj.weight").is_meta, "reading it put it back"
    whole, offloaded = (
        compute_features(each, demonstrations(), NAMES, "completion", folder=tmp_path / folder)
        for each, folder in ((tiny_llama, "one"), (lm, "other"))
    )
    assert torch.equal(whole.hidden[:], offloaded.hidden[:])
    assert torch.equal(whole.word_logsumexp, offloaded.word_logsumexp)
    again = compute_features(lm, demonstrations(), NAMES, "completion", folder=tmp_path / "one")
    assert again.lm_passes == 0, json.loads((tmp_path / "one" / "manifest.json").read_text())


def test_the_weights_fingerprint_is_the_same_in_bfloat16_and_tells_bodies_apart(tiny_llama: LanguageModel) -> None:
    tokenizer = tiny_llama.tokenizer
    same = load_language_model(make_model("llama").to(torch.bfloat16), tokenizer=tokenizer)
    assert same.weights_fingerprint == tiny_llama.weights_fingerprint
    body = make_model("llama")
    with torch.no_grad():
        body.get_parameter("model.layers.1.self_attn.q_proj.weight").add_(0.01)
    other = load_language_model(body, tokenizer=tokenizer)
    assert other.head_fingerprint == tiny_llama.head_fingerprint
    assert other.weights_fingerprint != tiny_llama.weights_fingerprint


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_what_all_prompts_begin_with_is_run_once(tiny_lm: Callable[..., LanguageModel], architecture: str) -> None:
    lm = tiny_lm(architecture)
    texts = [f"Q: {'the same beginning ' * 3}and then {i}?\nA: It is {i}." for i in range(6)]
    given = [Demonstration(text=t, calls=(DemonstratedCall(start=len(t) - 1, tool="add"),)) for t in texts]
    supervisions, _ = supervise(lm, given, NAMES, "completion")
    batches = plan_batches(supervisions, 100)
    shared = shared_beginning(lm, sequences_of(batches))
    assert shared is not None
    assert len(shared) >= 8
    whole = sum(batch.tokens for batch in batches)
    assert tokens_run(lm, batches, range(len(batches))) == whole - 5 * len(shared)
    for batch in batches:
        for with_it, without in zip(run_batch(lm, batch, shared), run_batch(lm, batch), strict=True):
            torch.testing.assert_close(with_it, without, atol=1e-4, rtol=1e-4)


def test_prompts_with_nothing_in_common_share_nothing(tiny_llama: LanguageModel) -> None:
    given = [Demonstration(text=f"{i}+{i}={2 * i}", calls=()) for i in range(3, 9)]
    supervisions, _ = supervise(tiny_llama, given, NAMES, "completion")
    assert shared_beginning(tiny_llama, sequences_of(plan_batches(supervisions, 100))) is None
