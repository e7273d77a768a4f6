"""Tools files and modules."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from langchain_core.tools import BaseTool, ToolException

from langchain_toolken.tools.load import load_tools
from langchain_toolken.tools.spec import ToolError, tool_spec

HEADER = "from langchain_core.tools import tool\n"
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
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


WEATHER = {"name": "weather", "description": "Tell the weather.", "inputSchema": CITY}
OPENAI = {"type": "function", "function": {"name": "trains", "description": "Find trains.", "parameters": CITY}}


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_json_file_holds_tools_as_mcp_servers_and_openai_describe_them(tmp_path: Path, wrapped: bool) -> None:
    file = tmp_path / "tools.json"
    file.write_text(json.dumps({"tools": [WEATHER, OPENAI]} if wrapped else [WEATHER, OPENAI]))
    tools = load_tools(str(file))
    assert [tool_spec(tool).signature for tool in tools] == ["weather(city: string)", "trains(city: string)"]
    with pytest.raises(ToolException, match="weather is only described"):
        tools[0].invoke({"city": "Rome"})


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("[", "tools.json: not JSON"),
        ("{}", "tools.json: no tools in it"),
        ("[]", "tools.json: no tools in it"),
        ("[1]", "tools.json, tool 1: int is no tool"),
        (json.dumps([WEATHER, {"description": "x"}]), "tools.json, tool 2: "),
        (json.dumps([WEATHER, {**WEATHER, "description": "Another."}]), "two tools are named 'weather'"),
        (None, "tools.json: can't be read: No such file"),
    ],
)
def test_a_json_file_that_holds_no_tools_is_named_with_the_entry_at_fault(
    tmp_path: Path, text: str | None, shown: str
) -> None:
    if text is not None:
        (tmp_path / "tools.json").write_text(text)
    with pytest.raises(ToolError, match=re.escape(shown)):
        load_tools(tmp_path / "tools.json")


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
    text = (
        HEADER + "TOOLS = [{'name': 'f', 'description': 'F.', 'parameters': {'properties': {'x': {'type': 'text'}}}}]\n"
    )
    with pytest.raises(ToolError, match=r"mytools.py: tool 'f': its argument 'x' cannot be constrained"):
        load_tools(write(tmp_path, "mytools.py", text))
