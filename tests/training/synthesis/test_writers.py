"""The writers of drafts: what a generator is told, and how the local LM is asked."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from langchain_toolken.decoding.engine import Reasoning
from langchain_toolken.decoding.local.shared import shared_engine
from langchain_toolken.prompts.tool_cards import tool_card
from langchain_toolken.tools.spec import tool_specs
from langchain_toolken.training.synthesis.drafts import SynthesisError
from langchain_toolken.training.synthesis.file import NO_TOOL
from langchain_toolken.training.synthesis.local_writer import LocalWriter, with_result_marked
from langchain_toolken.training.synthesis.synthesize import synthesize
from langchain_toolken.training.synthesis.writers import ChatModelWriter, writer_for
from tests.support.scripted_engine import ScriptedEngine, completion
from tests.support.scripted_generator import TOOLS, ScriptedGenerator, ScriptedToolCaller, add, chosen, good, weather
from tests.support.tiny import make_tokenizer


def test_the_generator_is_told_what_there_is_already_and_which_tool() -> None:
    scripted = ScriptedGenerator(examples=good, choose=chosen)
    made = synthesize(TOOLS, 4, generator=ChatModelWriter(scripted, batch=2))
    asked = [prompt for prompt in scripted.prompts if "add(a: number, b: number)\nAdd two numbers." in prompt]
    assert made.rows[0]["messages"][0]["content"] not in asked[0]
    assert made.rows[0]["messages"][0]["content"] in asked[1]


def test_prompts_are_a_function_of_the_seed() -> None:
    def prompts(seed: int) -> list[str]:
        scripted = ScriptedGenerator(examples=good, choose=chosen)
        synthesize(TOOLS, 4, generator=ChatModelWriter(scripted, seed=seed, batch=4), seed=seed)
        return scripted.prompts

    assert prompts(0) == prompts(0)
    assert prompts(0) != prompts(1)


def test_a_model_with_structured_output_gets_the_tools_own_schema() -> None:
    scripted = ScriptedToolCaller(examples=good, choose=chosen)
    made = synthesize(TOOLS, 2, generator=ChatModelWriter(scripted, batch=2))
    assert dict(made.kept) == {"add": 2, "weather": 2, NO_TOOL: 2}
    item = scripted.schemas[0]["properties"]["examples"]["items"]["properties"]
    assert item["arguments"]["required"] == ["a", "b"]


def test_a_generator_by_name_needs_langchain_and_the_providers_package(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SynthesisError, match="'nobody:x' can't be made"):
        writer_for("nobody:x", None)
    monkeypatch.setitem(sys.modules, "langchain.chat_models", None)
    with pytest.raises(SynthesisError, match=r"pip install .langchain-toolken\[synthesis\]"):
        writer_for("openai:gpt", None)
    with pytest.raises(SynthesisError, match="give a generator"):
        writer_for(None, None)


def test_the_local_lm_writes_drafts_that_keep_to_the_schema_and_the_seed() -> None:
    engine = shared_engine("nano")  # a random LM's requests never end
    (spec,) = tool_specs([weather])

    def drafts(seed: int, number: int) -> Any:
        return LocalWriter(engine, "completion", seed=seed, batch=4).for_tool(spec, number, [])

    first = drafts(0, 0)
    assert first == drafts(0, 0)
    assert first != drafts(0, 1)
    assert first != drafts(1, 0)
    assert len(first) == 4
    whole = [draft for draft in first if not draft.fault]
    assert whole
    assert all(set(draft.arguments or {}) == {"city"} for draft in whole)
    picked = LocalWriter(engine, "completion").choose(["Is it sunny?", "Why?"], tool_specs(TOOLS))
    assert len(picked) == 2
    assert set(picked) <= {"add", "weather", None}


def reasoning(text: str, **changed: Any) -> Reasoning:
    facts = {"token_ids": (5, 6), "text": text, "trigger": None, "runners_up": (), "finish_reason": "stop"}
    return Reasoning(**{**facts, "prompt_tokens": 9, "reused_tokens": 0, **changed})


def test_the_local_lm_answers_as_it_will_be_asked() -> None:
    """The request is sampled; arguments and answer are decoded from the prompts that ToolkenChat makes of it."""
    engine = ScriptedEngine(tokenizer=make_tokenizer(chat=True))
    (spec,) = tool_specs([add])
    engine.reasonings = [
        *(reasoning(' "What is 12 plus 7?"\n'), reasoning("12!")),
        reasoning("Add 3 and 4. And the", finish_reason="length"),
        *(reasoning(" It is 12+7=20."), reasoning("Nothing.")),
    ]  # fmt: skip
    engine.completions = [completion('{"a":12,"b":7}', {"a": 12, "b": 7}), completion('{"a":3,"b', None)]
    drafts = LocalWriter(engine, batch=3).for_tool(spec, 0, [])
    assert [draft.request for draft in drafts] == ["What is 12 plus 7?", "12!", "Add 3 and 4."]
    assert [draft.fault for draft in drafts] == ["", "the request has no words", "the arguments were cut off"]
    assert (drafts[0].answer, drafts[0].arguments) == ("It is 12+7={result}.", {"a": 12, "b": 7})
    sampled, arguments, answered = engine.decoded()[:3], engine.decoded()[3:5], engine.decoded()[5:]
    assert all("add(a: number, b: number)\nAdd two numbers." in prompt for prompt in sampled)
    assert arguments[0] == answered[0] + tool_card(spec)
    assert answered[0].endswith("What is 12 plus 7?<|im_end|>\n<|im_start|>assistant\n")
    assert engine.requests[0].sampling.temperature > 0
    assert engine.requests[1].sampling.temperature == 0


def test_an_lm_that_writes_calls_chooses_by_calling() -> None:
    engine = ScriptedEngine(tokenizer=make_tokenizer(chat=True))
    marker = engine.tokenizer.convert_tokens_to_ids("<tool_call>")
    engine.reasonings = [reasoning("", marker=marker, finish_reason="tool_calls"), reasoning("Because.")]
    engine.completions = [completion('{"name":"weather"}', {"name": "weather"})]
    assert LocalWriter(engine).choose(["Is it sunny?", "Why?"], tool_specs(TOOLS)) == ["weather", None]
    assert engine.requests[0].markers == {marker}
    assert "Look up the weather in a city." in engine.decoded()[0]


def test_what_the_local_lm_reckoned_makes_room_for_the_result() -> None:
    numbers = {"a": 12, "b": 7}
    assert with_result_marked("There are 12*7=84 pens.", numbers) == "There are 12*7={result} pens."
    assert with_result_marked("With 3=3 first, 12 * 7 = 1,084.5.", numbers) == "With 3=3 first, 12 * 7 = {result}."
    assert with_result_marked("There are 12*8=96 pens.", numbers) == ""
    assert with_result_marked("There are 84 pens.", numbers) == ""
    assert with_result_marked("x=5", {"city": "Oslo"}) == ""
