"""chat.prompt_layout: a chat model lays out its prompts as its toolkens were fitted, and says so if told otherwise."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from langchain_toolken.chat.model import ToolkenChat
from langchain_toolken.prompts.format import PromptFormat
from langchain_toolken.toolkens.set import ToolkenSet
from tests.support.prompts import call
from tests.support.scripted_engine import ScriptedEngine, reasoning
from tests.support.tiny import make_tokenizer
from tests.support.toolken_sets import make


def fitted_for(reinjection: Any, style: str = "chat") -> ToolkenSet:
    return make(["multiply"], model_id="scripted", style=style, reinjection=reinjection)


def layout(toolkens: ToolkenSet | Path | None, **fields: Any) -> PromptFormat:
    engine = ScriptedEngine(tokenizer=make_tokenizer())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return ToolkenChat.from_engine(engine, toolkens, **fields).prompt_format


@pytest.mark.parametrize(
    ("reinjection", "style", "fields", "wanted"),
    [
        ("turn", "chat", {}, PromptFormat("chat", "turn")),
        ("turn", "chat", {"reinjection": "turn"}, PromptFormat("chat", "turn")),
        ("inline", "chat", {}, PromptFormat("chat", "inline")),
        ("inline", "completion", {}, PromptFormat("completion", "inline")),
        (None, "chat", {}, PromptFormat("chat", "inline")),
        (None, "chat", {"reinjection": "turn"}, PromptFormat("chat", "turn")),
        ("inline", "chat", {"tool_mode": "prompt"}, PromptFormat("chat", "turn")),
        ("turn", "chat", {"tool_mode": "hybrid"}, PromptFormat("chat", "turn")),
    ],
)
def test_results_are_put_back_as_the_toolkens_were_fitted(
    reinjection: Any, style: str, fields: dict[str, Any], wanted: PromptFormat
) -> None:
    assert layout(fitted_for(reinjection, style), **fields) == wanted


def test_without_toolkens_a_chat_lm_puts_results_back_inline() -> None:
    assert layout(None) == PromptFormat("chat", "inline")


@pytest.mark.parametrize(
    ("reinjection", "fields"),
    [("turn", {"reinjection": "inline"}), ("inline", {"reinjection": "turn"}), ("turn", {"style": "completion"})],
)
def test_a_caller_that_overrules_the_set_is_told(reinjection: Any, fields: dict[str, Any]) -> None:
    engine = ScriptedEngine(tokenizer=make_tokenizer())
    with pytest.warns(UserWarning, match=f"fitted for results put back as '{reinjection}'.*overrules") as told:
        chat = ToolkenChat.from_engine(engine, fitted_for(reinjection), **fields)
    assert len(told) == 1
    assert chat.prompt_format == PromptFormat(fields.get("style", "chat"), fields.get("reinjection", "inline"))


def test_a_saved_set_keeps_it_and_an_older_one_has_none(tmp_path: Path) -> None:
    fitted_for("turn").save(tmp_path / "set")
    assert layout(tmp_path / "set") == PromptFormat("chat", "turn")
    older = fitted_for("turn").provenance.model_dump(exclude={"reinjection"})
    assert type(fitted_for("turn").provenance)(**older).reinjection is None


def test_a_result_reaches_the_lm_as_a_tool_message_without_a_word_from_the_caller() -> None:
    engine = ScriptedEngine([reasoning("Five.")], tokenizer=make_tokenizer())
    history = [HumanMessage("?"), AIMessage("", tool_calls=[call()]), ToolMessage("5", tool_call_id="1")]
    ToolkenChat.from_engine(engine, fitted_for("turn")).invoke(history)
    assert engine.decoded()[0].endswith("<|im_start|>tool\n5<|im_end|>\n<|im_start|>assistant\n")


@pytest.mark.parametrize(
    ("one", "two", "both"), [("turn", "turn", "turn"), ("turn", None, "turn"), ("turn", "inline", None)]
)
def test_merged_sets_keep_it_if_they_agree(one: Any, two: Any, both: Any) -> None:
    merged = make(["a"], reinjection=one).merge(make(["b"], reinjection=two))
    assert merged.provenance.reinjection == both
