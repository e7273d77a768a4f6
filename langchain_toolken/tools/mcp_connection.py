"""A connection to one MCP server, held open in the event loop of a thread, so that sync and async callers share it.

FastMCP, which LangChain's `langchain.mcp` builds on, does the protocol. This module is imported only where the extra
`mcp` is installed; `tools.mcp` checks that.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import tempfile
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from datetime import timedelta
from typing import Any, TypeVar

from fastmcp import Client
from fastmcp.client.messages import MessageHandler
from fastmcp.client.transports import ClientTransport, StdioTransport, StreamableHttpTransport
from fastmcp.mcp_config import CanonicalMCPServerTypes
from jsonschema import ValidationError as SchemaError
from langchain.mcp import MCPAdapter, as_langchain_tool
from langchain_core.tools import BaseTool, ToolException
from langgraph.errors import GraphBubbleUp
from mcp.client.subscriptions import ListenNotSupportedError, listen
from mcp.shared.exceptions import MCPError as ProtocolError
from mcp.types import CONNECTION_CLOSED, REQUEST_TIMEOUT, Tool, ToolListChangedNotification
from pydantic import ValidationError

from langchain_toolken.tools.spec import MCPError

Result = TypeVar("Result")

_log = logging.getLogger(__name__)

_START_SECONDS = 30.0
_CALL_SECONDS = 60.0
_RETRY_SECONDS = 5.0
_LAST_WORDS = 600  # characters of what a server printed, shown when it ends


class LoopThread:
    """An event loop in a daemon thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        # The thread knows only the loop, so that what uses it can be collected and closed.
        self._thread = threading.Thread(target=self._loop.run_forever, name="toolken-mcp", daemon=True)
        self._thread.start()

    def submit(self, work: Coroutine[Any, Any, Result]) -> Future[Result]:
        """Run a coroutine in the loop with the caller's context: LangGraph's interrupts need it."""
        context = contextvars.copy_context()

        async def in_context() -> Result:
            return await asyncio.get_running_loop().create_task(work, context=context)

        return asyncio.run_coroutine_threadsafe(in_context(), self._loop)

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine in the loop and wait for it. Ctrl-C while waiting cancels it."""
        future = self.submit(work)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def is_current(self) -> bool:
        """Tell whether this is called in the loop's own thread."""
        return threading.current_thread() is self._thread

    def stop(self) -> None:
        """End the loop and its thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(timeout=_RETRY_SECONDS)
            if not self._thread.is_alive():
                self._loop.close()


class Connection:
    """One server. All coroutines run in one loop.

    A connection that breaks is dropped, and the next use makes a new one: a stdio server is started again. A call is
    never made twice.

    Args:
        name: The server's name, for errors.
        config: How to reach it.
        changed: Called in the loop when the server says that its list of tools has changed.
    """

    def __init__(self, name: str, config: CanonicalMCPServerTypes, changed: Callable[[], None]) -> None:
        self.name = name
        self._transport: ClientTransport = config.to_transport()
        self._printed = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 - see close
        if isinstance(self._transport, StdioTransport):
            self._transport.log_file = self._printed
        self._seconds = _CALL_SECONDS if config.timeout is None else config.timeout / 1000
        self._changed = changed
        client = Client(
            self._transport,
            message_handler=_OnListChanged(changed),
            timeout=timedelta(seconds=self._seconds),
            init_timeout=_START_SECONDS,
        )
        # The adapter answers a server's questions in the middle of a call with LangGraph's interrupts.
        adapted = MCPAdapter(client).client
        assert isinstance(adapted, Client)
        self._client = adapted
        self._lock = asyncio.Lock()
        self._generation = 0
        self._held = False
        self._listener: asyncio.Task[None] | None = None

    async def tools(self) -> list[tuple[Tool, BaseTool]]:
        """List the server's tools, each with what LangChain makes of it.

        Raises:
            MCPError: The server can't be reached, or does not list its tools.
        """
        listed = await self._using(self._client.list_tools, "did not list its tools")
        made = []
        for tool in listed:
            made.append((tool, await as_langchain_tool(tool, self._client)))
        return made

    async def call(self, tool: BaseTool, name: str, arguments: dict[str, Any]) -> Any:
        """Call a tool that `tools` returned, and return its content and its artifact.

        Raises:
            ToolException: The tool reports that it failed.
            MCPError: The call did not reach its end: the server ended, was silent for too long, or broke the protocol.
        """
        function = getattr(tool, "coroutine", None)
        assert function is not None
        try:
            return await self._using(lambda: function(**arguments), f"did not finish the call of {name!r}")
        except ToolException as error:
            raise ToolException(f"MCP server {self.name!r}, tool {name!r}: {error}") from error

    def listen(self) -> None:
        """Tell `changed` of changes from now on. Older servers send them on their own, newer ones when asked to."""
        if self._listener is None:
            self._listener = asyncio.get_running_loop().create_task(self._listen())

    async def close(self) -> None:
        """Close the connection; a stdio server ends."""
        if self._listener is not None:
            self._listener.cancel()
        await self._drop(self._generation)
        self._printed.close()

    async def _using(self, work: Callable[[], Awaitable[Result]], failed: str) -> Result:
        generation = await self._connected()
        try:
            return await work()
        except (ToolException, GraphBubbleUp, asyncio.CancelledError):
            raise
        except ProtocolError as error:
            if error.code == REQUEST_TIMEOUT:
                raise MCPError(
                    f"MCP server {self.name!r} {failed} within {self._seconds:g} s: it may still be at work. Set "
                    '"timeout" (in milliseconds) in its entry of the servers file, or ask for less'
                ) from error
            if error.code == CONNECTION_CLOSED:
                await self._drop(generation)
            raise self._error(failed, error) from error
        except Exception as error:  # whatever a transport raises
            if not isinstance(error.__cause__, SchemaError):  # a result that is not as declared came all the way
                await self._drop(generation)
            raise self._error(failed, error) from error

    async def _connected(self) -> int:
        async with self._lock:
            if not self._held:
                try:
                    await self._client.__aenter__()  # type: ignore[no-untyped-call]
                except Exception as error:  # whatever a transport raises
                    await self._transport.close()  # type: ignore[no-untyped-call]
                    raise self._error("does not start" if self._is_local else "can't be reached", error) from error
                self._held = True
                self._generation += 1
            return self._generation

    async def _drop(self, generation: int) -> None:
        async with self._lock:
            if self._held and generation == self._generation:
                self._held = False
                try:
                    await self._client.close()  # type: ignore[no-untyped-call]
                except Exception as error:  # noqa: BLE001 - closing what is broken tells again why it broke
                    _log.debug("closing the connection to MCP server %r: %s", self.name, error)

    async def _listen(self) -> None:
        first = True
        while True:
            try:
                generation = await self._connected()
                if not first:
                    self._changed()  # a server that was away may have come back with other tools
                first = False
                async with listen(self._client.session, tools_list_changed=True) as events:
                    async for _ in events:
                        self._changed()
                await self._drop(generation)
            except ListenNotSupportedError:
                return
            except ProtocolError as error:
                if error.code not in (CONNECTION_CLOSED, REQUEST_TIMEOUT):
                    return  # it does not tell of changes
                await self._drop(generation)
            except (MCPError, OSError, RuntimeError, TimeoutError):
                pass
            await asyncio.sleep(_RETRY_SECONDS)

    @property
    def _is_local(self) -> bool:
        return isinstance(self._transport, StdioTransport)

    def _error(self, failed: str, error: BaseException) -> MCPError:
        said = _said(error)
        if isinstance(self._transport, StdioTransport):
            size = os.fstat(self._printed.fileno()).st_size
            start = max(0, size - 4 * _LAST_WORDS)
            words = os.pread(self._printed.fileno(), size - start, start).decode(errors="replace").strip()
            shown = f" Its last words: …{words[-_LAST_WORDS:]}" if words else ""
            command = " ".join([self._transport.command, *self._transport.args])
            step = f"Run its command to see it alone: {command}"
        else:
            shown = ""
            url = self._transport.url if isinstance(self._transport, StreamableHttpTransport) else self._transport
            step = f"Check that it runs at {url}"
        return MCPError(f"MCP server {self.name!r} {failed} ({said}). {step}.{shown}")


class _OnListChanged(MessageHandler):
    def __init__(self, changed: Callable[[], None]) -> None:
        self._tell = changed

    async def on_tool_list_changed(self, message: ToolListChangedNotification) -> None:
        self._tell()


def _said(error: BaseException) -> str:
    """Return what the first error says that is inside of groups and of FastMCP's own wrapping."""
    if isinstance(error, BaseExceptionGroup):
        return _said(error.exceptions[0])
    if isinstance(error, RuntimeError) and error.__cause__ is not None:
        return _said(error.__cause__)
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"its answer breaks the protocol at {'.'.join(map(str, first['loc']))}: {first['msg']}"
    return next(iter(str(error).splitlines()), type(error).__name__)
