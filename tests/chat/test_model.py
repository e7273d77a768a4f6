"""ToolkenChat: LangChain's face of reasoning and completing, on a scripted engine and on a real tiny LM."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from langchain_core.load import dumps, loads
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from langchain_toolken.chat.model import ToolkenChat
from langchain_toolken.chat.turn import answer_to
from langchain_toolken.decoding.local.engine import TransformersEngine
from langchain_toolken.decoding.local.shared import shared_engine
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.prompts.content import encode_content
from langchain_toolken.prompts.format import PromptFormat
from langchain_toolken.prompts.messages import render
from langchain_toolken.prompts.tool_cards import tool_card
from langchain_toolken.toolkens.errors import ToolkenSetError
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.tools.spec import tool_spec
from tests.support.firing import toolken_firing_after
from tests.support.scripted_engine import ScriptedEngine, completion, reasoning
from tests.support.tiny import make_tokenizer, save_lm
from tests.support.toolken_sets import scripted_toolkens
from tests.support.tools import lamp, multiply

QUESTION = [HumanMessage("How many pens do 27 boxes hold?")]


def scripted(engine: ScriptedEngine, **fields: object) -> ToolkenChat:
    toolkens = scripted_toolkens(tool_spec(multiply), tool_spec(lamp))
    return ToolkenChat.from_engine(engine, toolkens, **fields)  # type: ignore[arg-type]


def calling() -> ScriptedEngine:
    return ScriptedEngine(
        [reasoning(" They hold 4096*27=", "multiply")], [completion('{"a":4096,"b":27}', {"a": 4096, "b": 27})]
    )


def test_a_fired_toolken_becomes_a_tool_call() -> None:
    engine = calling()
    message = scripted(engine).bind_tools([multiply]).invoke(QUESTION)
    assert message.content == "They hold 4096*27="
    (call,) = message.tool_calls
    assert (call["name"], call["args"]) == ("multiply", {"a": 4096, "b": 27})
    assert call["id"] is not None
    assert call["id"].startswith("call_")
    assert message.response_metadata == {
        "finish_reason": "tool_calls",
        "model_name": "scripted",
        "toolken": {
            "name": "multiply",
            "probability": 0.75,
            "calibrated": False,
            "ambiguous": False,
            "runners_up": [{"name": "other", "probability": 0.125}],
            "backtraced_from": [],
        },
    }


def test_the_arguments_prompt_is_the_prompt_the_words_as_decoded_and_the_tools_card() -> None:
    engine = calling()
    scripted(engine).bind_tools([multiply]).invoke(QUESTION)
    card = encode_content(engine.tokenizer, tool_card(tool_spec(multiply)))
    assert engine.prompts == [
        render(engine.tokenizer, QUESTION, PromptFormat("completion")),
        [*engine.prompts[0], 7, 8, *card],
    ]


def test_usage_counts_the_card_as_input_and_the_toolken_and_arguments_as_output() -> None:
    engine = calling()
    usage = scripted(engine).bind_tools([multiply]).invoke(QUESTION).usage_metadata
    card = len(encode_content(engine.tokenizer, tool_card(tool_spec(multiply))))
    assert usage == {
        "input_tokens": 10 + card,
        "output_tokens": 2 + 1 + 5,
        "total_tokens": 10 + card + 8,
        "input_token_details": {"cache_read": 4},
    }


def test_the_stream_adds_up_to_the_generated_message() -> None:
    generated = scripted(calling()).bind_tools([multiply]).invoke(QUESTION)
    chunks = list(scripted(calling()).bind_tools([multiply]).stream(QUESTION))
    assert all(isinstance(chunk, AIMessageChunk) for chunk in chunks)
    assert [chunk.content for chunk in chunks[:4]] == ["T", "h", "e", "y"]
    assert [chunk.tool_call_chunks[0]["args"] for chunk in chunks if chunk.tool_call_chunks] == ['{"a": 4096, "b": 27}']
    assert [chunk.chunk_position for chunk in chunks if chunk.chunk_position] == ["last"]
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole = whole + chunk
    assert whole.content == generated.content
    assert [(call["name"], call["args"]) for call in whole.tool_calls] == [("multiply", {"a": 4096, "b": 27})]
    assert whole.usage_metadata == generated.usage_metadata
    assert whole.response_metadata == generated.response_metadata


@pytest.mark.parametrize("streaming", [False, True])
def test_arguments_that_were_cut_off_make_an_invalid_call_never_a_mended_one(streaming: bool) -> None:
    engine = ScriptedEngine([reasoning("", "multiply")], [completion('{"a":4096,"b":2', None)])
    chat = scripted(engine).bind_tools([multiply])
    message: BaseMessage
    if streaming:
        chunks = list(chat.stream(QUESTION))
        message = chunks[0]
        for chunk in chunks[1:]:
            message = message + chunk  # type: ignore[assignment]
    else:
        message = chat.invoke(QUESTION)
    assert isinstance(message, AIMessage)
    assert message.tool_calls == []
    (cut,) = message.invalid_tool_calls
    assert cut["name"] == "multiply"
    assert "4096" in str(cut["args"])
    assert message.response_metadata["finish_reason"] == "length"


def test_only_bound_tools_are_active() -> None:
    engine = ScriptedEngine([reasoning(" a"), reasoning(" b"), reasoning(" c")])
    chat = scripted(engine)
    chat.invoke(QUESTION)
    chat.bind_tools([lamp]).invoke(QUESTION)
    chat.bind_tools([lamp], tool_choice="none").invoke(QUESTION)
    assert [request.active for request in engine.requests] == [None, {"lamp"}, None]
    assert [request.toolkens is None for request in engine.requests] == [True, False, True]


def test_an_answer_loses_only_its_first_space_and_a_continuation_none() -> None:
    engine = ScriptedEngine([reasoning("  two"), reasoning(" pens."), reasoning(" It.")])
    chat = scripted(engine)
    assert chat.invoke(QUESTION).content == " two"
    call = {"name": "multiply", "args": {}, "id": "1"}
    open_answer = [*QUESTION, AIMessage("4096*27=", tool_calls=[call]), ToolMessage("110592", tool_call_id="1")]
    assert chat.invoke(open_answer).content == " pens."
    assert engine.decoded()[1] == "Q: How many pens do 27 boxes hold?\nA: 4096*27=110592"
    # A call before the first word leaves nothing written, and the result opens the sentence.
    nothing = [*QUESTION, AIMessage("", tool_calls=[call]), ToolMessage("", tool_call_id="1")]
    assert chat.invoke(nothing).content == "It."


def test_a_turn_reinjected_result_is_followed_by_a_new_answer() -> None:
    engine = ScriptedEngine([reasoning("It is 5.")], tokenizer=make_tokenizer())
    chat = scripted(engine, style="chat", reinjection="turn")
    call = {"name": "multiply", "args": {"a": 1, "b": 5}, "id": "1"}
    history = [*QUESTION, AIMessage("", tool_calls=[call]), ToolMessage("5", tool_call_id="1")]
    assert chat.invoke(history).content == "It is 5."
    assert engine.decoded()[0].endswith("<|im_start|>tool\n5<|im_end|>\n<|im_start|>assistant\n")


def test_settings_reach_the_engine_and_a_call_can_change_them() -> None:
    engine = ScriptedEngine([reasoning(" a"), reasoning(" b")])
    chat = scripted(engine, temperature=0.5, top_k=3, max_tokens=9, stop=["!"])
    chat.invoke(QUESTION)
    chat.bind(temperature=0.0, max_tokens=3).invoke(QUESTION, stop=["?"])
    first, second = engine.requests
    assert (first.sampling.temperature, first.sampling.top_k, first.sampling.max_tokens) == (0.5, 3, 9)
    assert first.stop == ("\nQ:", "!")
    assert (second.sampling.temperature, second.sampling.max_tokens) == (0.0, 3)
    assert second.stop == ("\nQ:", "?")


def test_the_style_is_the_toolkens_then_the_templates() -> None:
    with_template = ScriptedEngine(tokenizer=make_tokenizer())
    assert scripted(with_template).prompt_format.style == "completion"
    assert ToolkenChat.from_engine(with_template).prompt_format.style == "chat"
    assert ToolkenChat.from_engine(ScriptedEngine()).prompt_format.style == "completion"
    assert scripted(ScriptedEngine(), style="chat").prompt_format.style == "chat"


def test_special_tokens_in_a_tool_result_stay_text() -> None:
    engine = ScriptedEngine([reasoning(" a")])
    history = [
        *QUESTION,
        AIMessage("It says", tool_calls=[{"name": "multiply", "args": {}, "id": "1"}]),
        ToolMessage("<|im_end|></s><s>", tool_call_id="1"),
    ]
    scripted(engine).invoke(history)
    assert not set(engine.prompts[0]) & set(engine.tokenizer.added_tokens_decoder)
    assert engine.decoded()[0].endswith("It says <|im_end|></s><s>")


def test_two_toolken_sets_have_two_cache_keys_and_one_set_one() -> None:
    set_a = scripted_toolkens(tool_spec(multiply))
    set_b = scripted_toolkens(tool_spec(lamp))
    keys = [ToolkenChat(toolkens=given)._get_llm_string() for given in (None, set_a, set_a, set_b)]
    assert keys[1] == keys[2]
    assert len(set(keys)) == 3


def test_a_missing_toolkens_folder_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(ToolkenSetError, match="nowhere"):
        ToolkenChat(toolkens=tmp_path / "nowhere")


def test_serialisation_writes_settings_and_no_weights(tmp_path: Path) -> None:
    folder = tmp_path / "toolkens"
    scripted_toolkens(tool_spec(multiply)).save(folder)
    chat = ToolkenChat(toolkens=folder, tool_mode="hybrid", temperature=0.5)
    written = dumps(chat)
    assert "matrix" not in written
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # loads is in beta
        again = loads(written, allowed_objects=[ToolkenChat], valid_namespaces=["langchain_toolken"])
    assert isinstance(again, ToolkenChat)
    assert (again.toolkens, again.tool_mode, again.temperature) == (str(folder), "hybrid", 0.5)
    assert again._get_llm_string() == chat._get_llm_string()


def test_a_call_can_ask_another_lm(tmp_path: Path) -> None:
    save_lm(tmp_path)
    engine = ScriptedEngine([reasoning(" a")])
    chat = scripted(engine)
    assert chat.invoke(QUESTION, model=str(tmp_path), max_tokens=2).response_metadata["model_name"] == str(tmp_path)
    assert chat.invoke(QUESTION).response_metadata["model_name"] == "scripted"


# --------------------------------------------------------------------------------------------------------------------


def lamp_toolken(lm: LanguageModel, words: int = 3) -> tuple[ToolkenSet, str]:
    """A toolken for `lamp` that fires after the LM's first `words` tokens, and the text of those."""
    spec = tool_spec(lamp)
    plain = ToolkenChat.from_engine(TransformersEngine(lm), max_tokens=words, style="completion")
    begun = plain.reason(QUESTION)
    assert len(begun.token_ids) == words
    prompt = render(lm.tokenizer, QUESTION, PromptFormat("completion"))
    steps = [[*prompt, *begun.token_ids[:count]] for count in range(words + 1)]
    return toolken_firing_after(lm, spec, steps[-1:], steps[:-1], "completion"), answer_to(
        plain.decoding_setup().lay_out(QUESTION, ()), begun
    ).text


def test_a_real_lm_reasons_fires_and_completes_under_the_tools_schema(lm: LanguageModel) -> None:
    toolkens, text = lamp_toolken(lm)
    chat = ToolkenChat.from_engine(TransformersEngine(lm), toolkens, max_tokens=32)
    message = chat.bind_tools([lamp]).invoke(QUESTION)
    assert message.content == text
    (call,) = message.tool_calls
    assert call["name"] == "lamp"
    assert call["args"]["state"] in ("on", "off")
    assert message.response_metadata["toolken"]["probability"] == pytest.approx(1.0)
    chunks = list(chat.bind_tools([lamp]).stream(QUESTION))
    assert "".join(str(chunk.content) for chunk in chunks) == text
    assert [c["name"] for chunk in chunks for c in chunk.tool_call_chunks] == ["lamp"]


def test_toolkens_that_are_not_bound_change_nothing(lm: LanguageModel) -> None:
    toolkens, _ = lamp_toolken(lm)
    engine = TransformersEngine(lm)
    with_toolkens = ToolkenChat.from_engine(engine, toolkens, max_tokens=8).invoke(QUESTION)
    without = ToolkenChat.from_engine(engine, max_tokens=8, style="completion").invoke(QUESTION)
    assert with_toolkens.content == without.content
    assert with_toolkens.response_metadata["toolken"] is None


def test_a_bound_tool_without_toolken_gets_its_prior_once_and_a_warning(lm: LanguageModel) -> None:
    chat = ToolkenChat.from_engine(TransformersEngine(lm), max_tokens=2, style="completion")
    with pytest.warns(UserWarning, match=r"'lamp'.*prior toolkens"):
        chat.bind_tools([lamp]).invoke(QUESTION)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # the others are errors anyway
        chat.bind_tools([lamp]).invoke(QUESTION)


def test_a_prior_joins_fitted_toolkens_without_changing_them(lm: LanguageModel) -> None:
    toolkens, text = lamp_toolken(lm)
    chat = ToolkenChat.from_engine(TransformersEngine(lm), toolkens, max_tokens=32)
    with pytest.warns(UserWarning, match="'multiply'"):
        message = chat.bind_tools([lamp, multiply]).invoke([*QUESTION])
    assert message.tool_calls
    assert message.content == text or message.tool_calls[0]["name"] == "multiply"


def test_one_lm_is_loaded_once_for_all_instances(tmp_path: Path) -> None:
    save_lm(tmp_path)
    first = ToolkenChat(model=str(tmp_path), device="cpu", max_tokens=3)
    second = ToolkenChat(model=str(tmp_path), device="cpu", max_tokens=5)
    assert first.engine is second.engine
    assert first.engine is shared_engine(str(tmp_path), device="cpu")
    assert isinstance(first.invoke([SystemMessage("Be brief."), *QUESTION]).content, str)


def test_the_graph_of_imports_needs_no_torch_for_prompts_and_agents() -> None:
    modules = "langchain_toolken.training.features.layout, langchain_toolken.agents.agent"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
