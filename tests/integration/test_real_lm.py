"""The whole way on a real LM, SmolLM2-135M-Instruct, from the GGUF file that `make smollm2` fetches."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from langchain_core.messages import HumanMessage

from langchain_toolken.chat.model import ToolkenChat
from langchain_toolken.cli.everyday_tools import PLAIN, TOLD
from langchain_toolken.lm.load import load_language_model
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.tools.load import load_tools
from langchain_toolken.training.arguments import DEFAULT_FORM
from langchain_toolken.training.fit import fit_toolkens
from langchain_toolken.training.negatives import plain_requests

pytestmark = [pytest.mark.real_lm, pytest.mark.slow]

EVERYDAY = "langchain_toolken.cli.everyday_tools"
REQUESTS = {
    "Is it going to snow in Bern on Saturday?": "get_weather",
    "Set the timer to 15 minutes, please.": "start_timer",
    "Let Maria know that we are on our way.": "send_text",
    "How many euros do I get for 90 pounds?": "convert_money",
    "Play a record by Ella Fitzgerald.": "play_music",
    "Please put rice on my shopping list.": "add_to_list",
}


@pytest.fixture(scope="module")
def lm(real_lm_file: Path) -> LanguageModel:
    return load_language_model(real_lm_file, backend="transformers")


@pytest.fixture(scope="module")
def toolkens(lm: LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> ToolkenSet:
    """Everyday tools with five examples each; a few of the plain requests, since all take half a minute more."""
    plain = tmp_path_factory.mktemp("plain") / "plain.txt"
    plain.write_text("\n".join(plain_requests("default")[::12]), encoding="utf-8")
    return fit_toolkens(lm, load_tools(EVERYDAY), [*TOLD, *PLAIN], negatives=plain, card=DEFAULT_FORM)


def test_the_gguf_file_brings_its_chat_template_and_decodes_as_transformers_generates(lm: LanguageModel) -> None:
    assert lm.context_length == 8192
    question = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = lm.tokenizer.apply_chat_template(question, add_generation_prompt=True, return_tensors="pt")
    ids = prompt["input_ids"] if not isinstance(prompt, torch.Tensor) else prompt
    assert "<|im_start|>user\nWhat is the capital" in lm.tokenizer.decode(ids[0])
    own = lm.model.generate(ids, max_new_tokens=24, do_sample=False)[0, ids.shape[1] :]
    chat = ToolkenChat(model=lm, max_tokens=24)  # type: ignore[arg-type]
    answer = chat.invoke([HumanMessage(question[0]["content"])]).text
    assert answer.strip() == lm.tokenizer.decode(own, skip_special_tokens=True).strip()
    assert "Paris" in answer


def test_a_few_examples_put_the_right_tool_first(lm: LanguageModel, toolkens: ToolkenSet) -> None:
    chat = ToolkenChat(model=lm, toolkens=toolkens)  # type: ignore[arg-type]
    first = {request: chat.rank_tools([HumanMessage(request)], 1)[0].tool for request in REQUESTS}
    assert sum(first[request] == tool for request, tool in REQUESTS.items()) >= 5, first


def test_a_request_is_called_for_with_its_arguments_and_a_greeting_is_not(
    lm: LanguageModel, toolkens: ToolkenSet
) -> None:
    chat = ToolkenChat(model=lm, toolkens=toolkens, max_tokens=32)  # type: ignore[arg-type]
    bound = chat.bind_tools(load_tools(EVERYDAY))
    (call,) = bound.invoke([HumanMessage("Set the timer to 15 minutes, please.")]).tool_calls
    assert (call["name"], call["args"]) == ("start_timer", {"minutes": 15})
    assert bound.invoke([HumanMessage("Hi, how are you today?")]).tool_calls == []


def test_a_saved_set_finds_its_lm(real_lm_file: Path, toolkens: ToolkenSet, tmp_path: Path) -> None:
    toolkens.save(tmp_path / "toolkens")
    chat = ToolkenChat(toolkens=tmp_path / "toolkens", max_tokens=8, backend="transformers")
    assert chat.model == str(real_lm_file)
    assert chat.rank_tools([HumanMessage("Play a record by Ella Fitzgerald.")], 1)[0].tool == "play_music"
