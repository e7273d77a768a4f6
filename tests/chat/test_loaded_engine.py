"""Which LM a chat model loads: the one it is given, the one its toolkens name, or nano."""

from __future__ import annotations

import pickle
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from langchain_core.load import dumps, loads
from langchain_core.messages import HumanMessage
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from langchain_toolken.chat.model import ToolkenChat
from langchain_toolken.decoding.local.engine import TransformersEngine
from langchain_toolken.decoding.vllm.connection import VllmConnection
from langchain_toolken.decoding.vllm.engine import VllmEngine
from langchain_toolken.errors import ToolkenError
from langchain_toolken.lm.load import LoadArgumentError, load_language_model
from langchain_toolken.lm.not_found import ModelNotFoundError
from langchain_toolken.lm.transformers_model import TransformersModel
from langchain_toolken.toolkens.errors import ToolkenSetError
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.training.fit import fit_toolkens
from tests.support.fake_vllm import FakeVllm
from tests.support.gguf_files import write_gguf
from tests.support.tiny import make_model, make_tokenizer, save_lm
from tests.support.toolken_sets import make_toolkens
from tests.support.tools import multiply

QUESTION = [HumanMessage("How many pens do 27 boxes hold?")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny LM on disk, with toolkens in its folder "toolkens"."""
    path = tmp_path_factory.mktemp("lm")
    save_lm(path)
    make_toolkens(load_language_model(path), ["multiply"], scale=3.0).save(path / "toolkens")
    return path


def test_a_chat_model_takes_the_lm_that_its_toolkens_name(folder: Path) -> None:
    chat = ToolkenChat(toolkens=folder / "toolkens", max_tokens=4)
    assert chat.model == str(folder)
    assert chat.invoke(QUESTION).response_metadata["model_name"] == str(folder)
    from_memory = ToolkenChat(model=None, toolkens=ToolkenSet.load(folder / "toolkens"))  # type: ignore[arg-type]
    assert from_memory.engine is chat.engine


def test_without_toolkens_it_is_nano_and_a_named_model_comes_first(folder: Path) -> None:
    assert ToolkenChat().model == "nano"
    chat = ToolkenChat(model="nano", toolkens=folder / "toolkens")
    assert chat.model == "nano"
    with pytest.raises(ToolkenSetError, match=f"fitted for {folder}"):
        chat.rank_tools(QUESTION)


def test_a_set_names_the_revision_too(folder: Path) -> None:
    given = ToolkenSet.load(folder / "toolkens")
    on_the_hub = replace(
        given, provenance=given.provenance.model_copy(update={"model_id": "owner/name", "revision": "abc"})
    )
    assert ToolkenChat(toolkens=on_the_hub).revision == "abc"
    assert ToolkenChat(toolkens=on_the_hub, revision="main").revision == "main"
    assert ToolkenChat(toolkens=on_the_hub, model="owner/name").revision is None


def test_an_lm_that_its_set_names_and_that_is_gone_is_named_as_such(folder: Path, tmp_path: Path) -> None:
    given = ToolkenSet.load(folder / "toolkens")
    moved = replace(
        given, provenance=given.provenance.model_copy(update={"model_id": str(tmp_path / "gone"), "revision": None})
    )
    chat = ToolkenChat(toolkens=moved)
    for one in (chat, pickle.loads(pickle.dumps(chat)), chat.model_copy(update={"dtype": "float32"})):  # noqa: S301
        with pytest.raises(ModelNotFoundError, match=r"fitted for the LM .*gone.*Say where it is \(model=") as caught:
            one.invoke(QUESTION)
        assert "no model folder at" in str(caught.value)
    with pytest.raises(ModelNotFoundError, match="^no model folder"):
        ToolkenChat(model=str(tmp_path / "gone"), toolkens=moved).invoke(QUESTION)
    # The copy's own name is not the set's.
    with pytest.raises(ModelNotFoundError, match="^no model folder"):
        chat.model_copy(update={"model": str(tmp_path / "other")}).invoke(QUESTION)


@pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")
def test_a_written_chat_model_keeps_the_lm_that_its_toolkens_named(folder: Path) -> None:
    chat = ToolkenChat(toolkens=folder / "toolkens")
    again = loads(dumps(chat), valid_namespaces=["langchain_toolken"], allowed_objects=[ToolkenChat])
    assert again.model == str(folder)


@pytest.mark.filterwarnings("ignore:no demonstrations were given")
def test_a_gguf_file_is_fitted_saved_and_found_again(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", make_model("llama"), make_tokenizer())
    fit_toolkens(path, [multiply], docstring_examples=False, backend="transformers").save(tmp_path / "toolkens")
    chat = ToolkenChat(toolkens=tmp_path / "toolkens", max_tokens=4, backend="transformers")
    assert chat.model == str(path)
    assert [candidate.tool for candidate in chat.rank_tools(QUESTION)] == ["multiply"]


def test_arguments_for_a_gguf_file_reach_its_tokenizer_too(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", make_model("llama"), make_tokenizer())
    given = {"gguf_file": path.name}
    chat = ToolkenChat(model=tmp_path, model_kwargs=given, backend="transformers", max_tokens=4)  # type: ignore[arg-type]
    assert chat.prompt_format.style == "chat"
    assert chat.invoke(QUESTION).response_metadata["model_name"] == str(path)


def test_models_in_memory_are_taken_as_they_are(folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder)
    adapted = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"]))
    for given in (model, adapted, load_language_model(folder)):
        chat = ToolkenChat(model=given, max_tokens=4)  # type: ignore[arg-type]
        assert isinstance(chat.engine, TransformersEngine)
        assert chat.model == chat.engine.model_id
        chat.invoke(QUESTION)
        with pytest.raises(pickle.PicklingError, match="engine in memory"):
            pickle.dumps(chat)
    bare = ToolkenChat(model=make_model("llama"), model_kwargs={"tokenizer": make_tokenizer()})  # type: ignore[arg-type]
    assert bare.engine.model_id == "LlamaForCausalLM"


@pytest.mark.filterwarnings("ignore:no demonstrations were given")
def test_toolkens_fitted_on_a_peft_model_are_not_used_on_its_base_unasked(folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder)
    adapted = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"]))
    toolkens = fit_toolkens(adapted, [multiply], docstring_examples=False)
    with pytest.raises(ModelNotFoundError, match="PEFT adapter"):
        ToolkenChat(toolkens=toolkens).invoke(QUESTION)


def test_dtype_and_device_may_be_torchs_own(folder: Path) -> None:
    chat = ToolkenChat(model=str(folder), dtype=torch.bfloat16, device=torch.device("cpu"))  # type: ignore[arg-type]
    assert (chat.dtype, chat.device) == ("torch.bfloat16", "cpu")
    assert isinstance(chat.engine, TransformersEngine)
    assert chat.engine.lm.model.dtype == torch.bfloat16
    assert ToolkenChat(device=0).device == 0
    if not torch.cuda.is_available():
        with pytest.raises(LoadArgumentError, match="device 0 is not there"):
            ToolkenChat(model=str(folder), device=0).invoke(QUESTION)


def test_a_vllm_server_runs_the_lm_and_only_its_tokenizer_is_loaded(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = load_language_model(folder)
    assert isinstance(lm, TransformersModel)
    toolkens = ToolkenSet.load(folder / "toolkens")
    server = FakeVllm(lm, toolkens)
    connected = partial(VllmConnection, transport=httpx.MockTransport(server.answer))
    monkeypatch.setattr("langchain_toolken.decoding.vllm.load.VllmConnection", connected)
    monkeypatch.setattr("langchain_toolken.chat.loaded_engine.shared_engine", None)
    settings = {"max_tokens": 48, "model_kwargs": {"api_key": "secret", "timeout": 5.0}}
    chat = ToolkenChat(backend="vllm", base_url="http://vllm/v1", toolkens=folder / "toolkens", **settings)
    there = chat.bind_tools([multiply]).invoke(QUESTION)
    assert isinstance(chat.engine, VllmEngine)
    assert chat.profile is not None
    assert chat.profile["max_input_tokens"] == lm.context_length - 2
    here = (
        ToolkenChat.from_engine(TransformersEngine(lm), toolkens, max_tokens=48).bind_tools([multiply]).invoke(QUESTION)
    )
    assert (there.text, there.tool_calls and there.tool_calls[0]["args"]) == (
        here.text,
        here.tool_calls and here.tool_calls[0]["args"],
    )
    assert here.tool_calls
    copied = pickle.loads(pickle.dumps(chat))  # noqa: S301 - our own
    assert (copied.backend, copied.base_url) == ("vllm", "http://vllm/v1")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"base_url": None}, "needs base_url"),
        ({"device": "cuda"}, "device: where the LM runs, and how, is said to vllm serve"),
        ({"model_kwargs": {"n_ctx": 3}}, "vLLM knows no n_ctx, only revision"),
        ({"model": "/nowhere/at/all"}, "/nowhere/at/all"),
    ],
)
def test_settings_that_vllm_can_not_follow_are_refused(settings: dict[str, Any], words: str) -> None:
    chat = ToolkenChat(**{"backend": "vllm", "base_url": "http://vllm/v1", **settings})
    with pytest.raises(ToolkenError, match=words):
        _ = chat.engine
