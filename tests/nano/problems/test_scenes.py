"""Questions put together from phrases: every combination makes a problem, and there are thousands of them."""

from __future__ import annotations

import json
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llguidance import LLMatcher

from langchain_toolken.nano.problems.scenes import composed, dressed, scenes
from langchain_toolken.nano.problems.word_problems import OPERATIONS, one_step
from langchain_toolken.nano.problems.wordings import Template
from pretraining.documents import COMPUTED, SHORT_KINDS, document
from pretraining.names import foreign_name
from pretraining.objects import structured_answer
from pretraining.tool_requests import request_with_call


def test_phrases_make_thousands_of_wordings_for_every_operation_together() -> None:
    assert set(scenes()) == set(OPERATIONS)
    assert sum(scene.wordings for operation in OPERATIONS for scene in scenes()[operation]) > 2000
    drawn = {composed(Random(seed), OPERATIONS[seed % 13]).question for seed in range(3000)}
    assert len(drawn) > 600


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_phrase_is_filled_in_wholly(operation: str) -> None:
    for seed in range(150):
        problem = one_step(Random(f"{operation} {seed}"), operation)
        assert not set("{}[]|") & set(problem.question + problem.answer_text), problem
        assert problem.steps[0].operation == operation


def test_a_question_is_put_in_many_forms_and_keeps_its_numbers_fields() -> None:
    plain = Template("{n} has {x} {ts} and buys {y} more. How many {ts} does {n} have?", "{n} has {E} {ts}.", False)
    forms = {dressed(Random(seed), plain, "add").question for seed in range(300)}
    assert len(forms) > 60
    assert "If {n} has {x} {ts} and buys {y} more, how many {ts} does {n} have?" in forms
    assert "How many {ts} does {n} have if {n} has {x} {ts} and buys {y} more?" in forms
    assert all(form.count("{x}") == form.count("{y}") == 1 for form in forms)


@given(st.integers(0, 10**9))
@settings(max_examples=200, deadline=None)
def test_objects_and_calls_are_minified_json_of_the_fields_that_the_card_shows(seed: int) -> None:
    answer = structured_answer(Random(seed))
    assert json.loads(answer.json) == answer.values
    assert set(answer.values) <= {name for name, _, _ in answer.fields}
    assert all(optional or name in answer.values for name, _, optional in answer.fields)
    call = request_with_call(Random(seed)).call
    assert list(json.loads(call.json)) == [name for name, _, _ in call.tool.parameters]
    assert json.dumps(json.loads(call.json), ensure_ascii=False, separators=(",", ":")) == call.json


def test_an_object_is_what_a_grammar_of_its_schema_allows() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "integer"}}, "required": ["a"]}
    grammar = LLMatcher.grammar_from_json_schema(
        json.dumps(schema | {"additionalProperties": False}), overrides={"whitespace_flexible": False}
    )
    assert grammar
    names = {foreign_name(Random(seed)) for seed in range(300)}
    assert sum(not name.isascii() for name in names) > 250


def test_strings_are_copied_from_the_request_letter_by_letter() -> None:
    copied = 0
    for seed in range(400):
        asked = request_with_call(Random(seed))
        for name, value in json.loads(asked.call.json).items():
            if isinstance(value, str):
                assert value.lower() in asked.request.lower(), (name, value, asked.request)
                copied += not value.isascii()
    assert copied > 20


def test_results_that_nano_cannot_compute_weigh_little_and_what_leads_to_them_in_full() -> None:
    for number in range(300):
        segments = document(5, number, SHORT_KINDS)
        for before, result in pairwise(segments):
            if result.weight == COMPUTED and before.text.endswith("="):
                assert result.text.lstrip("-").replace(".", "", 1).isdigit()
                break
    weights = {segment.weight for number in range(50) for segment in document(5, number, SHORT_KINDS)}
    assert COMPUTED in weights
    assert COMPUTED < 0.2


def test_no_name_or_sentence_of_langchains_standard_tests_is_in_the_text() -> None:
    theirs = (
        *("get_weather", "magic_function", "unicode_customer", "customer_name", "San Francisco", "setup", "punchline"),
        *("joke about", "What is the weather in", "What is the value of magic", "Create a customer", "It's sunny"),
        *("你好", "株式会社"),
    )
    for number in range(4000):
        text = "".join(segment.text for segment in document(1, number))
        assert not [words for words in theirs if words in text], text
