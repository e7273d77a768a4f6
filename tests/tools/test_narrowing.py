"""tools.narrowing: optional parameters are decided before the arguments are written."""

from __future__ import annotations

import pytest

from langchain_toolken.tools.narrowing import narrowed
from langchain_toolken.tools.spec import ToolSpec, schema_fault, tool_spec


def weather(city: str, day: str | None = None, hours: int = 24) -> str:
    """Get the weather."""
    return f"{city} {day} {hours}"


SPEC = tool_spec(weather)


def test_a_parameter_is_required_left_out_or_stays_as_it_is() -> None:
    with_day = narrowed(SPEC, {"day": True}).json_schema
    assert with_day["required"] == ["city", "day"]
    assert with_day["properties"]["day"]["anyOf"] == [{"type": "string"}]
    assert "hours" in with_day["properties"]
    without = narrowed(SPEC, {"day": False, "hours": True}).json_schema
    assert set(without["properties"]) == {"city", "hours"}
    assert without["required"] == ["city", "hours"]


@pytest.mark.parametrize("has", [{}, {"city": False}, {"country": True}])
def test_required_and_unknown_parameters_are_not_decided(has: dict[str, bool]) -> None:
    assert narrowed(SPEC, has) is SPEC


def test_a_schema_with_conditions_between_fields_stays() -> None:
    bound = SPEC.model_copy(update={"json_schema": {**SPEC.json_schema, "dependentRequired": {"day": ["hours"]}}})
    assert narrowed(bound, {"day": True}) is bound


def test_what_the_narrowed_tool_takes_the_tool_takes() -> None:
    for has in ({"day": True}, {"day": False}, {"day": True, "hours": False}):
        spec: ToolSpec = narrowed(SPEC, has)
        arguments = {name: "x" if name != "hours" else 3 for name in spec.json_schema["properties"]}
        assert schema_fault(spec, arguments) is None
        assert schema_fault(SPEC, arguments) is None


@pytest.mark.parametrize(
    ("day", "given"),
    [
        ({"type": ["string", "null"]}, {"type": ["string"]}),
        ({"oneOf": [{"type": "null"}, {"type": "string"}]}, {"oneOf": [{"type": "string"}]}),
        ({"type": "null"}, {"type": "null"}),
    ],
)
def test_a_parameter_that_is_given_is_not_null_however_its_schema_says_that_it_may_be(
    day: dict[str, object], given: dict[str, object]
) -> None:
    tool = SPEC.model_copy(update={"json_schema": {"type": "object", "properties": {"day": day}}})
    assert narrowed(tool, {"day": True}).json_schema["properties"]["day"] == given
