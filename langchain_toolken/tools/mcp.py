"""The tools of running MCP servers, as LangChain tools: `mcp("servers.json")`.

The servers are named in the file form that other MCP clients use:

    {"mcpServers": {
        "files": {"command": "uvx", "args": ["files-server", "."], "env": {"KEY": "…"}},
        "weather": {"url": "http://127.0.0.1:8000/mcp"}}}

Needs the extra `mcp`. Loads neither torch nor, before `mcp` is called, LangChain's MCP client.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import threading
import warnings
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, overload

from langchain_core._api import suppress_langchain_beta_warning
from langchain_core.tools import BaseTool
from pydantic import ValidationError

from langchain_toolken.disk.reading import parse_json, read_file
from langchain_toolken.tools.spec import MCPError, ToolError, ToolOrigin, tool_spec

if TYPE_CHECKING:
    from fastmcp.mcp_config import CanonicalMCPServerTypes
    from mcp.types import Tool

    from langchain_toolken.tools.mcp_connection import Connection, LoopThread

INSTALL = "pip install 'langchain-toolken[mcp]'"
"""What to run where the extra is missing."""

_MOST_BYTES = 1 << 20
_log = logging.getLogger(__name__)


def mcp(servers: str | Path | Mapping[str, Any]) -> MCPTools:
    """Connect to MCP servers and list their tools.

    Args:
        servers: A JSON file with `mcpServers`, or what is in one. Servers with `"disabled": true` are left out.

    Raises:
        ToolError: The extra `mcp` is not installed, or the file is not of that form.
        MCPError: A server does not start, can't be reached, or lists no tool that can be used. The message names it.

    Warns:
        UserWarning: A tool can't be used and is left out.
    """
    return MCPTools(servers)


class MCPTools(Sequence[BaseTool]):
    """The tools of running MCP servers: a sequence of LangChain tools, sync and async, for agents and for fitting.

    A tool has the name that its server gives it; where two servers have one of the same name, both are named
    SERVER_TOOL. The hints that its server gives of it (read-only, destructive) are in its metadata, under
    `["mcp"]["tool"]["annotations"]`.

    Connections are held until `close`, the end of a `with` block, or the end of the process.
    """

    def __init__(self, servers: str | Path | Mapping[str, Any]) -> None:
        configs = _read_servers(servers)
        from langchain_toolken.tools.mcp_connection import Connection, LoopThread

        changes = _Changes()
        self._held = _Held(
            LoopThread(), [Connection(name, config, changes.note) for name, config in configs.items()], changes
        )
        self._tools: list[BaseTool] = []
        try:
            self.refresh()
        except BaseException:
            self.close()
            raise

    @overload
    def __getitem__(self, index: int) -> BaseTool: ...
    @overload
    def __getitem__(self, index: slice) -> list[BaseTool]: ...
    def __getitem__(self, index: int | slice) -> BaseTool | list[BaseTool]:
        return self._tools[index]

    def __len__(self) -> int:
        return len(self._tools)

    def __repr__(self) -> str:
        return f"MCPTools({len(self)} tools of {', '.join(connection.name for connection in self._held.connections)})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def refresh(self) -> None:
        """List the servers' tools anew. If a server fails, the tools stay as they were.

        Raises:
            MCPError: A server can't be reached, or lists no tool that can be used.
        """
        self._tools = _list_all(self._held)

    def watch(self, changed: Callable[[], None]) -> None:
        """Call `changed` after a server says that its list of tools has changed.

        It is called in a thread of its own, one call at a time; changes that come meanwhile are put together. It
        usually begins with `refresh`. What it raises is logged.
        """

        async def listen() -> None:
            for connection in self._held.connections:
                connection.listen()

        self._held.changes.start(changed)
        self._held.loop.run(listen())

    def close(self) -> None:
        """Close all connections; servers that were started by a command end. The tools can't be called any more."""
        self._held.close()


def may_destroy(tool: BaseTool) -> bool:
    """Tell whether a tool may destroy something, as far as its MCP server says: the tools to ask about before a call.

    As in the MCP standard, a tool of which nothing is known may. The hints are the server's own words: of a server
    that you don't trust they prove nothing.
    """
    of_mcp = (tool.metadata or {}).get("mcp")
    of_tool = of_mcp.get("tool") if isinstance(of_mcp, Mapping) else None
    hints = of_tool.get("annotations") if isinstance(of_tool, Mapping) else None
    if not isinstance(hints, Mapping):
        return True
    return hints.get("read_only_hint") is not True and hints.get("destructive_hint") is not False


def _read_servers(servers: str | Path | Mapping[str, Any]) -> dict[str, CanonicalMCPServerTypes]:
    """Read which servers there are, and how to reach each."""
    if find_spec("fastmcp") is None:
        raise ToolError(f"MCP servers need the extra mcp: {INSTALL}")
    place = "the servers" if isinstance(servers, Mapping) else str(servers)
    content: Any = servers
    if not isinstance(servers, Mapping):
        try:
            content = parse_json(read_file(Path(servers), most=_MOST_BYTES))
        except OSError as error:
            raise ToolError(f"{servers} can't be read ({error.strerror}): give a JSON file with mcpServers") from error
        except ValueError as error:
            raise ToolError(f"{servers} is not JSON ({error}): give a JSON file with mcpServers") from error
    named = content.get("mcpServers") if isinstance(content, Mapping) else None
    if not isinstance(named, Mapping) or not named:
        raise ToolError(f'{place}: no servers: give {{"mcpServers": {{NAME: {{"command": …}} or {{"url": …}}}}}}')
    used = {name: one for name, one in named.items() if not (isinstance(one, Mapping) and one.get("disabled") is True)}
    if not used:
        raise ToolError(f"{place}: every server is disabled: enable one")
    with suppress_langchain_beta_warning():
        import langchain.mcp  # noqa: F401 - the beta warning is given at the first import
        from fastmcp.mcp_config import RemoteMCPServer, StdioMCPServer
    found: dict[str, CanonicalMCPServerTypes] = {}
    for name, one in used.items():
        if not isinstance(one, Mapping) or ("command" in one) == ("url" in one):
            raise ToolError(f'{place}: MCP server {name!r} needs either a "command" (with "args", "env") or a "url"')
        kind: type[StdioMCPServer] | type[RemoteMCPServer] = StdioMCPServer if "command" in one else RemoteMCPServer
        try:
            found[name] = kind.model_validate(one)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            raise ToolError(f"{place}: MCP server {name!r}: {field}: {first['msg']}") from error
    return found


def _list_all(held: _Held) -> list[BaseTool]:
    """List the tools of all servers, under names that differ."""

    async def ask() -> list[list[tuple[Tool, BaseTool]] | BaseException]:
        return await asyncio.gather(*(each.tools() for each in held.connections), return_exceptions=True)

    listed: list[tuple[Connection, Tool, BaseTool]] = []
    for connection, answer in zip(held.connections, held.loop.run(ask()), strict=True):
        if isinstance(answer, BaseException):
            raise answer
        listed += [(connection, listing, made) for listing, made in _usable(connection, answer)]
    names = Counter(listing.name for _, listing, _ in listed)
    tools: dict[str, BaseTool] = {}
    servers: dict[str, str] = {}
    for connection, listing, made in listed:
        name = f"{connection.name}_{listing.name}" if names[listing.name] > 1 else listing.name
        if name in tools:
            raise ToolError(
                f"MCP servers {servers[name]!r} and {connection.name!r} both have a tool that would be named {name!r}: "
                "rename one of the servers in the servers file"
            )
        tools[name] = _tool(held, connection, listing, made, name)
        servers[name] = connection.name
    return list(tools.values())


def _usable(connection: Connection, listed: Iterable[tuple[Tool, BaseTool]]) -> list[tuple[Tool, BaseTool]]:
    """Leave out what can't be called under a grammar, with a warning: one bad tool must not cost the other 199."""
    kept: dict[str, tuple[Tool, BaseTool]] = {}
    for listing, made in listed:
        try:
            tool_spec(made)
            if listing.name in kept:
                raise ToolError(f"a second tool is named {listing.name!r}")
        except ToolError as error:
            warnings.warn(f"MCP server {connection.name!r}: left out: {error}", UserWarning, stacklevel=2)
            continue
        kept[listing.name] = (listing, made)
    if not kept:
        raise MCPError(f"MCP server {connection.name!r} lists no tool that can be used: leave it out")
    return list(kept.values())


def _tool(held: _Held, connection: Connection, listing: Tool, made: BaseTool, name: str) -> BaseTool:
    """Make the tool that agents call. It keeps the connections open, so that an agent needs no more than its tools."""
    as_listed = {"name": listing.name, "description": listing.description, "inputSchema": listing.input_schema}
    text = json.dumps(as_listed, sort_keys=True, default=str)
    origin = ToolOrigin(
        server=connection.name, tool=listing.name, sha256=hashlib.sha256(text.encode(errors="replace")).hexdigest()
    )
    metadata = {**(made.metadata or {})}
    metadata["mcp"] = {**metadata.get("mcp", {}), "origin": origin.model_dump()}
    call = partial(connection.call, made, listing.name)

    def check() -> None:
        if not held.close.alive:
            raise MCPError(f"MCP server {connection.name!r}: its connection was closed: connect again with mcp(...)")

    def run(**arguments: Any) -> Any:
        check()
        return held.loop.run(call(arguments))

    async def arun(**arguments: Any) -> Any:
        check()
        return await asyncio.wrap_future(held.loop.submit(call(arguments)))

    changes = {"name": name, "metadata": metadata, "func": run, "coroutine": arun, "handle_tool_error": True}
    return made.model_copy(update=changes)


class _Changes:
    """Passes changes on to a callback in a thread of its own."""

    def __init__(self) -> None:
        self._noted = threading.Event()
        self._ended = False
        self._thread: threading.Thread | None = None

    def note(self) -> None:
        self._noted.set()

    def start(self, changed: Callable[[], None]) -> None:
        self.end()
        self._ended = False
        self._noted.clear()
        self._thread = threading.Thread(target=self._run, args=(changed,), name="toolken-mcp-changes", daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._ended = True
        self._noted.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
            self._thread = None

    def _run(self, changed: Callable[[], None]) -> None:
        while True:
            self._noted.wait()
            if self._ended:
                return
            self._noted.clear()
            try:
                changed()
            except Exception:  # noqa: BLE001 - a callback may raise anything, and the next change is still to be told
                _log.exception("what was to be done after a change of an MCP server's tools failed")


class _Held:
    """The connections and their thread. They are closed with `close`, or when nothing uses them any more."""

    def __init__(self, loop: LoopThread, connections: list[Connection], changes: _Changes) -> None:
        self.loop, self.connections, self.changes = loop, connections, changes
        self.close = weakref.finalize(self, _close, loop, connections, changes)


def _close(loop: LoopThread, connections: list[Connection], changes: _Changes) -> None:
    if loop.is_current():  # the garbage collector runs in any thread, and this one can't wait for itself
        threading.Thread(target=_close, args=(loop, connections, changes)).start()
        return
    changes.end()

    async def close_all() -> None:
        await asyncio.gather(*(connection.close() for connection in connections), return_exceptions=True)

    loop.run(close_all())
    loop.stop()
