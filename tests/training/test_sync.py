"""`sync`: only what changed is added, updated and dropped."""

from __future__ import annotations

import threading
import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch

from langchain_toolken.errors import ToolkenError
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.toolkens.priors import PriorConfig
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.tools.mcp import mcp
from langchain_toolken.tools.spec import ToolOrigin, ToolSpec
from langchain_toolken.training.fit import fit
from langchain_toolken.training.fit_warnings import ToolkenFitWarning
from langchain_toolken.training.sync import Changes, SyncResult, changes_of, keep_in_sync, sync, sync_folder
from tests.support import mcp_servers as servers
from tests.support.tiny import save_lm
from tests.support.toolken_sets import same

NO_DATA = pytest.mark.filterwarnings("ignore:no demonstrations were given")


def spec(name: str, description: str | None = None, *, server: str | None = "shop", **fields: str) -> ToolSpec:
    said = description or f"Do {name}."
    schema = {"type": "object", "properties": {key: {"type": kind} for key, kind in fields.items()}}
    origin = None if server is None else ToolOrigin(server=server, tool=name, sha256=f"{said} {schema}")
    return ToolSpec(name=name, description=said, json_schema=schema, origin=origin)


def rows(*names: str) -> list[dict[str, Any]]:
    return [
        {
            "messages": [
                {"role": "user", "content": f"Please {name} number {n}."},
                {"role": "assistant", "tool_calls": [{"function": {"name": name, "arguments": {"n": n}}}]},
            ]
        }
        for n in range(2, 8)
        for name in names
    ]


MINE = spec("mine", server=None, n="integer")
OLD = [spec("add", n="integer"), spec("multiply", n="integer"), MINE]


@pytest.fixture(scope="module")
def fitted(tiny_llama: LanguageModel) -> ToolkenSet:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ToolkenFitWarning)
        return fit(tiny_llama, OLD, rows("add", "multiply", "mine"), lam=1e-3, prior=PriorConfig(), bias=0.5).toolkens


def test_what_changed_is_told_by_the_hash_and_tools_of_no_server_stay(fitted: ToolkenSet) -> None:
    now = [spec("add", "Sum two numbers.", n="integer"), spec("divide")]
    assert changes_of(fitted, now) == Changes(("divide",), ("add",), ("multiply",))
    same_hash = OLD[0].model_copy(update={"description": "worded otherwise by another version of this package"})
    assert not changes_of(fitted, [same_hash, OLD[1]])
    assert not changes_of(fitted, OLD)
    assert changes_of(fitted, [OLD[0], spec("multiply", server="market", n="integer")]).updated == ("multiply",)


def named(name: str, tool: str, server: str = "shop", **fields: str) -> ToolSpec:
    """A tool of a server, called by another name than it has there."""
    return spec(tool, server=server, **fields).model_copy(update={"name": name})


def test_a_row_follows_its_tool_when_names_begin_and_cease_to_collide(
    tiny_llama: LanguageModel, fitted: ToolkenSet
) -> None:
    others = spec("multiply", server="market", n="integer")
    both = [
        OLD[0],
        named("shop_multiply", "multiply", n="integer"),
        others.model_copy(update={"name": "market_multiply"}),
    ]
    assert changes_of(fitted, both) == Changes(("market_multiply",), renamed=(("multiply", "shop_multiply"),))
    with pytest.warns(ToolkenFitWarning, match="no demonstrations were given"):
        done = sync(fitted, both, model=tiny_llama).toolkens
    assert done.names == ("add", "shop_multiply", "mine", "market_multiply")
    assert torch.equal(done.matrix[:3], fitted.matrix)
    assert {call.tool for call in done.examples.calls} == {"add", "shop_multiply", "mine"}
    # The shop closes its own: the other one gets the plain name, and keeps its row.
    after = sync(done, [OLD[0], others], model=tiny_llama)
    assert after.changes == Changes(dropped=("shop_multiply",), renamed=(("market_multiply", "multiply"),))
    assert torch.equal(after.toolkens.matrix[2], done.matrix[3])


def test_without_a_change_nothing_is_loaded_and_nothing_is_saved(fitted: ToolkenSet, tmp_path: Path) -> None:
    fitted.save(tmp_path / "set")
    before = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "set").iterdir()}
    done = sync_folder(tmp_path / "set", OLD, model=tmp_path / "no LM is here")
    assert (done.fit, bool(done.changes)) == (None, False)
    assert {file.name: file.stat().st_mtime_ns for file in (tmp_path / "set").iterdir()} == before


@NO_DATA
def test_trained_rows_stay_bit_for_bit_and_take_the_new_description(
    tiny_llama: LanguageModel, fitted: ToolkenSet
) -> None:
    now = [spec("add", "Sum two numbers.", n="integer"), spec("divide")]
    done = sync(fitted, now, model=tiny_llama)
    assert done.toolkens.names == ("add", "mine", "divide")
    assert torch.equal(done.toolkens.matrix[:2], fitted.matrix[[0, 2]])
    assert torch.equal(done.toolkens.biases[:2], fitted.biases[[0, 2]])
    assert done.toolkens.specs[0] == now[0]
    assert done.toolkens.specs[1] == MINE
    assert not changes_of(done.toolkens, now)


def test_new_tools_are_fitted_on_their_demonstrations(tiny_llama: LanguageModel, fitted: ToolkenSet) -> None:
    now = [*OLD[:2], spec("divide", n="integer")]
    done = sync(fitted, now, rows("divide", "divide"), model=tiny_llama)
    assert done.toolkens.trained == [0, 1, 2, 3]
    assert done.toolkens.provenance.added["divide"].startswith("update")


def test_only_dropping_and_describing_makes_no_new_row(tiny_llama: LanguageModel, fitted: ToolkenSet) -> None:
    done = sync(fitted, [spec("add", "Sum.", n="integer")], model=tiny_llama)
    assert done.toolkens.names == ("add", "mine")
    assert done.toolkens.specs[0].description == "Sum."
    assert torch.equal(done.toolkens.matrix, fitted.matrix[[0, 2]])


def test_demonstrations_that_break_the_new_schema_are_left_out(tiny_llama: LanguageModel, fitted: ToolkenSet) -> None:
    assert {call.tool for call in fitted.examples.calls} == {"add", "multiply", "mine"}
    done = sync(fitted, [spec("add", n="string"), OLD[1]], model=tiny_llama)
    assert {call.tool for call in done.toolkens.examples.calls} == {"multiply", "mine"}


@NO_DATA
def test_a_set_without_demonstrations_becomes_what_a_fit_of_todays_tools_is(tiny_llama: LanguageModel) -> None:
    before = fit(tiny_llama, OLD).toolkens
    now = [spec("add", "Sum two numbers."), spec("divide")]
    done = sync(before, now, model=tiny_llama)
    assert done.changes == Changes(("divide",), ("add",), ("multiply",))
    assert same(done.toolkens, fit(tiny_llama, [now[0], MINE, now[1]]).toolkens)


def test_another_lm_is_refused(fitted: ToolkenSet, tiny_lm: Any) -> None:
    with pytest.raises(ToolkenError, match="fitted for"):
        sync(fitted, [spec("divide")], model=tiny_lm("gpt2"))


@NO_DATA
@pytest.mark.slow
def test_a_set_follows_its_server_while_that_runs(tmp_path: Path) -> None:
    pytest.importorskip("fastmcp", reason="the extra mcp is not installed")
    save_lm(tmp_path / "lm")
    done: list[SyncResult] = []
    later = threading.Event()

    def synced(result: SyncResult) -> None:
        done.append(result)
        later.set()

    with mcp({"mcpServers": {"shop": servers.stdio("shop")}}) as tools:
        fit(tmp_path / "lm", tools).save(tmp_path / "set")
        first = keep_in_sync(tmp_path / "set", tools, synced=synced)
        assert not first.changes
        next(tool for tool in tools if tool.name == "change").invoke({})
        assert later.wait(120)
    assert done[0].changes == Changes(("track",), ("note",), ("fail",))
    now = ToolkenSet.load(tmp_path / "set")
    assert set(now.names) == {"look_up", "cancel_order", "note", "die", "sleep", "change", "track"}
    assert "urgent" in now.specs[now.index("note")].json_schema["properties"]


@pytest.mark.slow
def test_a_server_that_is_away_costs_no_toolken(tmp_path: Path, tiny_llama: LanguageModel) -> None:
    pytest.importorskip("fastmcp", reason="the extra mcp is not installed")
    failed: list[ToolkenError] = []
    told = threading.Event()

    def tell(error: ToolkenError) -> None:
        failed.append(error)
        told.set()

    with ExitStack() as running, mcp({"mcpServers": {"other": running.enter_context(servers.http("other"))}}) as tools:
        with pytest.warns(ToolkenFitWarning):
            fit(tiny_llama, tools).save(tmp_path / "set")
        keep_in_sync(tmp_path / "set", tools, model=tiny_llama, failed=tell)
        running.close()
        tools._held.changes.note()  # a change that is told as the server goes
        assert told.wait(60)
    assert "MCP server 'other'" in str(failed[0])
    assert ToolkenSet.load(tmp_path / "set").names == ("look_up", "spell")
