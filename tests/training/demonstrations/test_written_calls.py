"""Calls that training data writes as text are read as calls, or their row is named; never as "nothing is called"."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import ToolMessage

from langchain_toolken.tools.spec import ToolSpec
from langchain_toolken.training.demonstrations.load import check_demonstrations, load_demonstrations
from langchain_toolken.training.demonstrations.written_calls import WrittenCall, WrittenCalls, written_calls

NUMBERS = {"a": {"type": "number"}, "b": {"type": "number"}}
SPECS = [
    ToolSpec(
        name=name,
        description=f"{name} numbers.",
        json_schema={"type": "object", "properties": NUMBERS, "required": ["a", "b"]},
    )
    for name in ("add", "multiply")
]
TOOLS = {"add": ["a", "b"], "multiply": ["a", "b"]}
ARGS = '{"a": 4096, "b": 27}'
CALL = f'{{"name": "multiply", "arguments": {ARGS}}}'
OTHER = '{"name": "add", "arguments": {"a": 1, "b": 2}}'
ONE = [WrittenCall("multiply", {"a": 4096, "b": 27})]
TWO = [*ONE, WrittenCall("add", {"a": 1, "b": 2})]

WRITTEN: dict[str, tuple[str, list[WrittenCall]]] = {
    "hermes": (f"<tool_call>\n{CALL}\n</tool_call>", ONE),
    "hermes, cut off": (f"<tool_call>\n{CALL}", ONE),
    "hermes, end of turn": (f"<tool_call>\n{CALL}\n</tool_call><|im_end|>", ONE),
    "hermes, as Python prints it": (
        "<tool_call>\n{'arguments': {'a': 4096, 'b': 27}, 'name': 'multiply'}\n</tool_call>",
        ONE,
    ),
    "hermes, parallel": (f"<tool_call>\n{CALL}\n</tool_call>\n<tool_call>\n{OTHER}\n</tool_call>", TWO),
    "hermes, a list": (f"<tool_call>[{CALL}, {OTHER}]</tool_call>", TWO),
    "arguments as text": (f'<tool_call>{{"name": "multiply", "arguments": {json.dumps(ARGS)}}}</tool_call>', ONE),
    "openai inside": (f'<tool_call>{{"type": "function", "function": {CALL}}}</tool_call>', ONE),
    "glaive": (f"<functioncall> {CALL} <|endoftext|>", ONE),
    "phi": (f"<|tool_call|>[{CALL}]<|/tool_call|>", ONE),
    "mistral": (f"[TOOL_CALLS][{CALL}, {OTHER}]</s>", TWO),
    "mistral, spaced": (f"[TOOL_CALLS] [{CALL}]", ONE),
    "mistral, later": (f"[TOOL_CALLS]multiply[ARGS]{ARGS}", ONE),
    "mistral, with an id": (f"[TOOL_CALLS]multiply[CALL_ID]x1[ARGS]{ARGS}[TOOL_CALLS]add" + '{"a": 1, "b": 2}', TWO),
    "llama": (f'<|python_tag|>{{"name": "multiply", "parameters": {ARGS}}}<|eom_id|>', ONE),
    "llama, parallel": (f"<|python_tag|>{CALL}; {OTHER}", TWO),
    "llama, code": ("<|python_tag|>multiply.call(a=4096, b=27)", ONE),
    "llama, function": (f"<function=multiply>{ARGS}</function>", ONE),
    "qwen coder": (
        "<tool_call>\n<function=add>\n<parameter=a>\n[1, 2]\n</parameter>\n<parameter=b>\ntext\n</parameter>\n"
        "</function>\n</tool_call>",
        [WrittenCall("add", {"a": [1, 2], "b": "text"})],
    ),
    "bare JSON": (CALL, ONE),
    "bare JSON, parallel": (f"[{CALL},\n {OTHER}]", TWO),
    "bare JSON, parameters": (f'{{"type": "function", "name": "multiply", "parameters": {ARGS}}}', ONE),
    "bare JSON, fenced": (f"```json\n{CALL}\n```", ONE),
    "pythonic": ("[multiply(a=4096, b=27), add(a=1, b=2)]", TWO),
    "pythonic, by position": ("[multiply(4096, 27)]", ONE),
    "a call alone": ("multiply(4096, 27)", ONE),
    "no arguments": ('<tool_call>{"name": "now"}</tool_call>', [WrittenCall("now", {})]),
}


@pytest.mark.parametrize("written", WRITTEN)
def test_every_way_to_write_calls_is_read(written: str) -> None:
    text, calls = WRITTEN[written]
    assert written_calls(text, TOOLS) == WrittenCalls("", tuple(calls))


@pytest.mark.parametrize(
    "written", [name for name in WRITTEN if name not in ("a call alone",) and "pythonic" not in name]
)
def test_the_text_before_the_calls_stays(written: str) -> None:
    text, calls = WRITTEN[written]
    assert (written_calls(f"Let me see.\n\n{text}", {**TOOLS, "now": []})) == WrittenCalls("Let me see.", tuple(calls))


@pytest.mark.parametrize(
    "text",
    [
        "The boxes hold 110592 pens.",
        '{"name": "Anna", "age": 30}',
        '{"tool": "hammer", "price": 3}',
        '[{"name": "Anna"}, {"name": "Berta", "age": 3}]',
        'In JSON it is {"name": "Anna", "arguments": {}}: see?',
        "print(4096, 27)",
        "[1, 2, 3]",
        "multiply(4096, 27) is 110592",
        "A function(al) element <b>x</b> and an if (a < b) {c}",
    ],
)
def test_other_texts_are_no_calls(text: str) -> None:
    assert written_calls(text, TOOLS) is None


@pytest.mark.parametrize(
    "text",
    [
        "<tool_call>multiply 4096 by 27</tool_call>",
        f"<tool_call>{CALL[:-5]}</tool_call>",
        f"<tool_call>{CALL}</tool_call> That is all.",
        '<tool_call>{"name": "multiply", "arguments": "a"}</tool_call>',
        '<tool_call>{"tool_name": "multiply"}</tool_call>',
        "<function=multiply>a is 4096",
        "<｜tool▁calls▁begin｜>multiply",
        '<|channel|>commentary to=functions.multiply <|message|>{"a": 1}',
        'Action: multiply\nAction Input: {"a": 1, "b": 2}',
        f"{CALL} And then we shall see.",
        "Use </tool_call>",
    ],
)
def test_a_mark_that_cannot_be_read_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=r"can't be read|text follows"):
        written_calls(text, TOOLS)


def chat(content: str, *rest: dict[str, Any]) -> dict[str, Any]:
    return {
        "messages": [{"role": "user", "content": "How much?"}, {"role": "assistant", "content": content}, *rest],
    }


GOOD = {
    "messages": [
        {"role": "user", "content": "What is 1 and 2?"},
        {
            "role": "assistant",
            "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1, "b": 2}'}}
            ],
        },
    ]
}


@pytest.mark.parametrize("written", [name for name, (_, calls) in WRITTEN.items() if calls in (ONE, TWO)])
def test_written_calls_beside_good_rows_are_learnt_as_calls(written: str) -> None:
    text, calls = WRITTEN[written]
    results = [{"role": "tool", "content": "7"} for _ in calls[1:]]
    loaded = check_demonstrations([GOOD, chat(text, *results)], SPECS)
    assert loaded.dropped == ()
    learnt = [(call.tool, call.args) for d in loaded.demonstrations[1:] for call in d.calls]
    assert learnt == [(call.tool, call.args) for call in calls]
    assert all(d.calls for d in loaded.demonstrations)


def test_what_cannot_be_read_is_dropped_by_line_beside_good_rows(tmp_path: Path) -> None:
    bad = [
        chat("<tool_call>multiply 4096 by 27</tool_call>"),
        chat('<tool_call>{"name": "divide", "arguments": {}}</tool_call>'),
        chat('{"name": "divide", "arguments": {"a": 1}}'),
        chat(f"<tool_call>{CALL}</tool_call>\n<tool_call>{OTHER}</tool_call>", {"role": "user", "content": "Well?"}),
        {**GOOD, "messages": [*GOOD["messages"][:1], {**GOOD["messages"][1], "content": "<tool_call>"}]},
        {"text": f"Q: How much?\nA: <tool_call>{CALL}</tool_call>", "calls": []},
        {"text": f"[TOOL_CALLS][{CALL}]", "calls": []},
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in [GOOD, *bad]))
    loaded = load_demonstrations(file, SPECS)
    assert len(loaded.demonstrations) == 1
    assert [row.line for row in loaded.dropped] == [2, 3, 4, 5, 6, 7, 8]
    reasons = " ".join(map(str, loaded.dropped))
    for reason in ("message 2", "unknown tool 'divide'", "has no result", "keep one of the two", "'<tool_call'"):
        assert reason in reasons


@pytest.mark.parametrize(
    "results",
    [
        [{"role": "tool", "content": "110592"}, {"role": "tool", "content": "3"}],
        [{"role": "ipython", "content": "110592"}, {"role": "observation", "content": "3"}],
        [
            {
                "role": "user",
                "content": "<tool_response>\n110592\n</tool_response>\n"
                '<tool_response>\n{"name": "add", "content": 3}\n</tool_response>',
            }
        ],
        [
            {"role": "tool", "content": '<tool_response>\n{"name": "multiply", "content": "110592"}\n</tool_response>'},
            {"role": "tool", "content": "<tool_response>3</tool_response>"},
        ],
    ],
    ids=["tool", "other roles", "user", "wrapped"],
)
def test_results_of_written_calls_need_no_id(results: list[dict[str, Any]]) -> None:
    end = {"role": "assistant", "content": "They are 110592 and 3."}
    row = chat(f"<tool_call>{CALL}</tool_call>\n<tool_call>{OTHER}</tool_call>", *results, end)
    loaded = check_demonstrations([row], SPECS)
    assert [(d.text, [c.tool for c in d.calls]) for d in loaded.demonstrations] == [
        ("", ["multiply"]),
        ("", ["add"]),
        ("They are 110592 and 3.", []),
    ]
    said = [message.content for message in loaded.demonstrations[-1].before if isinstance(message, ToolMessage)]
    assert said == ["110592", "3"]


def test_a_result_too_many_is_named() -> None:
    row = chat(f"<tool_call>{CALL}</tool_call>", {"role": "tool", "content": "1"}, {"role": "tool", "content": "2"})
    (dropped,) = check_demonstrations([GOOD, row], SPECS).dropped
    assert "message 4" in dropped.reason
    assert "belongs to no call" in dropped.reason
