"""Every file is in a room, imports only go down, nothing is circular or long, and tests mirror the package."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import networkx as nx
import pytest

from tests import house

LONGEST = 400
LONGEST_TEST = 450


@pytest.fixture(scope="module")
def graph() -> nx.DiGraph:
    return house.imports()


def test_every_room_has_a_row_and_there_are_few() -> None:
    assert len(house.ROWS) <= 12
    for path in house.MODULES:
        house.row_of(house.room_of(house.module_name(path)))


def test_no_import_goes_up(graph: nx.DiGraph) -> None:
    assert not house.upward(graph)


def test_no_files_import_each_other_in_a_circle(graph: nx.DiGraph) -> None:
    assert not house.circles(graph)


def test_an_import_upward_and_a_circle_would_be_found() -> None:
    graph = nx.DiGraph([("tools.spec", "chat.model"), ("chat.model", "tools.spec"), ("prompts.turns", "lm.head")])
    assert house.upward(graph) == [("prompts.turns", "lm.head"), ("tools.spec", "chat.model")]
    assert house.circles(graph) == [["chat.model", "tools.spec"]]


def test_every_module_that_is_imported_exists(graph: nx.DiGraph) -> None:
    known = {house.module_name(path) for path in house.MODULES}
    assert set(graph) - known <= {""}


def test_no_file_is_long() -> None:
    assert not {p.name: house.lines_of(p) for p in house.MODULES if house.lines_of(p) > LONGEST}
    tests = sorted((house.ROOT / "tests").rglob("*.py"))
    assert not {p.name: house.lines_of(p) for p in tests if house.lines_of(p) > LONGEST_TEST}


def test_lm_knows_no_more_of_nano_than_where_it_is(graph: nx.DiGraph) -> None:
    assert not {name for module in graph if module.startswith("lm.") for name in graph[module] if "nano." in name}


def test_nano_itself_imports_nothing_of_the_package(graph: nx.DiGraph) -> None:
    assert not graph["nano"]


def test_the_chat_model_has_no_torch_code() -> None:
    tree = ast.parse((house.PACKAGE / "chat" / "model.py").read_text(encoding="utf-8"))
    names = {a.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    names |= {(n.module or "").split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert "torch" not in names


@pytest.mark.parametrize(
    "module",
    [
        *("", ".tools.spec", ".tools.load", ".prompts.messages", ".training.features.layout", ".chat.responses"),
        *(".chat.turn", ".cli.app", ".nano.tools"),
    ],
)
def test_importing_it_does_not_load_torch(module: str) -> None:
    code = f"import sys, langchain_toolken{module}; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=house.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr or "torch was loaded"


def test_an_unknown_export_is_an_attribute_error() -> None:
    import langchain_toolken

    assert "ToolSpec" in dir(langchain_toolken)
    with pytest.raises(AttributeError, match="no attribute 'ToolkenModel'"):
        _ = langchain_toolken.ToolkenModel  # type: ignore[attr-defined]


def test_tests_have_the_packages_folders() -> None:
    rooms = {path.name for path in house.PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    others = {"support", "integration", "benchmarks", "pretraining", "examples", "docs", "__pycache__"}
    folders = {path.name for path in Path(__file__).parent.iterdir() if path.is_dir()}
    assert folders - others <= rooms


def test_tests_of_one_file_are_named_after_it() -> None:
    assert not house.tests_without_a_file()


def test_every_exception_to_the_names_of_tests_is_still_one() -> None:
    for name in house.TESTS_OF_MORE_THAN_ONE_FILE:
        path = house.ROOT / "tests" / name
        assert path.exists(), name
        assert not (house.PACKAGE / path.relative_to(house.ROOT / "tests").parent / path.name[5:]).exists(), name


def test_the_house_can_be_printed(capsys: pytest.CaptureFixture[str]) -> None:
    house.main()
    printed = capsys.readouterr().out
    assert "circles: none" in printed
    assert "imports upward: none" in printed
