"""Who may import whom (DESIGN §4), and what must not load torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "langchain_toolken"

# layer -> the layers that its modules may import, beside their own
MAY_IMPORT: dict[str, set[str]] = {
    "argument_schemas": set(),
    "tools": {"argument_schemas"},
    "toolken_folder": set(),
    "lm_identity": set(),
    "toolkens": {"lm_identity", "toolken_folder", "tools"},
    "prompts": {"tools"},
    "decoding": {"lm_identity", "toolkens", "tools", "nano"},
    "training": {"decoding", "prompts", "toolkens", "tools"},
    "binding": {"argument_schemas", "decoding", "tools"},
    "calls": {"binding", "decoding", "prompts", "tools"},
    "answers": {"decoding", "prompts"},
    "identity": {"toolkens"},
    "reranking": {"decoding", "prompts", "tools"},
    "backtracing": {"calls", "decoding", "tools"},
    "responses": {"answers", "calls", "decoding", "prompts"},
    "structured_output": {"binding", "prompts", "tools"},
    "loaded_engine": {"decoding"},
    "growing_toolkens": {"decoding", "identity", "prompts", "toolkens", "tools"},
    "chat_turn": {
        *("answers", "backtracing", "binding", "calls", "decoding", "growing_toolkens", "prompts", "reranking"),
        *("responses", "toolkens", "tools"),
    },
    "chat_models": {
        *("answers", "backtracing", "binding", "chat_turn", "decoding", "growing_toolkens", "identity"),
        *("loaded_engine", "prompts", "reranking", "structured_output", "toolkens", "tools"),
    },
    "agents": {"answers", "backtracing", "chat_models", "chat_turn", "decoding", "prompts", "toolkens", "tools"},
    "evaluation": {"agents", "chat_models", "decoding", "nano", "prompts", "toolkens", "tools"},
    "nano": {"prompts", "tools"},
}
MAY_IMPORT["console"] = set(MAY_IMPORT) - {"evaluation"}
MAY_IMPORT["demo"] = set(MAY_IMPORT)
MAY_IMPORT["commands"] = set(MAY_IMPORT)
MAY_IMPORT["cli"] = {"commands"}

MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def imported_modules(path: Path) -> set[str]:
    """The modules of this package that a file imports, anywhere in it, dotted and below the package's name."""
    package = [PACKAGE.name, *path.relative_to(PACKAGE).parts[:-1]]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            # `from langchain_toolken import tools` names a module or an export: it counts as the module it would be.
            names = [f"{module}.{alias.name}" for alias in node.names] if module == PACKAGE.name else [module]
        found |= {name.removeprefix(f"{PACKAGE.name}.") for name in names if name.startswith(f"{PACKAGE.name}.")}
    return found - {"__version__"}


def test_every_module_stands_in_a_layer() -> None:
    assert {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in MODULES} <= set(MAY_IMPORT)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_layers_to_its_right(path: Path) -> None:
    layer = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    forbidden = {name for name in imported_modules(path) if name.split(".")[0] not in MAY_IMPORT[layer] | {layer}}
    assert not forbidden


@pytest.mark.parametrize("path", [p for p in MODULES if "decoding" in p.parts], ids=lambda path: path.name)
def test_decoding_knows_no_more_of_nano_than_where_it_is(path: Path) -> None:
    assert not {name for name in imported_modules(path) if name.startswith("nano.")}


def test_nano_itself_imports_nothing_of_the_package() -> None:
    path = PACKAGE / "nano" / "__init__.py"
    if not path.exists():
        pytest.skip("nano is not there yet")
    assert not imported_modules(path)


def test_the_chat_model_has_no_torch_code() -> None:
    path = PACKAGE / "chat_models.py"
    if not path.exists():
        pytest.skip("chat_models.py is not there yet")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {a.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    names |= {(n.module or "").split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert "torch" not in names


@pytest.mark.parametrize(
    "module",
    ["", ".tools", ".prompts.demonstrations", ".prompts.messages", ".responses", ".chat_turn", ".cli", ".nano.tools"],
)
def test_importing_it_does_not_load_torch(module: str) -> None:
    file = PACKAGE.joinpath(*module.strip(".").split(".")).with_suffix(".py")
    if module and not file.exists():
        pytest.skip(f"{file.name} is not there yet")
    code = f"import sys, langchain_toolken{module}; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr or "torch was loaded"


def test_an_unknown_export_is_an_attribute_error() -> None:
    import langchain_toolken

    assert "ToolSpec" in dir(langchain_toolken)
    with pytest.raises(AttributeError, match="no attribute 'ToolkenModel'"):
        _ = langchain_toolken.ToolkenModel  # type: ignore[attr-defined]
