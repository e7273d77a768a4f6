"""Demonstrations from the Examples sections of docstrings."""

from __future__ import annotations

from langchain_core.tools import tool

from langchain_toolken.tools.spec import tool_spec
from langchain_toolken.training.demonstrations.load import docstring_demonstrations


@tool
def add(a: float, b: float) -> float:
    """Add two numbers.

    Examples:
        How much is 2 and 3? -> add(2, 3) = 5
        - "What do 4 and 4 make?" → add(a=4, b=4)

        >>> from mine import add
        >>> add(40, 2)
        42

        What is 1 and 2?
        >>> add.invoke({'a': 1,
        ...             'b': 2})
        3

    Returns:
        The sum. Or so -> nothing(here)
    """
    return a + b


def capital(country: str) -> str:
    """The capital of a country.

    Examples
    --------
    >>> capital("St. Lucia")
    'Castries'
    What is 2 and 2? -> add(2, 2)
    """
    return country


def test_both_forms_become_demonstrations() -> None:
    loaded = docstring_demonstrations([add, capital])
    assert loaded.dropped == ()
    found = [([m.text for m in d.before], d.text, d.calls[0].start, d.calls[0].args) for d in loaded.demonstrations]
    assert found == [
        (["How much is 2 and 3?"], "5", 0, {"a": 2, "b": 3}),
        (["What do 4 and 4 make?"], "", 0, {"a": 4, "b": 4}),
        ([], "add(40, 2) = 42", 13, {"a": 40, "b": 2}),
        (["What is 1 and 2?"], "3", 0, {"a": 1, "b": 2}),
        ([], 'capital("St. Lucia") = Castries', 23, {"country": "St. Lucia"}),
        (["What is 2 and 2?"], "", 0, {"a": 2, "b": 2}),
    ]
    assert [d.line for d in loaded.demonstrations] == [4, 5, 8, 12, 5, 7]
    assert {d.source for d in loaded.demonstrations} == {"docstring of 'add'", "docstring of 'capital'"}


def test_bad_examples_are_named_with_docstring_line_and_reason() -> None:
    @tool
    def halve(number: float) -> float:
        """Halve a number.

        Example:
            Half of 2? -> halve(2, 3)
            Half of 3? -> halve("many")
            Half of 4? -> thirds(4)
            Half of 5? -> halve(5
            Half of 6? -> halve(6) is it
            >>> halve(8)
            4.0
        """
        return number / 2

    loaded = docstring_demonstrations([halve])
    assert len(loaded.demonstrations) == 1
    reasons = {row.line: str(row) for row in loaded.dropped}
    assert sorted(reasons) == [4, 5, 6, 7, 8]
    for line, reason in ((4, "too many"), (5, "argument 'number'"), (6, "unknown tool"), (7, "missing"), (8, "is it")):
        assert reasons[line].startswith(f"docstring of 'halve', line {line}: ")
        assert reason in reasons[line]


def test_a_described_tool_has_its_examples_in_its_description() -> None:
    assert len(docstring_demonstrations([tool_spec(add)]).demonstrations) == 4


def test_without_a_section_there_are_none() -> None:
    @tool
    def plain(text: str) -> str:
        """Text as it is, for example: f(x) -> plain(x)."""
        return text

    loaded = docstring_demonstrations([plain])
    assert (loaded.demonstrations, loaded.dropped) == ((), ())
