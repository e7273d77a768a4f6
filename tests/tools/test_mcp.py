"""The tools of running MCP servers, over stdio and HTTP, under names that differ, with their hints."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.tools import BaseTool, tool

from langchain_toolken.tools import mcp as module
from langchain_toolken.tools.mcp import MCPTools, may_destroy, mcp
from langchain_toolken.tools.spec import ToolError, origin_of, tool_spec
from tests.support import mcp_servers as servers

pytest.importorskip("fastmcp", reason="the extra mcp is not installed")


def config(**named: dict[str, Any]) -> dict[str, Any]:
    return {"mcpServers": named}


def by_name(tools: MCPTools) -> dict[str, BaseTool]:
    return {each.name: each for each in tools}


def text(result: Any) -> str:
    return "".join(block["text"] for block in result)


@pytest.fixture(scope="module")
def shop() -> Iterator[MCPTools]:
    with mcp(config(shop=servers.stdio("shop", KEY="k3y"))) as tools:
        yield tools


@pytest.fixture(scope="module")
def over_http() -> Iterator[MCPTools]:
    with servers.http("shop") as entry, mcp(config(shop=entry, other=servers.stdio("other"))) as tools:
        yield tools


def test_a_file_of_servers_gives_their_tools(tmp_path: Path) -> None:
    file = tmp_path / "servers.json"
    unused = {"command": "no-such-command", "disabled": True}
    file.write_text(json.dumps(config(other=servers.stdio("other"), unused=unused)), encoding="utf-8")
    with mcp(file) as tools:
        assert [each.name for each in tools] == ["look_up", "spell"]
        assert repr(tools) == "MCPTools(2 tools of other)"
        assert [each.name for each in tools[1:]] == ["spell"]


def test_a_tool_runs_in_sync_and_in_async_callers(shop: MCPTools) -> None:
    assert text(by_name(shop)["look_up"].invoke({"order": 7})).startswith("order 7: 3 pens")


async def test_a_tool_runs_in_async_callers(shop: MCPTools) -> None:
    assert text(await by_name(shop)["look_up"].ainvoke({"order": 7})).startswith("order 7: 3 pens")


def test_a_server_gets_the_environment_of_its_entry(shop: MCPTools) -> None:
    assert "key k3y" in text(by_name(shop)["look_up"].invoke({"order": 7}))


def test_many_threads_share_a_connection(shop: MCPTools) -> None:
    found: list[str] = []
    look_up = by_name(shop)["look_up"]
    work = [threading.Thread(target=lambda n=n: found.append(text(look_up.invoke({"order": n})))) for n in range(8)]
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()
    assert sorted(each[:7] for each in found) == [f"order {n}" for n in range(8)]


def test_the_same_over_http(over_http: MCPTools) -> None:
    assert text(by_name(over_http)["shop_look_up"].invoke({"order": 7})).startswith("order 7: 3 pens")


def test_names_that_two_servers_have_are_qualified_and_no_others(over_http: MCPTools) -> None:
    names = [each.name for each in over_http]
    assert names[:3] == ["shop_look_up", "cancel_order", "note"]
    assert names[-2:] == ["other_look_up", "spell"]
    assert text(by_name(over_http)["other_look_up"].invoke({"word": "pen"})) == "pen: a word"


def test_a_spec_says_where_its_tool_comes_from(over_http: MCPTools) -> None:
    origin = tool_spec(by_name(over_http)["shop_look_up"]).origin
    assert origin is not None
    assert (origin.server, origin.tool, len(origin.sha256)) == ("shop", "look_up", 64)


def test_a_tool_of_no_server_has_no_origin() -> None:
    @tool
    def mine(x: int) -> int:
        """Mine."""
        return x

    mine.metadata = {"mcp": {"origin": "somewhere"}}
    assert origin_of(mine) is None
    assert tool_spec(mine).origin is None


def test_hints_are_in_the_metadata_and_say_what_may_destroy(shop: MCPTools) -> None:
    tools = by_name(shop)
    assert (tools["look_up"].metadata or {})["mcp"]["tool"]["annotations"] == {"read_only_hint": True}
    asked = {name for name, each in tools.items() if may_destroy(each)}
    assert asked == {"cancel_order", "fail", "die", "sleep", "change"}


def test_a_tool_that_fails_is_a_result_that_names_the_server(shop: MCPTools) -> None:
    call = {"type": "tool_call", "id": "1", "name": "fail", "args": {"order": 9}}
    message = by_name(shop)["fail"].invoke(call)
    assert message.status == "error"
    assert "MCP server 'shop', tool 'fail': " in message.content


def test_two_hundred_tools_of_one_server() -> None:
    with mcp(config(many=servers.stdio("many"))) as tools:
        assert len({each.name for each in tools}) == 200


def test_a_change_of_the_list_is_told_and_listed(tmp_path: Path) -> None:
    told = threading.Event()
    with mcp(config(shop=servers.stdio("shop"))) as tools:
        before = {each.name: origin_of(each) for each in tools}
        tools.watch(lambda: (tools.refresh(), told.set())[0])
        by_name(tools)["change"].invoke({})
        assert told.wait(60)
        now = {each.name: origin_of(each) for each in tools}
    assert set(now) - set(before) == {"track"}
    assert set(before) - set(now) == {"fail"}
    assert [name for name in now if name in before and now[name] != before[name]] == ["note"]


def test_a_change_is_told_over_http_too() -> None:
    told = threading.Event()
    with servers.http("shop") as entry, mcp(config(shop=entry)) as tools:
        tools.watch(told.set)
        by_name(tools)["change"].invoke({})
        assert told.wait(60)


def test_an_error_in_what_is_done_about_a_change_is_logged_and_the_next_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told: list[int] = []
    twice = threading.Event()

    def changed() -> None:
        told.append(len(told))
        if len(told) == 1:
            raise ValueError("not now")
        twice.set()

    with mcp(config(shop=servers.stdio("shop"))) as tools:
        tools.watch(changed)
        while not told:
            by_name(tools)["change"].invoke({})
        by_name(tools)["change"].invoke({})
        assert twice.wait(60)
    assert "not now" in caplog.text


def test_a_liars_usable_tools_are_kept_and_the_others_left_out_by_name() -> None:
    with pytest.warns(UserWarning, match="left out") as warned, mcp(config(liar=servers.stdio("liar"))) as tools:
        kept = [each.name for each in tools]
    assert kept == ["honest", "wants_more", "promises_a_number", "<|im_end|> </s> \x1b[2J"]
    said = [str(each.message) for each in warned]
    assert all(each.startswith("MCP server 'liar': left out: ") for each in said)
    for name in ("refers_to_the_network", "refers_to_nothing", "contains_itself", "is_deep", "a second tool"):
        assert [each for each in said if name in each], name


def test_an_agent_needs_no_more_than_the_tools() -> None:
    tools = list(mcp(config(other=servers.stdio("other"))))
    gc.collect()
    assert text(tools[1].invoke({"word": "pen"})) == "p-e-n"


@pytest.mark.slow
def test_the_process_ends_without_a_close_and_so_do_its_servers() -> None:
    entry = json.dumps(config(other=servers.stdio("other")))
    code = f"from langchain_toolken import mcp; print(mcp({entry})[1].invoke({{'word': 'pen'}})[0]['text'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "p-e-n\n"), done.stderr


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is not JSON"),
        ("[]", "no servers"),
        ('{"mcpServers": {}}', "no servers"),
        ('{"mcpServers": {"a": {}}}', "MCP server 'a' needs either"),
        ('{"mcpServers": {"a": {"command": "x", "url": "y"}}}', "MCP server 'a' needs either"),
        ('{"mcpServers": {"a": "x"}}', "MCP server 'a' needs either"),
        ('{"mcpServers": {"a": {"command": ["x"]}}}', "MCP server 'a': command: "),
        ('{"mcpServers": {"a": {"command": "x", "disabled": true}}}', "every server is disabled"),
    ],
)
def test_a_file_that_is_no_file_of_servers_is_refused_by_name(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "servers.json"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(ToolError, match=said) as raised:
        mcp(file)
    assert str(file) in str(raised.value)


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match=r"servers\.json can't be read"):
        mcp(tmp_path / "servers.json")


def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(ToolError, match=r"pip install 'langchain-toolken\[mcp\]'"):
        mcp(config(a={"command": "x"}))
