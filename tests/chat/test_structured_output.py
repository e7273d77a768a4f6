"""Structured output: every answer keeps to its schema, in LangChain's own forms, or says that it was cut off."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from jsonschema import Draft202012Validator
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.tools import tool
from pydantic import BaseModel, Field, field_validator
from pydantic.v1 import BaseModel as OldBaseModel
from typing_extensions import TypedDict

from langchain_toolken.chat.model import ToolkenChat
from langchain_toolken.decoding.local.engine import TransformersEngine
from langchain_toolken.tools.spec import ToolSpec, _warn_of_left_out, tool_spec
from tests.support.scripted_engine import ScriptedEngine, completion, reasoning
from tests.support.tiny import make_lm
from tests.support.toolken_sets import scripted_toolkens

QUESTION = [HumanMessage("Where is the pen?")]
METHODS = ["json_schema", "function_calling"]


class Place(BaseModel):
    """A place on the table."""

    row: Literal["near", "far"]
    column: int = Field(ge=0, le=9)


class PlaceDict(TypedDict):
    """A place on the table."""

    row: Literal["near", "far"]
    column: Literal[1, 2]


class OldPlace(OldBaseModel):
    row: Literal["near", "far"]


@pytest.fixture(scope="module")
def chat() -> ToolkenChat:
    return ToolkenChat.from_engine(TransformersEngine(make_lm()))


@pytest.mark.parametrize("method", METHODS)
def test_a_pydantic_model_comes_back_as_one(chat: ToolkenChat, method: str) -> None:
    structured = chat.with_structured_output(Place, method=method, strict=True)
    assert isinstance(structured.invoke(QUESTION), Place)
    (streamed,) = structured.stream(QUESTION)
    assert streamed == structured.invoke(QUESTION)


@pytest.mark.parametrize("method", METHODS)
def test_pydantics_first_kind_comes_back_as_one(chat: ToolkenChat, method: str) -> None:
    assert isinstance(chat.with_structured_output(OldPlace, method=method).invoke(QUESTION), OldPlace)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("schema", [PlaceDict, Place.model_json_schema()])
def test_a_typed_dict_and_a_json_schema_come_back_as_a_dict(chat: ToolkenChat, method: str, schema: Any) -> None:
    answer = chat.with_structured_output(schema, method=method).invoke(QUESTION)
    assert set(answer) == {"row", "column"}
    assert answer["row"] in ("near", "far")


@pytest.mark.parametrize("method", METHODS)
def test_the_raw_message_comes_along_if_asked_for(chat: ToolkenChat, method: str) -> None:
    both = chat.with_structured_output(Place, method=method, include_raw=True).invoke(QUESTION)
    assert set(both) == {"raw", "parsed", "parsing_error"}
    assert isinstance(both["raw"], AIMessage)
    assert isinstance(both["parsed"], Place)
    assert both["parsing_error"] is None
    assert bool(both["raw"].tool_calls) == (method == "function_calling")


@pytest.mark.parametrize("method", METHODS)
def test_an_answer_that_was_cut_off_is_an_error_that_says_so(chat: ToolkenChat, method: str) -> None:
    limit = {"max_tokens": 2, "max_argument_tokens": 2}
    with pytest.raises(OutputParserException, match="cut off"):
        chat.with_structured_output(Place, method=method, **limit).invoke(QUESTION)
    both = chat.with_structured_output(Place, method=method, include_raw=True, **limit).invoke(QUESTION)
    assert both["parsed"] is None
    assert isinstance(both["parsing_error"], OutputParserException)


def test_a_validator_beyond_the_schema_is_heard() -> None:
    class Odd(BaseModel):
        n: int

        @field_validator("n")
        @classmethod
        def _odd(cls, n: int) -> int:
            if n % 2 == 0:
                raise ValueError("n must be odd")
            return n

    engine = ScriptedEngine([], [completion('{"n":2}', {"n": 2})])
    with pytest.raises(OutputParserException, match="n must be odd"):
        ToolkenChat.from_engine(engine).with_structured_output(Odd).invoke(QUESTION)


def test_json_mode_keeps_to_the_schema_too(chat: ToolkenChat) -> None:
    assert isinstance(chat.with_structured_output(Place, method="json_mode").invoke(QUESTION), Place)


def test_other_methods_are_refused_with_those_there_are(chat: ToolkenChat) -> None:
    with pytest.raises(ValueError, match="'xml' is not known; give one of 'json_schema'"):
        chat.with_structured_output(Place, method="xml")


def test_a_tool_may_still_be_called_before_an_answer_in_a_form() -> None:
    @tool
    def look(where: str) -> str:
        """Look somewhere."""
        return where

    form = {"type": "json_schema", "json_schema": {"name": "place", "schema": Place.model_json_schema()}}
    answer = completion('{"row":"far","column":1}', {"row": "far", "column": 1})
    engine = ScriptedEngine(
        [reasoning("Hm.", "look"), reasoning("Hm.")], [completion('{"where":"x"}', {"where": "x"}), answer]
    )
    chat = ToolkenChat.from_engine(engine, scripted_toolkens(tool_spec(look))).bind_tools([look], response_format=form)
    assert chat.invoke(QUESTION).tool_calls[0]["name"] == "look"
    whole: AIMessageChunk | None = None
    for chunk in chat.stream(QUESTION):
        assert isinstance(chunk, AIMessageChunk)
        whole = chunk if whole is None else whole + chunk
    assert whole is not None
    assert (whole.content, whole.tool_calls) == ('{"row":"far","column":1}', [])


ONE, TWO = ({"type": "object", "properties": {name: {"enum": [1, 2]}}, "required": [name]} for name in "ab")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "schema",
    [
        {"anyOf": [ONE, TWO]},
        {"oneOf": [ONE, TWO]},
        {"allOf": [ONE, TWO]},
        {"$defs": {"One": ONE}, "$ref": "#/$defs/One"},
        {"type": "object", "patternProperties": {"^[ab]$": {"enum": [1, 2]}}, "minProperties": 1, "maxProperties": 1},
    ],
)
def test_fields_outside_of_properties_are_answered_too(chat: ToolkenChat, method: str, schema: dict[str, Any]) -> None:
    answer = chat.with_structured_output({"title": "Choice", **schema}, method=method).invoke(QUESTION)
    Draft202012Validator(schema).validate(answer)
    assert answer


@pytest.mark.parametrize("method", METHODS)
def test_an_answer_that_breaks_what_a_grammar_cannot_hold_is_an_error_that_says_so(method: str) -> None:
    _warn_of_left_out.cache_clear()
    schema = {"title": "Set", "type": "object", "properties": {"x": {"type": "array", "uniqueItems": True}}}
    engine = ScriptedEngine([], [completion('{"x":[1,1]}', {"x": [1, 1]})])
    with pytest.warns(UserWarning, match="uniqueItems of 'x'"):
        structured = ToolkenChat.from_engine(engine).with_structured_output(schema, method=method)
    with pytest.raises(OutputParserException, match="'x': .* non-unique"):
        structured.invoke(QUESTION)


def test_arguments_that_break_their_schema_are_an_invalid_call_with_its_reason() -> None:
    schema = {"type": "object", "properties": {"x": {"type": "array", "uniqueItems": True}}}
    spec = ToolSpec(name="collect", description="Collect.", json_schema=schema)
    engine = ScriptedEngine([], [completion('{"x":[1,1]}', {"x": [1, 1]})])
    with pytest.warns(UserWarning, match="tool 'collect': decoding can't hold uniqueItems of 'x'"):
        llm = ToolkenChat.from_engine(engine, scripted_toolkens(spec)).bind_tools([spec], tool_choice="collect")
    message = llm.invoke(QUESTION)
    assert message.tool_calls == []
    (invalid,) = message.invalid_tool_calls
    assert invalid["args"] == '{"x":[1,1]}'
    assert invalid["error"] == ("The arguments break the schema of 'collect' at 'x': [1, 1] has non-unique elements.")
