"""Load the tools of a Python file, an importable module or a JSON file, without loading torch."""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from langchain_core.tools import BaseTool, StructuredTool, ToolException

from langchain_toolken.disk.reading import parse_json, read_file
from langchain_toolken.tools.spec import ToolError, function_tool, tool_spec, tool_specs

# Modules that files given to `load_tools` imported from their own folders. Two such folders may each hold a helpers.py.
_sibling_modules: set[str] = set()
_MOST_BYTES = 256 * 2**20  # of a JSON file: thousands of tools have a few


def load_tools(source: str | Path) -> list[BaseTool]:
    """Load the tools of a Python file, an importable module or a JSON file.

    A JSON file holds a list of tools as MCP servers or OpenAI's and Anthropic's APIs describe them, or an object with
    such a list under "tools". Like all that is only described they have nothing to run: to run one is a tool error.

    The tools of Python code are the `BaseTool` instances at its top level, in the order of their definition, imported
    ones included. If it defines `TOOLS = [...]`, they are exactly the entries of that list, which may also be plain
    typed functions, pydantic models and OpenAI-style dicts. The last two are only described.

    A file may import other files of its folder at its top level. It runs at every call of this function. A load that
    fails leaves neither the file nor those others in `sys.modules`.

    Args:
        source: A file ("path/mytools.py", "path/tools.json") or a module ("package.module").

    Raises:
        ToolError: The tools can't be loaded. The message names the file and what is wrong with it.
    """
    name = str(source)
    if name.endswith(".json"):
        return _described(Path(source))
    is_file = name.endswith(".py") or isinstance(source, Path)
    # A name that no module can have ("tools/mine", ".", "my-tools") must be a file.
    is_file = is_file or not all(part.isidentifier() for part in name.split("."))
    module = _load_file(Path(source)) if is_file else _load_module(name)
    place = str(getattr(module, "__file__", None) or name) if not is_file else name
    try:
        tools = _tools_of(module, place)
        tool_specs(tools)
    except ToolError as error:
        raise error if str(error).startswith(place) else ToolError(f"{place}: {error}") from error.__cause__
    return tools


def _described(path: Path) -> list[BaseTool]:
    try:
        content = parse_json(read_file(path, most=_MOST_BYTES))
    except OSError as error:
        raise ToolError(f"{path}: can't be read: {error.strerror} (looked in {Path.cwd()})") from error
    except ValueError as error:
        raise ToolError(f"{path}: not JSON: {error}") from error
    entries = content.get("tools") if isinstance(content, dict) else content
    if not isinstance(entries, list) or not entries:
        raise ToolError(
            f'{path}: no tools in it: it must hold a list of tools, [{{"name": ..., "description": ..., "inputSchema": '
            '{...}}, ...], or an object with one under "tools"'
        )
    tools = []
    for number, entry in enumerate(entries, start=1):
        try:
            if not isinstance(entry, dict):
                raise ToolError(f"{type(entry).__name__} is no tool")
            tools.append(_as_tool(entry))
        except ToolError as error:
            raise ToolError(f"{path}, tool {number}: {error}") from error
    try:
        tool_specs(tools)
    except ToolError as error:
        raise ToolError(f"{path}: {error}") from error
    return tools


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        what = "is a folder, not a file" if path.is_dir() else "does not exist"
        raise ToolError(f"{path}: the tools file {what} (looked in {Path.cwd()}); give the path of a .py file")
    location = path.resolve()
    # The name is the file's own: another mytools.py elsewhere, or an installed module of that name, is not touched.
    name = f"_toolken_tools_{hashlib.sha256(str(location).encode()).hexdigest()[:12]}_{path.stem}"
    found = importlib.util.spec_from_file_location(name, location)
    if found is None or found.loader is None:
        raise ToolError(f"{path}: not a Python file; give the path of a .py file")
    module = importlib.util.module_from_spec(found)
    with _importable(location.parent):
        # Type hints and dataclasses look their module up in sys.modules while it runs.
        earlier = sys.modules.get(name)
        sys.modules[name] = module
        try:
            found.loader.exec_module(module)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a user's file may raise anything
            if earlier is None:
                del sys.modules[name]
            else:
                sys.modules[name] = earlier
            _import_failed(str(path), error, location)
    return module


def _load_module(name: str) -> ModuleType:
    path = list(sys.path)
    # `toolken` is a console script: unlike `python -m`, it does not see modules of the folder it is called in.
    sys.path.append(str(Path.cwd()))
    try:
        importlib.invalidate_caches()
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing is not None and (name == missing or name.startswith(f"{missing}.")):
            raise ToolError(
                f"{name}: there is no module {missing!r} (looked in the installed packages and in {Path.cwd()}); give "
                'a module such as "package.module", or a file such as "mytools.py"'
            ) from error
        _import_failed(name, error, None)
    finally:
        sys.path[:] = path


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let a file import other files of its folder while it runs, and forget them if it fails."""
    before = set(sys.modules)
    path = list(sys.path)
    for name in [name for name in _sibling_modules if _is_in(folder, name)]:
        # From another folder, or from this one before an edit.
        sys.modules.pop(name, None)
        before.discard(name)
        _sibling_modules.discard(name)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    failed = True
    try:
        yield
        failed = False
    finally:
        sys.path[:] = path
        siblings = {name for name in set(sys.modules) - before if _is_in(folder, name)}
        siblings = {name for name in siblings if _comes_from(sys.modules[name], folder)}
        if failed:
            for name in siblings:
                del sys.modules[name]
        else:
            _sibling_modules.update(siblings)


def _is_in(folder: Path, module: str) -> bool:
    top = folder / module.partition(".")[0]
    return top.is_dir() or top.with_suffix(".py").is_file()


def _comes_from(module: ModuleType, folder: Path) -> bool:
    places = [getattr(module, "__file__", None), *getattr(module, "__path__", [])]
    return any(folder in Path(place).resolve().parents for place in places if place)


def _import_failed(source: str, error: BaseException, location: Path | None) -> NoReturn:
    """Raise the `ToolError` that shows the original error and the line that it comes from."""
    if isinstance(error, SyntaxError):
        where = f"{error.filename}, line {error.lineno}: {(error.text or '').strip()}"
        text = f"SyntaxError: {error.msg}"
    else:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if "importlib" not in f.filename]
        own = [f for f in frames if location is not None and f.filename == str(location)]
        frame = next(reversed(own or frames), None)
        where = f"{frame.filename}, line {frame.lineno}: {frame.line}" if frame else source
        text = f"{type(error).__name__}: {error}"
    raise ToolError(
        f"{source}: does not import.\n  {text}\n  at {where}\nRun `python {source}` to see it alone."
        if location is not None
        else f"{source}: does not import.\n  {text}\n  at {where}\nRun `python -c 'import {source}'` to see it alone."
    ) from error


def _tools_of(module: ModuleType, place: str) -> list[BaseTool]:
    listed = vars(module).get("TOOLS")
    if listed is not None:
        if not isinstance(listed, list | tuple) or not listed:
            raise ToolError(f"{place}: TOOLS must be a list of tools with at least one in it")
        return [_as_tool(entry) for entry in listed]
    _refuse_redefinitions(module, place)
    tools: list[BaseTool] = []
    for value in vars(module).values():
        if isinstance(value, BaseTool) and not any(value is tool for tool in tools):
            tools.append(value)
    if not tools:
        functions = [
            name
            for name, value in vars(module).items()
            if callable(value) and getattr(value, "__module__", None) == module.__name__ and not name.startswith("_")
        ]
        hint = f" (it defines {', '.join(functions[:5])})" if functions else ""
        raise ToolError(
            f"{place}: no tools in it{hint}. Put @tool (from langchain_core.tools) above each function that is one, "
            "or list them: TOOLS = [...]"
        )
    return tools


def _as_tool(entry: Any) -> BaseTool:
    if isinstance(entry, BaseTool):
        return entry
    if callable(entry) and not isinstance(entry, type):
        return function_tool(entry)
    spec = tool_spec(entry)

    def described_only(**_arguments: Any) -> str:
        raise ToolException(f"{spec.name} is only described: there is no function to run")

    return StructuredTool(
        name=spec.name, description=spec.description, args_schema=spec.json_schema, func=described_only
    )


def _refuse_redefinitions(module: ModuleType, place: str) -> None:
    """Refuse two `@tool` functions of one name, of which Python silently keeps the second."""
    file = getattr(module, "__file__", None)
    if not file or not file.endswith(".py"):
        return
    lines: dict[str, int] = {}
    for node in ast.parse(Path(file).read_bytes()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.decorator_list:
            if node.name in lines and isinstance(vars(module).get(node.name), BaseTool):
                raise ToolError(
                    f"{place}: two tools are named {node.name!r} (lines {lines[node.name]} and {node.lineno}): a "
                    "toolken stands for one tool, so rename one of them"
                )
            lines[node.name] = node.lineno
