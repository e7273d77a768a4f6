"""An answer of vLLM's chat API: the text as in this process, the toolken, the card, the toolken, the arguments."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from langchain_core.messages import HumanMessage

from langchain_toolken.decoding.engine import DecodingRequest, Sampling
from langchain_toolken.decoding.local.engine import TransformersEngine
from langchain_toolken.decoding.vllm.chat_decoder import MOST_OF_A_CARD, request_in
from langchain_toolken.decoding.vllm.wire import XARG, Asked, Chat
from langchain_toolken.lm.load import load_language_model
from langchain_toolken.lm.transformers_model import TransformersModel
from langchain_toolken.prompts.format import PromptFormat
from langchain_toolken.prompts.messages import render
from langchain_toolken.prompts.requests import Request, request_of
from langchain_toolken.prompts.turns import turns_of
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.tools.spec import schema_fault, tool_spec
from tests.support.evidence import make_evidence
from tests.support.fake_vllm import FakeVllm
from tests.support.tiny import make_model, make_tokenizer
from tests.support.toolken_sets import make_toolkens
from tests.support.tools import divide, lamp, multiply

QUESTION = "How many pens do 27 boxes hold?"
SPECS = tuple(map(tool_spec, (multiply, divide, lamp)))
LONG = Sampling(max_tokens=24)


@pytest.fixture(scope="module")
def lm() -> TransformersModel:
    tokenizer = make_tokenizer()
    model = make_model("llama", tied=False)
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    loaded = load_language_model(model, tokenizer=tokenizer)
    assert isinstance(loaded, TransformersModel)
    return loaded


def named(lm: TransformersModel, bias: float, *, evidence: bool = False) -> ToolkenSet:
    toolkens = make_toolkens(lm, [spec.name for spec in SPECS], scale=0.3, bias=bias)
    toolkens = replace(toolkens, specs=SPECS)
    return replace(toolkens, evidence=make_evidence(toolkens, threshold=-1.0)) if evidence else toolkens


def prompt_of(lm: TransformersModel) -> tuple[list[int], Request]:
    layout, messages = PromptFormat(style="chat"), [HumanMessage(QUESTION)]
    request = request_of(lm.tokenizer, turns_of(messages, layout.reinjection), layout)
    return list(render(lm.tokenizer, messages, layout)), request


def answered(server: FakeVllm, prompt: list[int], **settings: Any) -> list[int]:
    task = Chat(**{"sampling": LONG, "tools": SPECS, "asked": QUESTION, **settings})
    body = {"prompt": prompt, "max_tokens": 400, "vllm_xargs": {XARG: Asked(uid="row", task=task).model_dump_json()}}
    return [token for token, _ in server._generated(body)]


def parted(server: FakeVllm, ids: list[int]) -> tuple[list[int], str, list[int], str]:
    """The words, the tool, the card and the arguments."""
    first = next(at for at, token in enumerate(ids) if token >= server.words)
    second = next(at for at in range(first + 1, len(ids)) if ids[at] == ids[first])
    assert ids[-1] in server.lm.eos_ids
    arguments = bytes(server.served.grammars.tokenizer.decode_bytes(ids[second + 1 : -1])).decode()
    return ids[:first], SPECS[ids[first] - server.words].name, ids[first + 1 : second], arguments


@pytest.mark.parametrize("evidence", [False, True])
def test_text_and_tool_are_those_of_the_engine_in_this_process(lm: TransformersModel, evidence: bool) -> None:
    toolkens = named(lm, 15.0, evidence=evidence)
    prompt, request = prompt_of(lm)
    server = FakeVllm(lm, toolkens, part=7)
    words, tool, card, arguments = parted(server, answered(server, prompt))
    asked = DecodingRequest(LONG, toolkens=toolkens, requests=(request,))
    (here,) = TransformersEngine(lm).reason([prompt], asked)
    assert here.trigger is not None
    assert (tuple(words), tool) == (here.token_ids, here.trigger.tool)
    assert len(card) <= MOST_OF_A_CARD
    assert tool in lm.tokenizer.decode(card)
    spec = next(spec for spec in SPECS if spec.name == tool)
    assert schema_fault(spec, json.loads(arguments)) is None


def test_without_a_call_it_is_the_lms_text(lm: TransformersModel) -> None:
    prompt, _ = prompt_of(lm)
    server = FakeVllm(lm, named(lm, -1_000.0))
    ids = answered(server, prompt)
    (here,) = TransformersEngine(lm).reason([prompt], DecodingRequest(LONG))
    assert tuple(token for token in ids if token not in lm.eos_ids) == here.token_ids


@pytest.mark.parametrize(("choice", "tools"), [("required", SPECS), ("divide", SPECS), ("required", SPECS[2:])])
def test_a_required_call_comes_at_once_and_only_of_the_requests_tools(
    lm: TransformersModel, choice: str, tools: tuple[Any, ...]
) -> None:
    prompt, _ = prompt_of(lm)
    server = FakeVllm(lm, named(lm, -1_000.0))
    words, tool, _, _ = parted(server, answered(server, prompt, choice=choice, tools=tools))
    assert not words
    assert tool == choice or (choice == "required" and tool in {spec.name for spec in tools})


def test_the_request_is_found_in_the_prompt(lm: TransformersModel) -> None:
    prompt, request = prompt_of(lm)
    server = FakeVllm(lm, named(lm, 0.0))
    found = request_in(server.served, prompt, Chat(sampling=LONG, tools=SPECS, asked=f" {QUESTION}\n", answered=True))
    assert found is not None
    assert (found.span, found.answered) == (request.span, True)
    assert request_in(server.served, prompt, Chat(sampling=LONG, tools=SPECS, asked="Something else 4096")) is None
    assert request_in(server.served, prompt, Chat(sampling=LONG, tools=SPECS)) is None
