"""Arguments are copied from the request and the answer so far, for the parameters that a fit found to be copied."""

from __future__ import annotations

import pytest

from langchain_toolken.decoding.copy_source import NAMED, CopySource, copy_source, source_or_request
from langchain_toolken.prompts.call_cards import PLAIN, Asked, CallExample
from langchain_toolken.toolkens.examples import ArgumentSettings, Examples, FormTried
from tests.support.tools import spec

ASKED = Asked("Weather in Lima?", "It is")


def test_a_source_holds_the_request_and_the_answer_so_far_and_names_the_copied_parameters() -> None:
    settings = ArgumentSettings(copied={"weather": ("city", "day"), "timer": ("minutes",)}, copy_nats=3)
    assert copy_source(spec("weather"), Examples((), settings), ASKED) == CopySource(
        "Weather in Lima?\nIt is", {"city": 3.0, "day": 3.0}
    )


@pytest.mark.parametrize(
    "settings",
    [
        None,
        ArgumentSettings(),
        ArgumentSettings(copied={"weather": ("city",)}),
        ArgumentSettings(copied={"timer": ("minutes",)}, copy_nats=3),
    ],
)
def test_there_is_no_source_where_nothing_is_preferred(settings: ArgumentSettings | None) -> None:
    assert copy_source(spec("weather"), Examples((), settings), ASKED) is None


TRIED = FormTried(form=PLAIN, right=1, asked=2, tokens=9.0)
TIMER = spec(
    "timer",
    minutes={"type": "integer"},
    names={"type": "array", "items": {"type": "string"}},
    note={"anyOf": [{"type": "string"}, {"type": "null"}]},
    loud={"type": "boolean"},
    unit={"type": "string", "enum": ["s", "min"]},
    extra={"type": "object"},
)


@pytest.mark.parametrize(
    ("settings", "nats"),
    [
        (None, 3.0),
        (ArgumentSettings(), 3.0),
        (ArgumentSettings(copied={"weather": ("city",)}, copy_nats=10, tried=(TRIED,)), 3.0),
        (ArgumentSettings(copied={"weather": ("city",)}, copy_nats=1, tried=(TRIED,)), 1.0),
    ],
)
def test_a_tool_that_no_demonstration_shows_copies_text_and_numbers(
    settings: ArgumentSettings | None, nats: float
) -> None:
    expected = CopySource("Weather in Lima?\nIt is", dict.fromkeys(("minutes", "names", "note"), nats))
    assert source_or_request(TIMER, Examples((), settings), ASKED) == expected


@pytest.mark.parametrize(
    "examples",
    [
        Examples((), ArgumentSettings(tried=(TRIED,))),
        Examples((), ArgumentSettings(copied={"timer": ()})),
        Examples((CallExample(tool="timer", request="Ring!", arguments={"minutes": 1}),)),
    ],
    ids=["copying did not help other tools", "its own demonstrations copy nothing", "nothing was tried"],
)
def test_a_tool_does_not_copy_where_demonstrations_say_otherwise(examples: Examples) -> None:
    assert source_or_request(TIMER, examples, ASKED) is None


def test_a_choice_that_is_copied_from_the_request_has_no_other_nats() -> None:
    choices = {"weather": {"city": {'"Rome"': 2.0}, "warm": {"true": 1.0}}}
    settings = ArgumentSettings(copied={"weather": ("city",)}, copy_nats=3.0, choices=choices)
    source = copy_source(spec("weather"), Examples((), settings), ASKED)
    assert source is not None
    assert (source.nats, source.choices) == ({"city": 3.0}, {"warm": {"true": 1.0}})


def test_the_nats_of_choices_are_taken_along_even_where_nothing_is_copied() -> None:
    settings = ArgumentSettings(choices={"weather": {"day": {"true": 2.0}}})
    source = copy_source(spec("weather"), Examples((), settings), ASKED)
    assert source is not None
    assert (source.nats, source.choices) == ({}, {"day": {"true": 2.0}})
    assert copy_source(spec("other"), Examples((), settings), ASKED) is None


UNITS = spec("convert", unit={"enum": ["km", "mile"]}, note={"type": "string"}, back={"type": "boolean"})


@pytest.mark.parametrize(
    "examples",
    [
        Examples(),
        Examples((), ArgumentSettings(copied={"convert": ("unit",)}, copy_nats=3.0)),
        Examples((), ArgumentSettings(choices={"convert": {"unit": {'"km"': 2.0}}})),
    ],
    ids=["nothing is known", "the choice is mostly copied", "the LM has a habit"],
)
def test_a_choice_that_the_text_names_is_preferred_whatever_was_learnt(examples: Examples) -> None:
    source = copy_source(UNITS, examples, Asked("26 miles, how far is that?"))
    assert source is not None
    assert source.choices == {"unit": {'"mile"': NAMED}}
    other = source_or_request(UNITS, examples, Asked("Is it a mile or a km?"))
    assert other is not None
    assert other.choices == {"unit": {'"mile"': NAMED, '"km"': NAMED}}
