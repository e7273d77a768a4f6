"""Inline markup becomes a text with spans, and calls are read as people write them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_toolken.training.demonstrations.call_syntax import read_arguments
from langchain_toolken.training.demonstrations.markup import has_markup, parse_markup

TOOLS: dict[str, list[str] | None] = {"multiply": ["a", "b"], "owner": ["who", "year"], "people/person/born": None}

WRITABLE = st.characters(blacklist_categories=["Cs"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(WRITABLE),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(WRITABLE, max_size=4), inner, max_size=3),
    max_leaves=6,
)
ARGUMENTS = (
    st.none()
    | st.lists(VALUES, max_size=3)
    | st.dictionaries(st.from_regex(r"[a-z_]\w{0,5}", fullmatch=True), VALUES, min_size=1)
)
RESULTS = st.none() | st.text(WRITABLE, min_size=1).filter(lambda text: bool(text.strip()))
CALLS = st.tuples(st.sampled_from(sorted(TOOLS)), ARGUMENTS, RESULTS)
PARTS = st.lists(st.tuples(st.text(WRITABLE), CALLS), max_size=4)


def escaped(text: str, *, before_call: bool) -> str:
    """Escape `text` for markup: a backslash before each "<", and backslashes before a "<" doubled."""
    pieces = text.split("<")
    doubled = [piece + "\\" * (len(piece) - len(piece.rstrip("\\"))) for piece in pieces]
    doubled[-1] = doubled[-1] if before_call else pieces[-1]
    return "\\<".join(doubled)


def written(args: list[Any] | dict[str, Any] | None) -> str:
    if args is None:
        return ""
    if isinstance(args, list):
        return "(" + ", ".join(map(json.dumps, args)) + ")"
    return "(" + ", ".join(f"{name}={json.dumps(value)}" for name, value in args.items()) + ")"


@given(parts=PARTS, tail=st.text(WRITABLE))
def test_spans_written_as_markup_and_read_back_are_the_same(
    parts: list[tuple[str, tuple[str, Any, str | None]]], tail: str
) -> None:
    markup, text, calls = "", "", []
    for before, (tool, args, result) in parts:
        call: dict[str, Any] = {"start": len(text) + len(before), "tool": tool}
        if args is not None:
            call["args"] = args
        if result is not None:
            call["result"] = result
        shown = "" if result is None else "=" + json.dumps(result)
        if before.startswith(("(", "=")):  # would be read as part of the call before it
            before = " " + before
            call["start"] += 1
        markup += escaped(before, before_call=True) + f"<{tool}>" + written(args) + shown
        text += before + (result or "")
        calls.append(call)
    if tail.startswith(("(", "=")):
        tail = " " + tail
    assert parse_markup(markup + escaped(tail, before_call=False), TOOLS) == {"text": text + tail, "calls": calls}


@pytest.mark.parametrize(
    ("markup", "text", "start", "args", "result"),
    [
        ("4096 * 27 = <multiply>(4096, 27)=110592.", "4096 * 27 = 110592.", 12, [4096, 27], "110592"),
        ("It is $<multiply>(3, 1000)=3,000, or so", "It is $3,000, or so", 7, [3, 1000], "3,000"),
        ("= <multiply>(0.5, 3)=1.5", "= 1.5", 2, [0.5, 3], "1.5"),
        ("<owner>(Mark G. Parker (CEO), '2019')=Nike, Inc.", "Nike, Inc.", 0, ["Mark G. Parker (CEO)", "2019"], "Nike"),
        (
            'by <owner>("a, b", year=None)="Nike, Inc."!',
            "by Nike, Inc.!",
            3,
            {"who": "a, b", "year": None},
            "Nike, Inc.",
        ),
        ("<people/person/born>(St. John's)=Gdańsk\n", "Gdańsk\n", 0, ["St. John's"], "Gdańsk"),
        ("in <multiply>([1, 2], {'k': True})", "in ", 3, [[1, 2], {"k": True}], None),
        ("in <multiply>", "in ", 3, None, None),
        (r"<multiply>(1e999)=Paris\<b>", "Paris<b>", 0, ["1e999"], "Paris"),
        ("<multiply>()=2024-05-01.", "2024-05-01.", 0, [], "2024-05-01"),
        ("<multiply>(NaN, 007)=2/3", "2/3", 0, ["NaN", "007"], "2/3"),
    ],
)
def test_what_people_write(markup: str, text: str, start: int, args: object, result: str | None) -> None:
    row = parse_markup(markup, TOOLS)
    (call,) = row["calls"]
    assert (row["text"], call["start"], call.get("args"), call.get("result")) == (text, start, args, result)


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        (r"\<multiply>(1, 2)", "<multiply>(1, 2)"),
        (r"a \\ b \< c", r"a \ b < c".replace(" \\ ", " \\\\ ")),
        ("a < b and c > d, <b>bold</b>, x<y>", "a < b and c > d, <b>bold</b>, x<y>"),
        ("f(x) < (y > z)", "f(x) < (y > z)"),
    ],
)
def test_what_is_no_call_stays_text(markup: str, text: str) -> None:
    assert not has_markup(markup, TOOLS)
    assert parse_markup(markup, TOOLS) == {"text": text, "calls": []}


@pytest.mark.parametrize(
    ("markup", "reason"),
    [
        ("x <multiply>(1, 2", r"<multiply> at character 2: '\)' is missing"),
        ("<multiply>((1, 2)", r"'\)' is missing"),
        ("<multiply>('1, 2)", "doesn't close"),
        ("<multiply>('1' 2)", "',' or '\\)' is missing before '2'"),
        ("<multiply>(1,, 2)", "an argument is missing"),
        ("<multiply>(1, 2)= and", "no result"),
        ("<multiply>(a=1, a=2)", "'a' is given twice"),
        ("<multiply>(a=1, 2)", "name them all"),
        ("<people/person/born>(1, b=2)", "name them all"),
        ("<multiply>([1)", "not opened"),
        ("<multiply>({1: 2})", "quotes"),
        ("<multiply>(" + "[" * 100_000, "nested"),
    ],
)
def test_broken_calls_are_named_with_their_place(markup: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_markup(markup, TOOLS)


@given(st.text("<>()[]{}\\\"',=ab1 \n", max_size=40))
def test_no_text_breaks_the_parser(text: str) -> None:
    try:
        parse_markup("<multiply>(" + text, TOOLS)
    except ValueError:
        return


@pytest.mark.timeout(20)
@pytest.mark.parametrize("text", ["\\" * 100_000, "<" * 100_000, "<multiply>(1)=2 " * 10_000, "<a" * 100_000])
def test_long_texts_take_time_in_proportion(text: str) -> None:
    parse_markup(text, TOOLS)


@given(st.lists(VALUES, max_size=4))
def test_json_values_are_read_as_json(values: list[Any]) -> None:
    text = "f(" + ",".join(map(json.dumps, values)) + ") and so on"
    read = read_arguments(text, 1)
    assert list(read.positional) == values
    assert text[read.end :] == " and so on"
