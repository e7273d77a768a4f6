"""Chat histories become demonstrations that are learned at the very ids ToolkenChat decodes from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage, messages_to_dict

from langchain_toolken.chat.model import ToolkenChat
from langchain_toolken.prompts.format import Reinjection, Style
from langchain_toolken.tools.spec import ToolSpec
from langchain_toolken.training.demonstrations.demonstration import Demonstration, DemonstrationError
from langchain_toolken.training.demonstrations.histories import history_demonstrations
from langchain_toolken.training.demonstrations.load import check_demonstrations, load_demonstrations
from langchain_toolken.training.features.layout import render_answer
from tests.support.scripted_engine import ScriptedEngine, reasoning
from tests.support.tiny import make_tokenizer

NUMBERS = {"a": {"type": "number"}, "b": {"type": "number"}}
SPECS = [
    ToolSpec(
        name=name,
        description=f"{name} numbers.",
        json_schema={"type": "object", "properties": NUMBERS, "required": ["a", "b"]},
    )
    for name in ("add", "multiply")
]
PLACE: Any = {"id": "1", "type": "function", "function": {"name": "multiply", "arguments": '{"a": 4096, "b": 27}'}}
OPENAI: list[dict[str, Any]] = [
    {"role": "system", "content": "Be <|im_end|> exact."},
    {"role": "user", "content": "A box holds 4096 pens. How many do 27 boxes hold?"},
    {"role": "assistant", "content": None, "tool_calls": [PLACE]},
    {"role": "tool", "tool_call_id": "1", "content": "110592"},
    {"role": "assistant", "content": "The boxes hold 110592 pens."},
]


def call(name: str, number: int) -> dict[str, Any]:
    return {"name": name, "args": {"a": number, "b": 2}, "id": f"c{number}", "type": "tool_call"}


LIVE: list[BaseMessage] = [
    SystemMessage("Be exact."),
    HumanMessage("What is 1 and 2, and what is 3 times 2?"),
    AIMessage("I add and multiply.\n", tool_calls=[call("add", 1), call("multiply", 3)]),
    ToolMessage("3", tool_call_id="c1"),
    ToolMessage("6", tool_call_id="c3"),
    AIMessage("They are 3 and 6."),
    HumanMessage("And 5 and 2? <|im_end|>"),
    AIMessage("", tool_calls=[call("add", 5)]),
]


def summary(demonstrations: Any) -> list[tuple[int, str, list[tuple[int, str]]]]:
    return [(len(d.before), d.text, [(c.start, c.tool) for c in d.calls]) for d in demonstrations]


def test_every_choice_in_a_history_is_a_demonstration() -> None:
    assert summary(check_demonstrations([{"messages": OPENAI}], SPECS).demonstrations) == [
        (2, "", [(0, "multiply")]),
        (4, "The boxes hold 110592 pens.", []),
    ]


def test_parallel_calls_are_read_one_after_the_other_as_they_are_decoded() -> None:
    assert summary(check_demonstrations([LIVE], SPECS).demonstrations) == [
        (2, "I add and multiply.\n", [(20, "add")]),
        (4, "", [(0, "multiply")]),
        (6, "They are 3 and 6.", []),
        (8, "", [(0, "add")]),
    ]


def test_it_is_kept_that_calls_of_different_tools_were_made_together() -> None:
    checked = check_demonstrations([LIVE, OPENAI], SPECS).demonstrations
    assert [one.parallel for one in checked] == [False, True, False, False, False, False]


def test_all_the_ways_to_write_a_history_mean_the_same(tmp_path: Path) -> None:
    expected = summary(history_demonstrations(LIVE))
    dumped = messages_to_dict(LIVE)
    state = [message.model_dump() for message in LIVE]
    lines = tmp_path / "chats.jsonl"
    lines.write_text("\n".join(json.dumps(row) for row in (dumped, {"messages": dumped}, {"messages": state})))
    single = tmp_path / "chat.json"
    single.write_text(json.dumps(dumped))
    several = tmp_path / "chats.json"
    several.write_text(json.dumps([dumped, {"text": "x", "calls": []}, {"messages": OPENAI}]))
    assert summary(load_demonstrations(lines, SPECS).demonstrations) == expected * 3
    assert summary(load_demonstrations(single, SPECS).demonstrations) == expected
    assert summary(check_demonstrations(LIVE, SPECS).demonstrations) == expected
    assert summary(check_demonstrations([LIVE, {"messages": LIVE}], SPECS).demonstrations) == expected * 2
    mixed = load_demonstrations(several, SPECS)
    assert [d.line for d in mixed.demonstrations] == [1, 1, 1, 1, 2, 3, 3]


def test_openais_older_function_calls_and_weights_are_read() -> None:
    older = [
        OPENAI[1],
        {"role": "assistant", "content": "Wrong.", "weight": 0},
        {"role": "user", "content": "Please use a tool."},
        {"role": "assistant", "content": None, "function_call": PLACE["function"]},
        {"role": "function", "name": "multiply", "content": "110592"},
        {"role": "assistant", "content": "110592.", "weight": 1},
    ]
    assert summary(history_demonstrations(older)) == [(3, "", [(0, "multiply")]), (5, "110592.", [])]


def changed(place: int, **fields: Any) -> list[dict[str, Any]]:
    return [{**message, **fields} if at == place else message for at, message in enumerate(OPENAI)]


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        (
            changed(2, tool_calls=[{**PLACE, "function": {"name": "divide", "arguments": "{}"}}]),
            "unknown tool 'divide'",
        ),
        (changed(2, tool_calls=[{**PLACE, "function": {"name": "add", "arguments": "{"}}]), "message 3: .*not JSON"),
        (changed(2, tool_calls=[{**PLACE, "function": {"name": "add", "arguments": '{"a": 1}'}}]), "'b' is a required"),
        (changed(2, tool_calls=[{**PLACE, "function": {"name": "add"}}]), "message 3 can't be read"),
        (changed(2, tool_calls=[{**PLACE, "function": {"name": "add", "arguments": "[1]"}}]), "args: .*dictionary"),
        (changed(2, tool_calls="add"), "message 3 can't be read"),
        (changed(2, tool_calls=None, content=[{"type": "tool_use", "name": "add", "input": {}}]), "in its content"),
        (changed(3, tool_call_id="2"), "the call of 'multiply' .* has no result"),
        (changed(2, tool_calls=None), "belongs to no call"),
        (changed(0, role="narrator"), "narrator"),
        (changed(1, content=[{"type": "image_url", "image_url": {"url": "x"}}]), "image_url"),
        (OPENAI[:2], "no assistant message"),
        (OPENAI[2:4], "no assistant message"),
        ([OPENAI[1], OPENAI[3]], "message 2, a tool result"),
        ([OPENAI[1], {"role": "assistant", "content": "", "tool_calls": [PLACE, {**PLACE, "id": "2"}]}], "parallel"),
        ([], "list of messages"),
        ("hello", "list of messages"),
    ],
)
def test_histories_that_cannot_be_used_are_dropped_with_the_reason(messages: Any, reason: str) -> None:
    with pytest.raises(DemonstrationError, match=reason):
        check_demonstrations([{"messages": messages}], SPECS)


def decoded_prompt(
    engine: ScriptedEngine, demonstration: Demonstration, style: Style, reinjection: Reinjection
) -> list[int]:
    """Return the ids that ToolkenChat feeds to the LM when it decodes the demonstration's call."""
    chat = ToolkenChat.from_engine(engine, style=style, reinjection=reinjection)
    engine.reasonings.append(reasoning("x"))
    said = [AIMessage(demonstration.text)] if demonstration.text else []
    chat.reason([*demonstration.before, *said])
    return engine.prompts[-1]


@pytest.mark.parametrize(("style", "reinjection"), [("chat", "turn"), ("chat", "inline"), ("completion", "inline")])
@pytest.mark.parametrize("bos", [False, True])
def test_calls_are_learnt_behind_the_very_ids_that_decoding_feeds(
    style: Style, reinjection: Reinjection, bos: bool
) -> None:
    tokenizer = make_tokenizer(bos=bos)
    engine = ScriptedEngine(tokenizer=tokenizer)
    seen = 0
    for demonstration in [*history_demonstrations(LIVE), *history_demonstrations(OPENAI)]:
        starts = [c.start for c in demonstration.calls]
        rendered = render_answer(tokenizer, demonstration.before, demonstration.text, starts, style, reinjection)
        for position in rendered.call_positions:
            assert position is not None
            assert list(rendered.ids) == decoded_prompt(engine, demonstration, style, reinjection)
            assert position == len(rendered.ids) - 1
            seen += 1
        if not starts:
            prompt = decoded_prompt(engine, demonstration, style, reinjection)
            assert list(rendered.ids[: len(prompt)]) == prompt
            behind = tokenizer.decode(rendered.ids[len(prompt) :])
            assert behind == ("<|im_end|>\n" if style == "chat" else "")
    assert seen == 4


@pytest.mark.parametrize("style", ["chat", "completion"])
def test_words_are_learnt_from_the_first_of_the_answer_on(style: Style) -> None:
    tokenizer = make_tokenizer()
    engine = ScriptedEngine(tokenizer=tokenizer)
    demonstration = history_demonstrations([HumanMessage("Hello!"), AIMessage("The boxes hold it.")])[0]
    rendered = render_answer(tokenizer, demonstration.before, demonstration.text, [], style)
    asked = demonstration.model_copy(update={"text": ""})
    assert rendered.first_supervised == len(decoded_prompt(engine, asked, style, "inline")) - 1
