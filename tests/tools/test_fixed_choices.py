"""tools.fixed_choices: parameters that take one of a few values, written as JSON."""

from __future__ import annotations

from langchain_toolken.tools.fixed_choices import fixed_choices
from tests.support.tools import spec


def test_enums_truth_values_and_null_are_choices_and_nothing_else_is() -> None:
    tool = spec(
        unit={"enum": ["m", "km"]},
        level={"enum": [1, 2]},
        urgent={"type": "boolean"},
        mode={"anyOf": [{"enum": ["on", "off"]}, {"type": "null"}]},
        one={"enum": ["m"]},
        text={"type": "string"},
        either={"anyOf": [{"enum": ["on"]}, {"type": "string"}]},
        listed={"type": "array", "items": {"enum": ["a", "b"]}},
    )
    assert fixed_choices(tool) == {
        "unit": ('"m"', '"km"'),
        "level": ("1", "2"),
        "urgent": ("true", "false"),
        "mode": ('"on"', '"off"', "null"),
    }
