"""The package's rooms, who imports whom, and what stands in a circle: `python -m tests.house` prints it.

A room is a folder of the package, or a file at its root. Rows go top down: a room may import rooms of lower rows only,
and none beside it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path

import networkx as nx

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "langchain_toolken"

ROWS: tuple[frozenset[str], ...] = (
    frozenset({"cli"}),
    frozenset({"serve", "evaluation"}),
    frozenset({"agents", "middleware"}),
    frozenset({"chat", "training"}),
    frozenset({"decoding"}),
    frozenset({"toolkens"}),
    frozenset({"prompts", "lm"}),
    frozenset({"tools"}),
    frozenset({"nano"}),
    frozenset({"errors", "progress", "_version"}),
)

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
    """The row that a room is in, 0 at the top; ValueError for a room that has none."""
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


def main() -> None:
    """Print rooms, rows, circles and imports upward."""
    graph = imports()
    files: dict[str, list[Path]] = {}
    for path in MODULES:
        files.setdefault(room_of(module_name(path)), []).append(path)
    for rooms in ROWS:
        shown = [
            f"{room} ({len(files[room])} files, {sum(map(lines_of, files[room]))} lines)"
            for room in sorted(rooms)
            if room in files
        ]
        print("  ".join(shown) or "-")
    print(f"circles: {circles(graph) or 'none'}")
    print(f"imports upward: {upward(graph) or 'none'}")
    longest = max(MODULES, key=lines_of)
    print(f"longest file: {longest.relative_to(ROOT)}, {lines_of(longest)} lines")


if __name__ == "__main__":
    main()
