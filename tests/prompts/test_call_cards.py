"""prompts.call_cards: the card after a trigger shows examples and the request, and no text breaks out of its place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool

from langchain_toolken.prompts.call_cards import PLAIN, Asked, CallExample, CardForm, asked_in, call_card, only_numbers
from langchain_toolken.prompts.content import encode_content
from langchain_toolken.prompts.tool_cards import tool_card
from langchain_toolken.tools.spec import ToolSpec, tool_spec
from tests.support.prompts import SPECIAL_IDS, hostile
from tests.support.tiny import make_tokenizer

TOKENIZER = make_tokenizer()
FULL = CardForm(descriptions=True, examples=2, request=True)


@tool
def divide(a: float, b: float, digits: int = 2) -> str:
    """Divide a by b.

    Args:
        a: What is divided,
            in whole or in part.
        b (float): What it is divided by.

    Returns:
        The quotient.
    """
    return str(round(a / b, digits))


@tool(parse_docstring=True)
def remind(text: str, day: Literal["today", "tomorrow"] = "today") -> str:
    """Remind me of something.

    Args:
        text: What to say.
        day: The day.
    """
    return f"{text} {day}"


DIVIDE, REMIND = tool_spec(divide), tool_spec(remind)
EXAMPLES = [
    CallExample(tool="divide", request="Split 1,200 by 3.", arguments={"a": 1200, "b": 3}),
    CallExample(tool="divide", request="Half of 9?", so_far="Half is 9/2=", arguments={"a": 9, "b": 2}),
    CallExample(tool="divide", request="Never shown.", arguments={"a": 1, "b": 1}),
]


def card(spec: ToolSpec, form: CardForm, examples: Sequence[CallExample], asked: Asked, room: int = 10_000) -> str:
    return str(TOKENIZER.decode(call_card(TOKENIZER, spec, form, examples, asked, room)))


def test_a_card_shows_parameters_the_nearest_example_last_and_the_request_without_separators() -> None:
    assert card(DIVIDE, FULL, EXAMPLES, Asked("How much is 13,289 by 7?")) == (
        "\nTool: divide(a: number, b: number, digits?: integer)\nDivide a by b.\n"
        "- a: What is divided, in whole or in part.\n- b: What it is divided by.\n- digits: Default: 2\n"
        '\nRequest: Half of 9?\nArguments: {"a":9,"b":2}\n'
        '\nRequest: Split 1200 by 3.\nArguments: {"a":1200,"b":3}\n'
        "\nRequest: How much is 13289 by 7?\nArguments: "
    )


def test_the_sentence_so_far_is_shown_where_the_call_is_inside_an_answer() -> None:
    shown = card(DIVIDE, CardForm(examples=2, request=True), EXAMPLES, Asked("13,289 by 7?", "It is 13,289/7="))
    assert 'Request: Half of 9?\nAnswer: Half is 9/2=\nArguments: {"a":9,"b":2}' in shown
    assert shown.endswith("\nRequest: 13289 by 7?\nAnswer: It is 13289/7=\nArguments: ")


def test_the_plain_card_is_the_one_without_examples() -> None:
    assert card(DIVIDE, PLAIN, EXAMPLES, Asked("13,289 by 7?")) == tool_card(DIVIDE)


def test_text_keeps_its_separators_where_a_parameter_takes_text() -> None:
    example = CallExample(tool="remind", request="Say 1,200.", arguments={"text": "1,200"})
    shown = card(REMIND, FULL, [example], Asked("Remind me of 13,289 things"))
    assert "13,289 things" in shown
    assert '{"text":"1,200"}' in shown
    assert '- day: The day. Default: "today"' in shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("1,234,567.5%", "1234567.5%"),
        ("12,34", "12,34"),
        ("1,2345", "1,2345"),
        ("1, 234", "1, 234"),
        ("0.5,100", "0.5,100"),
        ("-1,000 km", "-1000 km"),
    ],
)
def test_only_commas_between_thousands_are_taken_out(text: str, shown: str) -> None:
    assert card(DIVIDE, CardForm(request=True), [], Asked(text)).endswith(f"\nRequest: {shown}\nArguments: ")


def test_tools_that_take_text_lists_of_text_or_anything_do_not_take_only_numbers() -> None:
    def spec(**properties: Any) -> ToolSpec:
        return ToolSpec(name="t", description="d", json_schema={"type": "object", "properties": properties})

    number = {"type": "number"}
    assert only_numbers(spec(a=number, b={"type": "array", "items": number}, c={"enum": ["x"]}, d={"type": "boolean"}))
    assert only_numbers(spec(a={"anyOf": [number, {"type": "null"}]}))
    assert not only_numbers(spec(a=number, b={"type": "string"}))
    assert not only_numbers(spec(a=number, b={"type": "array"}))
    assert not only_numbers(spec(a=number, b={}))
    assert not only_numbers(spec(a={"type": "boolean"}))


def test_a_card_without_room_loses_the_farthest_examples_then_the_request_then_all() -> None:
    asked = Asked("How much is it? " * 30)
    plain = len(encode_content(TOKENIZER, tool_card(DIVIDE), continued=True))
    whole = len(call_card(TOKENIZER, DIVIDE, FULL, EXAMPLES, asked, 10_000))
    shown = [card(DIVIDE, FULL, EXAMPLES, asked, room) for room in range(plain, whole + 1, 8)]
    lengths = [len(encode_content(TOKENIZER, one, continued=True)) for one in shown]
    assert all(length <= room for length, room in zip(lengths, range(plain, whole + 1, 8), strict=True))
    assert lengths == sorted(lengths)
    assert shown[0] == tool_card(DIVIDE)
    kinds = [(one.count("{"), asked.request.strip() in one) for one in shown]
    assert {(0, False), (0, True), (1, True)} <= set(kinds)
    assert all("Split 1200" in one for one in shown if one.count("{"))


@given(request=hostile, so_far=hostile, other=hostile, value=hostile)
@settings(max_examples=150, deadline=None)
def test_no_request_example_or_argument_opens_a_turn_a_line_or_a_special_token(
    request: str, so_far: str, other: str, value: str
) -> None:
    example = CallExample(tool="remind", request=other, so_far=so_far, arguments={"text": value})
    ids = call_card(TOKENIZER, REMIND, FULL, [example], Asked(request, so_far), 10_000)
    assert not [index for index in ids if index in SPECIAL_IDS]
    lines = str(TOKENIZER.decode(ids)).splitlines()
    begins = ("", "  ", "Tool:", "Remind me", "- text:", "- day:", "Request:", "Answer:", "Arguments:")
    assert all(line == "" or line.startswith(begins[1:]) for line in lines)
    assert sum(line.startswith("Arguments:") for line in lines) == 2
    assert sum(line.startswith("Request:") for line in lines) == bool(request.strip()) + bool(other.strip())


def test_the_arguments_of_examples_have_the_tokens_that_the_lm_writes() -> None:
    ids = call_card(TOKENIZER, DIVIDE, CardForm(examples=1, request=True), EXAMPLES, Asked("2 by 1?"), 10_000)
    written = encode_content(TOKENIZER, '{"a":1200,"b":3}', continued=True)
    asked = encode_content(TOKENIZER, "\n\nRequest: 2 by 1?\nArguments: ", continued=True)
    assert ids[-len(asked) :] == asked
    assert ids[: -len(asked)][-len(written) :] == written


@given(st.text(st.characters(codec="utf-8")))
def test_a_lone_line_of_any_kind_is_not_lost_between_request_and_arguments(text: str) -> None:
    shown = card(REMIND, CardForm(request=True), [], Asked(f"a{text}b"))
    assert shown.startswith("\nTool: remind(")
    assert shown.endswith("b\nArguments: ")


def test_what_is_asked_is_the_last_request_and_the_sentence_with_its_results() -> None:
    call = {"name": "divide", "args": {}, "id": "1", "type": "tool_call"}
    messages = [
        HumanMessage("Old."),
        AIMessage("Done."),
        HumanMessage("New?"),
        AIMessage("It is 8/2=", tool_calls=[call]),
        ToolMessage("4", tool_call_id="1"),
    ]
    assert asked_in(messages, "inline", ", so") == Asked("New?", "It is 8/2=4, so")
    assert asked_in(messages[:3], "inline") == Asked("New?", "")
    assert asked_in(messages, "turn", "So") == Asked("New?", "So")
