"""Arguments are copied from the request and the answer so far, for the parameters that a fit found to be copied."""

from __future__ import annotations

import pytest

from langchain_toolken.decoding.copy_source import CopySource, copy_source
from langchain_toolken.prompts.call_cards import Asked
from langchain_toolken.toolkens.examples import ArgumentSettings, Examples
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
