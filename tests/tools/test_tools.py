"""Specs, signatures, grammars and tools files."""

from __future__ import annotations

import json
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, InjectedToolCallId, StructuredTool, ToolException, tool
from langgraph.prebuilt import InjectedState
from llguidance import LLMatcher, LLTokenizer
from pydantic import BaseModel, Field

from langchain_toolken.tools.load import load_tools
from langchain_toolken.tools.spec import ToolError, ToolSpec, argument_grammar, tool_spec, tool_specs


class Unit(Enum):
    METRE = "metre"
    FOOT = "foot"


class Address(BaseModel):
    street: str
    number: int | None = None


class Person(BaseModel):
    """Someone."""

    name: str
    title: str = "none"
    addresses: list[Address] = []


class Node(BaseModel):
    """A tree."""

    value: int
    children: list[Node] = []


def plain(a: float, b: float, digits: int = 2) -> str:
    """Divide two numbers.

    The second must not be 0.
    """
    return str(round(a / b, digits))


@tool
def greet(
    person: Person,
    unit: Unit,
    mood: Literal["kind", "curt"],
    tags: list[str],
    config: RunnableConfig,
    state: Annotated[dict[str, Any], InjectedState],
    call_id: Annotated[str, InjectedToolCallId],
    loud: bool = False,
    limit: int | str | None = None,
) -> str:
    """Greet a person."""
    return person.name


@tool
def now() -> str:
    """Tell the time."""
    return "12:00"


def accepts(spec: ToolSpec, text: str) -> bool:
    tokens = list(text.encode())
    matcher = LLMatcher(LLTokenizer("byte"), argument_grammar(spec))
    return matcher.try_consume_tokens(tokens) == len(tokens) and bool(matcher.is_accepting())


# --- specs -----------------------------------------------------------------------------------------------------------


def test_a_plain_function_and_its_tool_have_the_same_spec() -> None:
    spec = tool_spec(plain)
    assert spec == tool_spec(tool(plain))
    assert spec.name == "plain"
    assert spec.signature == "plain(a: number, b: number, digits?: integer)"
    assert spec.summary == "Divide two numbers."
    assert spec.description.endswith("must not be 0.")


def test_signature_shows_lists_enums_objects_and_unions_and_no_injected_argument() -> None:
    assert tool_spec(greet).signature == (
        "greet(person: object, unit: 'metre' | 'foot', mood: 'kind' | 'curt', tags: list[string], loud?: boolean, "
        "limit?: integer | string | null)"
    )


def test_titles_are_dropped_but_not_a_field_or_a_default_of_that_name() -> None:
    schema = tool_spec(greet).json_schema
    assert schema["$defs"]["Person"]["properties"]["title"] == {"default": "none", "type": "string"}
    assert "title" not in schema["$defs"]["Person"]
    spec = tool_spec(
        {
            "name": "f",
            "description": "F.",
            "parameters": {"type": "object", "properties": {"x": {"title": "X", "default": {"title": "kept"}}}},
        }
    )
    assert spec.json_schema["properties"]["x"] == {"default": {"title": "kept"}}


def test_outer_and_inner_dict_pydantic_model_and_spec_all_give_a_spec() -> None:
    inner = {
        "name": "find",
        "description": "Find a thing.",
        "parameters": {"type": "object", "properties": {"what": {"type": "string"}}, "required": ["what"]},
    }
    spec = tool_spec(inner)
    assert spec.signature == "find(what: string)"
    assert tool_spec({"type": "function", "function": inner}) == spec
    assert tool_spec(spec) is spec
    assert tool_spec(Person).signature == "Person(name: string, title?: string, addresses?: list[object])"
    assert tool_spec({"name": "ping", "description": "Ping."}).signature == "ping()"


def test_a_spec_survives_json() -> None:
    spec = tool_spec(greet)
    assert ToolSpec.model_validate_json(spec.model_dump_json()) == spec


def test_a_tool_without_description_is_refused_by_name() -> None:
    def bare(x: int) -> int:
        return x

    with pytest.raises(ToolError, match="'bare' has no description: give its function a docstring"):
        tool_spec(bare)
    with pytest.raises(ToolError, match="'ping' has no description"):
        tool_spec({"name": "ping"})


@pytest.mark.parametrize("thing", [3, {}, {"type": "function"}, {"name": 3, "description": "x"}, None])
def test_what_is_no_tool_is_refused(thing: Any) -> None:
    with pytest.raises(ToolError):
        tool_spec(thing)


def test_arguments_that_are_no_object_are_refused() -> None:
    with pytest.raises(ToolError, match="'f': its arguments are of type 'array'"):
        tool_spec({"name": "f", "description": "F.", "parameters": {"type": "array"}})


def test_two_tools_of_one_name_are_refused() -> None:
    with pytest.raises(ToolError, match="two tools are named 'now'"):
        tool_specs([now, plain, tool("now", description="Again.")(plain)])


# --- grammars --------------------------------------------------------------------------------------------------------


def test_grammar_takes_compact_valid_arguments_and_nothing_else() -> None:
    spec = tool_spec(plain)
    assert accepts(spec, '{"a":4096,"b":2.5}')
    assert accepts(spec, '{"a":1,"b":2,"digits":3}')
    assert not accepts(spec, '{"a": 1,"b":2}')
    assert not accepts(spec, '{"a":1}')
    assert not accepts(spec, '{"a":1,"b":"2"}')
    assert not accepts(spec, '{"a":1,"b":2,"c":3}')


def test_grammar_follows_references_to_nested_models() -> None:
    spec = tool_spec(greet)
    person = {"name": "Ann", "addresses": [{"street": "Elm", "number": None}]}
    arguments = {"person": person, "unit": "foot", "mood": "kind", "tags": ["a"], "limit": 3}
    assert accepts(spec, json.dumps(arguments, separators=(",", ":")))
    assert not accepts(spec, json.dumps({**arguments, "unit": "mile"}, separators=(",", ":")))
    assert not accepts(spec, json.dumps({**arguments, "state": {}}, separators=(",", ":")))


def test_a_model_that_contains_itself_works() -> None:
    spec = tool_spec(Node)
    assert spec.signature == "Node(value: integer, children?: list[object])"
    assert accepts(spec, '{"value":1,"children":[{"value":2,"children":[{"value":3}]}]}')
    assert not accepts(spec, '{"children":[]}')


def test_zero_arguments_are_the_empty_object() -> None:
    spec = tool_spec(now)
    assert spec.signature == "now()"
    assert accepts(spec, "{}")
    assert not accepts(spec, '{"a":1}')


def test_free_form_objects_stay_free() -> None:
    def store(data: dict[str, Any]) -> None:
        """Store data."""

    assert accepts(tool_spec(store), '{"data":{"any":["thing"]}}')


def test_an_argument_that_cannot_be_constrained_is_named() -> None:
    def tagged(ok: int, tags: set[str]) -> None:
        """Tag it."""

    with pytest.raises(ToolError, match=r"tool 'tagged': its argument 'tags' cannot be constrained.*uniqueItems"):
        tool_spec(tagged)


def test_a_nested_argument_that_cannot_be_constrained_is_named_by_its_path() -> None:
    class Inner(BaseModel):
        fine: str
        code: str = Field(json_schema_extra={"not": {"const": "x"}})

    class Outer(BaseModel):
        """Outer."""

        items: list[Inner]

    with pytest.raises(ToolError, match=r"tool 'Outer': its argument 'items.code' cannot be constrained"):
        tool_spec(Outer)


def test_a_reference_that_points_nowhere_is_named() -> None:
    parameters = {"type": "object", "properties": {"x": {"$ref": "#/$defs/Gone"}}}
    with pytest.raises(ToolError, match="tool 'f': its argument 'x'.*Gone"):
        tool_spec({"name": "f", "description": "F.", "parameters": parameters})


# --- files and modules -----------------------------------------------------------------------------------------------

HEADER = "from langchain_core.tools import tool\n"
ONE = HEADER + '@tool\ndef one(x: int) -> int:\n    """One."""\n    return x\n'


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_tools_of_a_file_come_in_their_order_with_imported_ones(tmp_path: Path) -> None:
    text = '@tool\ndef a(x: int) -> int:\n    """A."""\n    return x\n\nalias = a\ndef helper(): ...\n'
    path = write(tmp_path, "mytools.py", HEADER + text + "from langchain_toolken.nano.tools import divide, add\n")
    tools = load_tools(path)
    assert [t.name for t in tools] == ["a", "divide", "add"]
    assert all(isinstance(t, BaseTool) for t in tools)
    assert [t.name for t in load_tools(str(path))] == ["a", "divide", "add"]


def test_tools_of_a_module() -> None:
    assert len(load_tools("langchain_toolken.nano.tools")) == 13


def test_a_module_in_the_current_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "local_tools_of_mine.py", ONE)
    monkeypatch.chdir(tmp_path)
    path = list(sys.path)
    assert [t.name for t in load_tools("local_tools_of_mine")] == ["one"]
    assert sys.path == path
    del sys.modules["local_tools_of_mine"]


def test_a_tools_list_may_hold_functions_models_and_dicts(tmp_path: Path) -> None:
    text = ONE + (
        "from pydantic import BaseModel\n"
        "def two(x: int) -> int:\n    'Two.'\n    return 2 * x\n"
        "class Three(BaseModel):\n    'Three.'\n    x: int\n"
        "TOOLS = [two, {'name': 'four', 'description': 'Four.'}, Three]\n"
    )
    two, four, three = load_tools(write(tmp_path, "t.py", text))
    assert two.invoke({"x": 4}) == 8
    assert tool_spec(four).signature == "four()"
    assert tool_spec(three).signature == "Three(x: integer)"
    with pytest.raises(ToolException, match="four is only described"):
        four.invoke({})


def test_siblings_are_imported_and_two_folders_do_not_mix(tmp_path: Path) -> None:
    for name in ("left", "right"):
        write(tmp_path, f"{name}/toolken_helpers.py", f"WORD = {name!r}\n")
        text = HEADER + f"from toolken_helpers import WORD\n@tool\ndef {name}() -> str:\n    'Say.'\n    return WORD\n"
        write(tmp_path, f"{name}/mytools.py", text)
    before = list(sys.path)
    assert [load_tools(tmp_path / name / "mytools.py")[0].invoke({}) for name in ("left", "right")] == ["left", "right"]
    assert sys.path == before


def test_an_edited_file_and_its_edited_sibling_load_anew(tmp_path: Path) -> None:
    path = write(
        tmp_path, "mytools.py", HEADER + "from tk_sibling import W\n@tool\ndef f() -> str:\n    'F.'\n    return W"
    )
    for word in ("one", "three"):
        write(tmp_path, "tk_sibling.py", f"W = {word!r}\n")
        assert load_tools(path)[0].invoke({}) == word


def test_a_file_that_does_not_import_shows_the_error_and_its_line(tmp_path: Path) -> None:
    write(tmp_path, "tk_broken_sibling.py", "X = 1\n")
    path = write(tmp_path, "mytools.py", "import tk_broken_sibling\n\nimport no_such_library_at_all\n")
    before = set(sys.modules)
    with pytest.raises(ToolError) as caught:
        load_tools(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: does not import.")
    assert "ModuleNotFoundError: No module named 'no_such_library_at_all'" in message
    assert "mytools.py, line 3: import no_such_library_at_all" in message
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)
    assert not {name for name in set(sys.modules) - before if "mytools" in name or "tk_" in name}
    assert str(tmp_path) not in sys.path


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("x = (\n", "SyntaxError"),
        ("raise SystemExit(2)\n", "SystemExit: 2"),
        (HEADER + "@tool\ndef f(x: int) -> int:\n    return x\n", "line 2"),
    ],
)
def test_whatever_stops_the_import_is_a_tool_error(tmp_path: Path, text: str, shown: str) -> None:
    with pytest.raises(ToolError, match=shown):
        load_tools(write(tmp_path, "mytools.py", text))


def test_a_file_without_tools_names_the_functions_that_could_be_some(tmp_path: Path) -> None:
    path = write(tmp_path, "mytools.py", "def add(a: int, b: int) -> int:\n    'Add.'\n    return a + b\n")
    with pytest.raises(ToolError, match=r"mytools.py: no tools in it \(it defines add\). Put @tool"):
        load_tools(path)
    with pytest.raises(ToolError, match="TOOLS must be a list"):
        load_tools(write(tmp_path, "empty.py", "TOOLS = []\n"))


def test_two_functions_of_one_name_in_a_file_are_refused_with_their_lines(tmp_path: Path) -> None:
    path = write(tmp_path, "mytools.py", ONE + ONE.removeprefix(HEADER))
    with pytest.raises(ToolError, match=r"mytools.py: two tools are named 'one' \(lines 3 and 7\)"):
        load_tools(path)
    path = write(tmp_path, "again.py", ONE + "other = tool('one')(one.func)\n")
    with pytest.raises(ToolError, match=r"again.py: two tools are named 'one'"):
        load_tools(path)


def test_a_file_or_module_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match=r"gone.py: the tools file does not exist"):
        load_tools(tmp_path / "gone.py")
    with pytest.raises(ToolError, match="is a folder, not a file"):
        load_tools(tmp_path)
    with pytest.raises(ToolError, match="no_such_module.at_all: there is no module 'no_such_module'"):
        load_tools("no_such_module.at_all")


def test_a_bad_tool_in_a_file_is_named_with_the_file(tmp_path: Path) -> None:
    text = HEADER + "@tool\ndef f(x: set[int]) -> None:\n    'F.'\n"
    with pytest.raises(ToolError, match=r"mytools.py: tool 'f': its argument 'x' cannot be constrained"):
        load_tools(write(tmp_path, "mytools.py", text))


def test_a_structured_tool_with_a_json_schema_gives_that_schema() -> None:
    schema = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
    made = StructuredTool(name="j", description="J.", args_schema=schema, func=lambda x: x)
    assert tool_spec(made).signature == "j(x: integer)"
