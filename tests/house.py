"""The package's rooms, who imports whom, and which tests belong to which file. `python -m tests.house` prints it.

A room is a folder of the package or a file at its root. Rows go from top to bottom: a room may import rooms of lower
rows only, not one in its own row.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path

import networkx as nx
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "langchain_toolken"

ROWS: tuple[frozenset[str], ...] = (
    frozenset({"cli"}),
    frozenset({"serve", "evaluation"}),
    frozenset({"agents", "decisions", "middleware"}),
    frozenset({"chat", "training"}),
    frozenset({"decoding"}),
    frozenset({"toolkens"}),
    frozenset({"prompts", "lm"}),
    frozenset({"tools"}),
    frozenset({"nano", "disk"}),
    frozenset({"errors", "progress", "_version"}),
)

# Test files that are named after what they test and not after one file of the package, and the reason.
TESTS_OF_MORE_THAN_ONE_FILE: dict[str, str] = {
    "agents/test_contract.py": "create_toolken_agent against create_agent and LangGraph",
    "agents/test_faults.py": "faults of tools, processes and disks, and how a run ends",
    "agents/test_time_travel.py": "editing a run's state and going on",
    "chat/test_concurrency.py": "many callers of one chat model at once",
    "chat/test_copies.py": "copies of a chat model, across processes too",
    "chat/test_evidence.py": "toolkens with evidence, from the chat model to the engine",
    "chat/test_forgery.py": "no text in a conversation can forge a call",
    "chat/test_langchain_surface.py": "what LangChain expects of a chat model's methods",
    "chat/test_standard_events_and_errors.py": "LangChain's v3 events and its standard exceptions",
    "chat/test_tool_calling.py": "the tool modes, from the chat model to the engine",
    "cli/test_cli.py": "the commands as a user types them",
    "cli/test_synthesis_table.py": "what `toolken fit` shows of a synthesis",
    "cli/test_tools_file_runs_once.py": "no command runs a tools file twice",
    "decoding/local/test_shared_engine.py": "one engine for several streams, calls and threads",
    "serve/test_page.py": "the page, from the browser to the chat model",
    "toolkens/test_hostile_folders.py": "damaged and hostile folders, from the file system to the set",
    "tools/test_schema_properties.py": "random schemas, from reading one to checking what was decoded",
    "training/features/test_damaged_store.py": "damaged and foreign folders, from the file system to the store",
    "training/report/test_report.py": "the page, the model card and the files that a fit saves",
    "training/solve/test_large_solves.py": "solves too large for one pass, over several files of the solve",
}

MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def module_name(path: Path) -> str:
    """A file's dotted name below the package: "chat.model"; a folder's `__init__` has the folder's."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def room_of(module: str) -> str:
    """The room that a module is in: its folder, or itself where it lies at the root."""
    return module.partition(".")[0]


def imports_of(path: Path, known: Iterable[str]) -> set[str]:
    """The modules of the package that a file imports anywhere in it, functions and TYPE_CHECKING blocks included."""
    known = set(known)
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: import by the whole name, as everywhere here"
            # `from langchain_toolken.chat import turn` names a module, unlike `from …chat.turn import reason`.
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [one if one.removeprefix(f"{PACKAGE.name}.") in known else str(node.module) for one in inner]
        found |= {name.removeprefix(f"{PACKAGE.name}.") for name in names if name.split(".")[0] == PACKAGE.name}
    return found


def imports() -> nx.DiGraph:
    """All files of the package, an edge from each to the ones it imports."""
    known = {module_name(path) for path in MODULES}
    graph = nx.DiGraph()
    graph.add_nodes_from(known)
    for path in MODULES:
        graph.add_edges_from((module_name(path), name) for name in imports_of(path, known))
    return graph


def row_of(room: str) -> int:
    """Find the row that a room is in, 0 at the top; ValueError for a room that has none."""
    for row, rooms in enumerate(ROWS):
        if room in rooms:
            return row
    raise ValueError(f"{room} is in no row of tests/house.py: say where it belongs, or put its files into a room")


def upward(graph: nx.DiGraph) -> list[tuple[str, str]]:
    """Imports from a file to one in a higher row, or in another room of its own row."""
    found = []
    for importer, imported in graph.edges:
        above, below = room_of(importer), room_of(imported)
        if above != below and row_of(above) >= row_of(below):
            found.append((importer, imported))
    return sorted(found)


def circles(graph: nx.DiGraph) -> list[list[str]]:
    """Groups of files that import each other."""
    return [sorted(group) for group in nx.strongly_connected_components(graph) if len(group) > 1]


def lines_of(path: Path) -> int:
    """How many lines a file has."""
    return len(path.read_text(encoding="utf-8").splitlines())


def tests_without_a_file() -> list[str]:
    """List the test files below a room's folder that neither mirror a file of the package nor are excepted."""
    found = []
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        inside = path.relative_to(ROOT / "tests")
        if len(inside.parts) == 1 or not (PACKAGE / inside.parts[0]).is_dir():
            continue
        tested = PACKAGE / inside.parent / inside.name.removeprefix("test_")
        if not tested.exists() and inside.as_posix() not in TESTS_OF_MORE_THAN_ONE_FILE:
            found.append(inside.as_posix())
    return found


def main() -> None:
    """Print the rooms by row with their sizes, then circles, imports upward, and the longest files."""
    graph = imports()
    files: dict[str, list[Path]] = {}
    for path in MODULES:
        files.setdefault(room_of(module_name(path)), []).append(path)
    table = Table(title=f"{PACKAGE.name}: a room imports rooms of lower rows only", show_edge=False)
    for title in ("row", "room", "files", "lines", "longest file", "its lines"):
        table.add_column(title, justify="left" if title in ("room", "longest file") else "right")
    for row, rooms in enumerate(ROWS):
        for room in sorted(rooms & files.keys()):
            longest = max(files[room], key=lines_of)
            table.add_row(
                *(str(row), room, str(len(files[room])), str(sum(map(lines_of, files[room])))),
                *(longest.relative_to(PACKAGE).as_posix(), str(lines_of(longest))),
            )
        table.add_section()
    table.add_row("", "all", str(len(MODULES)), str(sum(map(lines_of, MODULES))), "", "")
    console = Console()
    console.print(table)
    tests = max((ROOT / "tests").rglob("*.py"), key=lines_of)
    console.print(f"circles: {circles(graph) or 'none'}")
    console.print(f"imports upward: {upward(graph) or 'none'}")
    console.print(f"longest file of the tests: {tests.relative_to(ROOT).as_posix()}, {lines_of(tests)} lines")


if __name__ == "__main__":
    main()
