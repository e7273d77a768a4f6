"""How much of a growing text is held back."""

from __future__ import annotations

import pytest

from langchain_toolken.decoding.partial_match import partial_match


@pytest.mark.parametrize(
    ("text", "strings", "length"),
    [
        ("", ("</t>",), 0),
        ("abc", (), 0),
        ("abc", ("</t>",), 0),
        ("abc<", ("</t>",), 1),
        ("abc</", ("</t>",), 2),
        ("abc</t>", ("</t>",), 0),  # a whole string is not the beginning of one
        ("a\n", ("\n\nObservation", "\nStop"), 1),
        ("xaa", ("aab", "ab"), 2),  # the longest counts
        ("xa", ("ab", "aab"), 1),
    ],
)
def test_the_longest_suffix_that_begins_a_string_is_found(text: str, strings: tuple[str, ...], length: int) -> None:
    assert partial_match(text, strings) == length
