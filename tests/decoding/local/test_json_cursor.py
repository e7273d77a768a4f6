"""The cursor knows which value is being written after every character of a JSON object."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from langchain_toolken.decoding.local.json_cursor import JsonCursor, Value

SCALARS = st.text(max_size=8) | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.booleans()
OBJECTS = st.dictionaries(
    st.text(max_size=5),
    st.recursive(
        SCALARS | st.none(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=8,
    ),
    max_size=4,
)


def written(value: Any, parameter: str, in_list: bool = False) -> list[Value]:
    """The strings and numbers of a value, in order, as the cursor names them."""
    if isinstance(value, dict):
        return [found for item in value.values() for found in written(item, parameter)]
    if isinstance(value, list):
        return [found for item in value for found in written(item, parameter, in_list=True)]
    if isinstance(value, str):
        return [Value(parameter, "string", json.dumps(value, ensure_ascii=False)[1:-1], in_list)]
    if value is None or isinstance(value, bool):
        return []
    return [Value(parameter, "number", json.dumps(value), in_list)]


@given(OBJECTS)
def test_the_strings_and_numbers_of_an_object_are_found_with_their_parameters(value: dict[str, Any]) -> None:
    cursor = JsonCursor()
    cursor.feed(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
    expected = [
        found for key, item in value.items() for found in written(item, json.dumps(key, ensure_ascii=False)[1:-1])
    ]
    assert cursor.finished == expected
    assert cursor.value is None


def test_between_the_values_of_a_list_a_comma_or_a_bracket_is_next() -> None:
    cursor = JsonCursor()
    seen = []
    for piece in ('{"items":["milk"', ',"tea', '"', "]"):
        cursor.feed(piece)
        seen.append(cursor.value)
    listed = Value("items", "listed", in_list=True)
    assert seen == [listed, Value("items", "string", "tea", in_list=True), listed, None]


@given(OBJECTS)
def test_it_does_not_matter_in_which_pieces_the_text_comes(value: dict[str, Any]) -> None:
    text = json.dumps(value, ensure_ascii=False)
    at_once, by_character = JsonCursor(), JsonCursor()
    at_once.feed(text)
    for character in text:
        by_character.feed(character)
    assert at_once.finished == by_character.finished


def test_a_value_is_named_while_it_is_written_and_a_key_is_not() -> None:
    cursor = JsonCursor()
    seen = []
    for piece in ("{", '"ci', 'ty":', '"Par', 'is"', ',"days":', "[", "1", "2", ',"x"', "]", ',"on":', "true", "}"):
        cursor.feed(piece)
        seen.append(cursor.value)
    assert seen == [
        None,
        None,
        Value("city", "start"),
        Value("city", "string", "Par"),
        None,
        Value("days", "start"),
        Value("days", "start", in_list=True),
        Value("days", "number", "1", in_list=True),
        Value("days", "number", "12", in_list=True),
        Value("days", "listed", in_list=True),
        None,
        Value("on", "start"),
        None,
        None,
    ]
