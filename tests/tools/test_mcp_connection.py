"""What happens when an MCP server does not start, ends, is silent, or says what it may not. Errors name the server."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.tools import BaseTool

from langchain_toolken.tools.mcp import mcp
from langchain_toolken.tools.spec import ToolError
from tests.support import mcp_servers as servers

pytest.importorskip("fastmcp", reason="the extra mcp is not installed")


@pytest.fixture(scope="module")
def shop() -> Iterator[dict[str, BaseTool]]:
    with mcp({"mcpServers": {"shop": {**servers.stdio("shop"), "timeout": 3000}}}) as tools:
        yield {tool.name: tool for tool in tools}


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"command": "no-such-command"}, "does not start .*No such file.* Run its command .*: no-such-command"),
        ({"command": sys.executable, "args": ["-c", "1/0"]}, "does not start (?s:.*)ZeroDivisionError"),
        ({"url": "http://127.0.0.1:9/mcp"}, "can't be reached .* Check that it runs at http://127.0.0.1:9/mcp"),
        (servers.stdio("blunt liar"), "did not list its tools .*breaks the protocol at tools.0.inputSchema.type"),
    ],
)
def test_a_server_that_can_not_be_used_is_named_with_the_reason(entry: dict[str, Any], said: str) -> None:
    with pytest.raises(ToolError, match=f"MCP server 'one' {said}"):
        mcp({"mcpServers": {"one": entry}})


def test_a_server_that_dies_is_named_with_its_last_words_and_started_again(shop: dict[str, BaseTool]) -> None:
    with pytest.raises(ToolError, match="MCP server 'shop' did not finish the call of 'die' (?s:.*)out of paper"):
        shop["die"].invoke({})
    # A new process: it has counted no call before this one, so the call that broke was not made again.
    assert "1 calls" in shop["look_up"].invoke({"order": 1})[0]["text"]


async def test_an_async_caller_is_told_the_same(shop: dict[str, BaseTool]) -> None:
    with pytest.raises(ToolError, match="MCP server 'shop' did not finish the call of 'die'"):
        await shop["die"].ainvoke({})


def test_a_server_that_dies_over_http_stays_away_and_is_named() -> None:
    with servers.http("shop") as entry, mcp({"mcpServers": {"shop": entry}}) as tools:
        by_name = {tool.name: tool for tool in tools}
        with pytest.raises(ToolError, match="MCP server 'shop' did not finish the call of 'die'"):
            by_name["die"].invoke({})
        with pytest.raises(ToolError, match="MCP server 'shop' can't be reached"):
            by_name["look_up"].invoke({"order": 1})
        with pytest.raises(ToolError, match="MCP server 'shop' can't be reached"):
            tools.refresh()
        assert len(tools) == len(by_name)


def test_a_call_that_takes_longer_than_the_entry_says_is_given_up(shop: dict[str, BaseTool]) -> None:
    with pytest.raises(ToolError, match=r"MCP server 'shop' did not finish the call of 'sleep' within 3 s"):
        shop["sleep"].invoke({})


async def test_a_call_can_be_cancelled(shop: dict[str, BaseTool]) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await shop["sleep"].ainvoke({})


def test_an_argument_that_the_server_does_not_take_is_a_result_that_names_it(shop: dict[str, BaseTool]) -> None:
    call = {"type": "tool_call", "id": "1", "name": "look_up", "args": {"order": "x"}}
    message = shop["look_up"].invoke(call)
    assert message.status == "error"
    assert message.content.startswith("MCP server 'shop', tool 'look_up': ")


@pytest.mark.filterwarnings("ignore:MCP server 'liar'. left out:UserWarning")
def test_a_result_that_is_not_what_was_declared_is_an_error_that_names_the_server() -> None:
    with mcp({"mcpServers": {"liar": servers.stdio("liar")}}) as tools:
        by_name = {tool.name: tool for tool in tools}
        with pytest.raises(ToolError, match="MCP server 'liar' did not finish .*'many' is not of type 'integer'"):
            by_name["promises_a_number"].invoke({"n": 1})
        call = {"type": "tool_call", "id": "1", "name": "wants_more", "args": {"n": 1}}
        assert by_name["wants_more"].invoke(call).content == "MCP server 'liar', tool 'wants_more': 'm' is required"
        assert by_name["honest"].invoke({"n": 1})[0]["text"] == "1"


def test_tools_of_closed_connections_say_so() -> None:
    tools = mcp({"mcpServers": {"other": servers.stdio("other")}})
    spell = tools[1]
    tools.close()
    with pytest.raises(ToolError, match="MCP server 'other': its connection was closed"):
        spell.invoke({"word": "pen"})
    tools.close()
