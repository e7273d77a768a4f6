"""Completing: arguments that are valid under the tool's schema, whatever the LM."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from itertools import pairwise
from typing import Any

import jsonschema
import pytest
import torch

from langchain_toolken.decoding.engine import Completion
from langchain_toolken.decoding.local.completer import ArgumentPiece, ArgumentReader
from langchain_toolken.decoding.local.engine import TransformersEngine
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.lm.transformers_model import TransformersModel
from langchain_toolken.tools.spec import ToolSpec
from tests.support.decoding import PROMPTS, Lm
from tests.support.passes import Passes, wait_until
from tests.support.tools import spec

NUMBER = {"type": "integer", "minimum": -99, "maximum": 99}
WORD = {"type": "string", "maxLength": 6}
SCHEMAS: dict[str, dict[str, Any]] = {
    "integers": {"a": NUMBER, "b": {"type": "integer", "minimum": 0, "maximum": 9}},
    "number": {"a": {"type": "number", "minimum": 0, "maximum": 1}},
    "string": {"text": WORD},
    "boolean": {"yes": {"type": "boolean"}, "no": {"type": "boolean"}},
    "enum": {"unit": {"enum": ["metre", "mile", "millimetre"]}},
    "array": {"numbers": {"type": "array", "items": NUMBER, "maxItems": 4}},
    "nested": {
        "place": {
            "type": "object",
            "properties": {"name": WORD, "at": {"type": "array", "items": NUMBER, "minItems": 2, "maxItems": 2}},
            "required": ["name", "at"],
            "additionalProperties": False,
        }
    },
    "optional": {"a": NUMBER, "digits": {**NUMBER, "optional": True}, "unit": {"enum": ["m", "km"], "optional": True}},
    "nullable": {"a": {"anyOf": [NUMBER, {"type": "null"}]}},
    "const": {"a": {"const": "only"}},
}


@pytest.mark.parametrize("architecture", ["llama", "gemma3", "gpt2"])
@pytest.mark.parametrize("name", SCHEMAS)
def test_a_random_lm_writes_arguments_that_are_valid(tiny_lm: Lm, name: str, architecture: str) -> None:
    engine = TransformersEngine(tiny_lm(architecture))
    tool = spec(**{key: dict(value) for key, value in SCHEMAS[name].items()})
    together = engine.complete(PROMPTS, [tool] * len(PROMPTS), max_tokens=100)
    alone = [engine.complete([prompt], [tool], max_tokens=100)[0] for prompt in PROMPTS]
    assert [replace(c, reused_tokens=0) for c in alone] == together
    ended = [c for c in together if c.finish_reason == "stop"]
    assert ended or name == "number", "nothing to judge"
    for completion in ended:
        assert completion.arguments == json.loads(completion.text)
        jsonschema.validate(completion.arguments, tool.json_schema)
        assert completion.text == json.dumps(completion.arguments, separators=(",", ":"), ensure_ascii=False) or (
            name in ("number", "string", "nested")  # 0.50 and \u escapes have more than one spelling
        )


def test_tools_of_one_batch_may_differ(tiny_llama: LanguageModel) -> None:
    engine = TransformersEngine(tiny_llama)
    tools = [
        spec("first", yes={"type": "boolean"}),
        spec("nothing"),
        spec("second", unit={"enum": ["metre", "mile"]}, at={"type": "array", "items": NUMBER, "maxItems": 3}),
    ]
    results = engine.complete(PROMPTS, tools)
    for tool, result in zip(tools, results, strict=True):
        jsonschema.validate(result.arguments, tool.json_schema)
    assert [replace(c, reused_tokens=0) for c in results] == [
        replace(engine.complete([prompt], [tool])[0], reused_tokens=0)
        for prompt, tool in zip(PROMPTS, tools, strict=True)
    ]


def test_a_tool_without_arguments_and_a_forced_one_need_no_lm_step(
    tiny_llama: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = TransformersEngine(tiny_llama)
    monkeypatch.setattr(TransformersModel, "hidden_states", None)
    completion = engine.complete([PROMPTS[0]], [spec()])[0]
    assert (completion.text, completion.arguments, completion.finish_reason) == ("{}", {}, "stop")
    assert completion.completion_tokens == 0
    assert engine.complete([PROMPTS[0]], [spec(a={"const": 1})])[0].arguments == {"a": 1}


def test_forced_tokens_cost_no_passes_of_their_own(tiny_llama: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = TransformersEngine(tiny_llama)
    passes: list[int] = []
    hidden_states = TransformersModel.hidden_states

    def counted(self: LanguageModel, input_ids: torch.Tensor, **others: Any) -> torch.Tensor:
        passes.append(input_ids.shape[1])
        return hidden_states(self, input_ids, **others)

    monkeypatch.setattr(TransformersModel, "hidden_states", counted)
    choice = {"enum": ["a rather long word", "zebra in the garden"]}
    completion = engine.complete([PROMPTS[0]], [spec(first=dict(choice), second=dict(choice))])[0]
    assert completion.finish_reason == "stop"
    assert len(passes) <= 4 < completion.completion_tokens


def test_arguments_cut_by_length_are_none(tiny_llama: LanguageModel) -> None:
    endless = spec(text={"type": "string", "minLength": 500})
    completion = TransformersEngine(tiny_llama).complete([PROMPTS[0]], [endless], max_tokens=20)[0]
    assert completion.finish_reason == "length"
    assert completion.arguments is None
    assert completion.completion_tokens == 20


def test_integers_stay_integers(tiny_llama: LanguageModel) -> None:
    completion = TransformersEngine(tiny_llama).complete([PROMPTS[0]], [spec(a=dict(NUMBER))])[0]
    assert completion.arguments is not None
    assert isinstance(completion.arguments["a"], int)


def test_prompts_and_tools_must_pair_up(tiny_llama: LanguageModel) -> None:
    with pytest.raises(ValueError, match="3 prompts, but 1 tools"):
        TransformersEngine(tiny_llama).complete(PROMPTS, [spec()])


# --- piece by piece ---------------------------------------------------------------------------------------------------


def watched(
    engine: TransformersEngine, tool: ToolSpec, max_tokens: int = 100
) -> tuple[list[ArgumentPiece], Completion]:
    *pieces, last = engine.stream_complete(PROMPTS[0], tool, max_tokens=max_tokens)
    assert isinstance(last, Completion)
    return [piece for piece in pieces if isinstance(piece, ArgumentPiece)], last


@pytest.mark.parametrize("name", SCHEMAS)
def test_pieces_join_to_what_comes_as_a_whole(tiny_llama: LanguageModel, name: str) -> None:
    engine = TransformersEngine(tiny_llama)
    tool = spec(**{key: dict(value) for key, value in SCHEMAS[name].items()})
    pieces, last = watched(engine, tool)
    assert "".join(piece.text for piece in pieces) == last.text
    assert replace(engine.complete([PROMPTS[0]], [tool], max_tokens=100)[0], reused_tokens=last.reused_tokens) == last
    assert engine.running == 0


def test_pieces_say_what_the_grammar_forced(tiny_llama: LanguageModel) -> None:
    pieces, last = watched(
        TransformersEngine(tiny_llama), spec(yes={"type": "boolean"}, unit={"enum": ["mile", "yard"]})
    )
    assert pieces[0] == ArgumentPiece(pieces[0].text, 1)
    assert pieces[0].text.startswith('{"yes":')
    chosen = [piece for piece in pieces if piece.allowed > 1]
    assert 2 <= len(chosen) <= 3, "one for each parameter, and perhaps one for the space between"
    assert not any(one.allowed == other.allowed == 1 for one, other in pairwise(pieces))
    assert last.arguments is not None


def test_a_tool_without_arguments_and_a_forced_one_have_pieces_too(tiny_llama: LanguageModel) -> None:
    engine = TransformersEngine(tiny_llama)
    assert watched(engine, spec())[0] == [ArgumentPiece("{}", 1)]
    assert watched(engine, spec(a={"const": 1}))[0] == [ArgumentPiece('{"a":1}', 1)]


def test_a_character_of_several_tokens_is_shown_once_it_is_whole(tiny_llama: LanguageModel) -> None:
    matcher = TransformersEngine(tiny_llama).grammars.matcher(spec(text={"type": "string"}))
    reader, texts = ArgumentReader(matcher), []
    matcher.force()
    tokens = tiny_llama.tokenizer.encode('"é')
    assert len(tokens) == 3
    for token in tokens:
        texts.append("".join(piece.text for piece in reader.new()))
        matcher.mask()
        matcher.consume(token)
    texts.append("".join(piece.text for piece in reader.new()))
    assert texts == ['{"text":', '"', "", "é"]


def test_a_watcher_who_leaves_frees_the_row(tiny_llama: LanguageModel, passes: Passes) -> None:
    engine = TransformersEngine(tiny_llama, max_batch_size=1)
    endless = spec(text={"type": "string", "minLength": 500})
    pieces = engine.stream_complete(PROMPTS[0], endless)
    next(pieces)
    permits = threading.Semaphore(2)
    passes.before = lambda _: permits.acquire() and None
    next(pieces)
    wait_until(lambda: len(passes) == 3)  # the third pass waits for its permit
    pieces.close()  # type: ignore[attr-defined]
    permits.release(1000)
    assert engine.complete([PROMPTS[1]], [spec(yes={"type": "boolean"})])[0].arguments is not None
    assert engine.running == 0
    assert len(passes) < 10
