"""Whatever goes wrong in a run, it ends with a reason or goes on, and no call whose result is saved is made again."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import ToolMessage
from langchain_core.tools import tool

pytest.importorskip("langgraph.checkpoint.sqlite", reason="langgraph-checkpoint-sqlite is not installed")

from langgraph.checkpoint.sqlite import SqliteSaver

from langchain_toolken.tools.mcp import mcp
from tests.house import ROOT
from tests.support import agent_faults
from tests.support import mcp_servers as servers
from tests.support.agent_faults import THREAD, a_tool, an_agent, run

QUESTION = {"messages": [("user", "How many?")]}
STEPS = ["reason", "complete", "execute", "reinject", "reason", "complete", "execute", "reinject", "reason", "respond"]


@pytest.mark.slow
@pytest.mark.parametrize("fault", agent_faults.FAULTS)
def test_each_fault_ends_as_the_documentation_says(fault: str) -> None:
    page = (ROOT / "docs" / "agents.md").read_text(encoding="utf-8")
    assert agent_faults.row(fault) in page.splitlines()


def test_the_documentation_lists_no_other_faults() -> None:
    page = (ROOT / "docs" / "agents.md").read_text(encoding="utf-8")
    listed = page.partition("| what goes wrong | `ending` |")[2].partition("\n\n")[0].splitlines()[2:]
    assert [line.split(" | ")[0].removeprefix("| ") for line in listed] == list(agent_faults.FAULTS)


def test_every_state_is_stored_and_read_back_as_it_was() -> None:
    state = run(a_tool("3"), " pens.")
    assert json.loads(json.dumps({key: state[key] for key in ("text", "steps", "ending", "reasoning")}))
    assert state["reasoning"] is None


async def test_an_async_tool_over_its_time_is_cancelled() -> None:
    ended: list[str] = []

    @tool
    async def look(x: int) -> str:
        """Look up x."""
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")
        return "never"

    agent, _ = an_agent(look, tool_timeout={"look": 0.1})
    state = await agent.ainvoke(QUESTION)
    assert (state["ending"], ended) == ("tool_failed", ["cancelled"])


def test_a_limit_by_name_leaves_other_tools_alone_and_results_as_they_are() -> None:
    assert run(a_tool("3"), " pens.", tool_timeout={"another": 0.001})["text"] == "It is 3 pens."
    assert run(a_tool("3"), " pens.", tool_timeout=60)["text"] == "It is 3 pens."
    assert "ValueError: no" in run(a_tool(raising=ValueError("no")), tool_timeout=60)["messages"][-1].content


def test_limits_that_are_none_are_refused() -> None:
    for options in ({"tool_timeout": 0}, {"tool_timeout": {"look": -1}}, {"token_budget": 0}):
        with pytest.raises(ValueError, match="0|-1"):
            an_agent(a_tool(3), **options)


def test_a_question_that_is_too_long_in_itself_is_the_callers_error() -> None:
    agent, _ = an_agent(a_tool(3))
    with pytest.raises(ValueError, match="context of 512"):
        agent.invoke({"messages": [("user", "word " * 2000)]})


def test_the_budget_bounds_each_answer_too() -> None:
    agent, engine = an_agent(a_tool(3), " pens.", token_budget=30)
    agent.invoke(QUESTION)
    assert [request.sampling.max_tokens for request in engine.requests] == [30, 22]


def resume(folder: Path, *where: str) -> tuple[int, dict[str, Any]]:
    command = [sys.executable, "-m", "tests.support.killed_agent", str(folder / "db"), str(folder / "effects"), *where]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode, json.loads(done.stdout) if done.stdout else {}


@pytest.mark.skipif(sys.platform == "win32", reason="has no SIGKILL")
@pytest.mark.slow
@pytest.mark.parametrize(
    "where", ["reason", "complete", "approve", "execute", "reinject", "respond", "saving 5", "saved 5"]
)
def test_a_killed_process_goes_on_from_its_checkpoint_and_no_tool_runs_twice(tmp_path: Path, where: str) -> None:
    assert resume(tmp_path, where)[0] == -signal.SIGKILL
    code, state = resume(tmp_path)
    assert (code, state["ending"], state["kinds"]) == (0, "answered", STEPS)
    assert (state["text"], state["form"]) == ("first <1> second <2> done.", {"pens": 3})
    assert (tmp_path / "effects").read_text().split() == ["1", "2"]


@pytest.mark.skipif(sys.platform == "win32", reason="has no SIGKILL")
@pytest.mark.slow
def test_only_the_call_that_was_running_when_the_process_was_killed_is_made_again(tmp_path: Path) -> None:
    resume(tmp_path, "effect")
    assert resume(tmp_path)[1]["kinds"] == STEPS
    assert (tmp_path / "effects").read_text().split() == ["1", "1", "2"]


def test_a_full_disk_under_the_checkpointer_ends_the_run_and_it_goes_on_when_there_is_room() -> None:
    ran: list[int] = []

    @tool
    def look(x: int) -> str:
        """Look up x."""
        ran.append(x)
        if len(ran) == 1:  # from here on the database can't grow
            connection.execute(f"PRAGMA max_page_count = {connection.execute('PRAGMA page_count').fetchone()[0]}")
        return "3" * 20_000

    connection = sqlite3.connect(":memory:", check_same_thread=False)
    saver = SqliteSaver(connection)
    agent, engine = an_agent(look, " pens.", checkpointer=saver)
    engine.context_length = 1_000_000
    with pytest.raises(sqlite3.OperationalError, match="full"):
        agent.invoke(QUESTION, THREAD, durability="sync")
    connection.rollback()
    connection.execute("PRAGMA max_page_count = 1000000")
    assert agent.get_state(THREAD).next == ("execute",)
    state = agent.invoke(None, THREAD, durability="sync")
    assert state["ending"] == "answered"
    assert [message.name for message in state["messages"] if isinstance(message, ToolMessage)] == ["look"]


def test_a_server_that_dies_in_the_middle_ends_the_run_with_its_name() -> None:
    pytest.importorskip("fastmcp", reason="the extra mcp is not installed")
    with mcp({"mcpServers": {"shop": servers.stdio("shop")}}) as tools:
        die = next(tool for tool in tools if tool.name == "die")
        state = run(die, arguments={})
    assert state["ending"] == "tool_failed"
    assert "MCP server 'shop' did not finish the call of 'die'" in state["messages"][-1].content
