"""Copies of a ToolkenChat share the loaded LM; another process loads it again."""

from __future__ import annotations

import copy
import pickle
import shutil
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool

from langchain_toolken.chat.model import ToolkenChat
from langchain_toolken.decoding.local.engine import TransformersEngine
from langchain_toolken.decoding.local.shared import shared_engine
from langchain_toolken.lm.load import load_language_model
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.toolkens.set import ToolkenSet
from tests.support.tiny import save_lm
from tests.support.toolken_sets import make_toolkens

QUESTION = [HumanMessage("How many pens do 27 boxes hold?")]


@tool
def multiply(a: float, b: float) -> float:
    """Compute multiply."""
    return a * b


@tool
def divide(a: float, b: float) -> float:
    """Compute divide."""
    return a / b


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny LM on disk, with toolkens for `multiply` in its folder "toolkens"."""
    path = tmp_path_factory.mktemp("lm")
    save_lm(path, chat=False)
    make_toolkens(load_language_model(path), ["multiply"], scale=3.0).save(path / "toolkens")
    return path


def chat_of(folder: Path, toolkens: object = "folder") -> ToolkenChat:
    given = folder / "toolkens" if toolkens == "folder" else toolkens
    return ToolkenChat(model=str(folder), toolkens=given, device="cpu", max_tokens=8)  # type: ignore[arg-type]


COPIES: dict[str, Callable[[ToolkenChat], ToolkenChat]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "model_copy": lambda chat: chat.model_copy(),
    "model_copy deep": lambda chat: chat.model_copy(deep=True),
    "model_copy deep with update": lambda chat: chat.model_copy(deep=True, update={"temperature": 0.5}),
}


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_of_a_loaded_chat_model_has_its_engine_and_toolkens_and_settings_of_its_own(
    folder: Path, how: str
) -> None:
    toolkens = ToolkenSet.load(folder / "toolkens")
    chat = ToolkenChat(model=str(folder), toolkens=toolkens, device="cpu", max_tokens=8, stop=["\n\n"])
    engine = chat.engine
    copied = COPIES[how](chat)
    assert copied.engine is engine
    assert copied.toolkens is toolkens
    assert copied.profile == chat.profile
    (mine,), (its,) = chat.rank_tools(QUESTION), copied.rank_tools(QUESTION)
    assert its.probability == pytest.approx(mine.probability, rel=1e-3)
    assert copied.invoke(QUESTION, temperature=0).content == chat.invoke(QUESTION).content
    copied.max_tokens = 2
    assert chat.max_tokens == 8
    if "deep" in how:
        assert copied.stop is not None
        copied.stop.append("x")
        assert chat.stop == ["\n\n"]


def test_a_copy_that_was_made_before_loading_loads_the_same_lm(folder: Path) -> None:
    chat = chat_of(folder)
    copied = copy.deepcopy(chat)
    assert copied.engine is chat.engine


def test_a_copy_keeps_the_toolkens_that_were_read_and_those_that_were_made(folder: Path, tmp_path: Path) -> None:
    moved = tmp_path / "toolkens"
    shutil.copytree(folder / "toolkens", moved)
    chat = ToolkenChat(model=str(folder), toolkens=moved, device="cpu", max_tokens=2)
    with pytest.warns(UserWarning, match="'divide'"):
        chat.bind_tools([divide]).invoke(QUESTION)
    shutil.rmtree(moved)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # the others are errors anyway
        copy.deepcopy(chat).bind_tools([divide, multiply]).invoke(QUESTION)


def test_what_a_chat_model_stands_in_can_be_copied_too(folder: Path) -> None:
    chat = chat_of(folder)
    chain = chat.bind_tools([multiply, divide]) | RunnableLambda(lambda message: message.response_metadata)
    engine = chat.engine
    copied = copy.deepcopy(chain)
    assert copied.first.bound.engine is engine  # type: ignore[attr-defined]
    with pytest.warns(UserWarning, match="'divide'"):
        assert copied.invoke(QUESTION)["model_name"] == str(folder)


def test_a_chat_model_in_memory_is_copied_without_its_weights(tiny_llama: LanguageModel) -> None:
    engine = TransformersEngine(tiny_llama)
    chat = ToolkenChat.from_engine(engine, max_tokens=3, style="completion")
    assert copy.deepcopy(chat).engine is engine
    assert chat.model_copy(update={"max_tokens": 2}).engine is engine


def test_a_copy_with_another_lm_or_other_toolkens_uses_them(folder: Path, tmp_path: Path) -> None:
    chat = chat_of(folder)
    with pytest.warns(UserWarning, match="'divide'"):
        chat.bind_tools([divide]).invoke(QUESTION)
    other = copy.deepcopy(chat.engine.lm.model)  # type: ignore[attr-defined]
    other.config.max_position_embeddings = 256
    with torch.no_grad():
        other.lm_head.weight.mul_(-1)
    other.save_pretrained(tmp_path)
    chat.engine.tokenizer.save_pretrained(tmp_path)
    elsewhere = chat.model_copy(update={"model": tmp_path, "toolkens": None})
    assert elsewhere.engine is shared_engine(str(tmp_path), device="cpu")
    assert elsewhere.profile is not None
    assert elsewhere.profile["max_input_tokens"] == 256
    assert chat.profile is not None
    assert chat.profile["max_input_tokens"] == 512
    # The toolken that was made for `divide` was the first LM's.
    with pytest.warns(UserWarning, match="'divide'"):
        elsewhere.bind_tools([divide]).invoke(QUESTION)

    mine = ToolkenSet.load(folder / "toolkens")
    never = chat.model_copy(update={"toolkens": replace(mine, bias=-1000.0)})
    assert never.engine is chat.engine
    assert never._identifying_params["toolkens"] != chat._identifying_params["toolkens"]
    probability = [each.rank_tools(QUESTION, tools=[multiply])[0].probability for each in (chat, never)]
    assert probability[0] > probability[1] == 0


@pytest.mark.parametrize("given", ["folder", "set", "none"])
def test_a_pickled_chat_model_holds_no_weights_and_loads_them_when_it_is_used(folder: Path, given: str) -> None:
    toolkens = {"folder": "folder", "set": ToolkenSet.load(folder / "toolkens"), "none": None}[given]
    chat = chat_of(folder, toolkens)
    said = chat.invoke(QUESTION).content
    written = pickle.dumps(chat)
    assert len(written) < 20_000 < sum(p.nbytes for p in chat.engine.lm.model.parameters())  # type: ignore[attr-defined]
    again = pickle.loads(written)  # noqa: S301 - what this very test has written
    assert isinstance(again, ToolkenChat)
    assert again._loaded is None
    assert again._get_llm_string() == chat._get_llm_string()
    assert again.invoke(QUESTION).content == said
    assert again.engine is chat.engine  # loaded again here: the process has it already
    if toolkens is not None:
        (mine,), (its,) = chat.rank_tools(QUESTION), again.rank_tools(QUESTION)
        assert its.probability == pytest.approx(mine.probability, rel=1e-3)


@pytest.mark.slow
def test_other_processes_answer_as_this_one(folder: Path) -> None:
    bound = chat_of(folder).bind_tools([multiply])
    here = bound.invoke(QUESTION)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        there = pool.submit(bound.invoke, QUESTION).result(timeout=120)
    assert there.content == here.content
    mine, its = here.response_metadata["toolken"], there.response_metadata["toolken"]
    assert (its["name"], its["probability"]) == ("multiply", pytest.approx(mine["probability"], rel=1e-3))


def test_a_chat_model_on_an_engine_in_memory_says_that_it_cannot_be_pickled_and_what_to_do(
    tiny_llama: LanguageModel,
) -> None:
    chat = ToolkenChat.from_engine(TransformersEngine(tiny_llama), style="completion")
    with pytest.raises(pickle.PicklingError, match=r"engine in memory.*ToolkenChat\(model=…"):
        pickle.dumps(chat)


def test_a_copied_or_pickled_set_is_the_set(
    random_toolkens: Callable[..., ToolkenSet], tiny_llama: LanguageModel
) -> None:
    toolkens = random_toolkens(tiny_llama, ["a", "b"])
    assert copy.deepcopy({"set": toolkens})["set"] is toolkens
    again = pickle.loads(pickle.dumps(toolkens))  # noqa: S301 - what this very test has written
    assert again.specs == toolkens.specs
    assert torch.equal(again.matrix, toolkens.matrix)
    assert again.provenance == toolkens.provenance
