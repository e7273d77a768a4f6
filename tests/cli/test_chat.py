"""`toolken chat` passes on what a user sets about the conversation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from typer.testing import CliRunner

from langchain_toolken.cli.app import app
from langchain_toolken.lm.load import load_language_model
from tests.support.tiny import save_lm
from tests.support.toolken_sets import make_toolkens

run = CliRunner().invoke


@pytest.fixture(scope="module")
def toolkens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chat")
    save_lm(folder / "lm")
    make_toolkens(load_language_model(folder / "lm"), ["multiply"]).save(folder / "toolkens")
    return folder / "toolkens"


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The chat model and the messages of each run, in place of running it."""
    runs: list[Any] = []
    monkeypatch.setattr("langchain_toolken.agents.agent.create_toolken_agent", lambda llm, tools, **options: llm)

    def record(llm: Any, messages: list[Any], *rest: Any) -> dict[str, Any]:
        runs.append((llm, list(messages)))
        return {"messages": [*messages, AIMessage("Yes.")], "steps": []}

    monkeypatch.setattr("langchain_toolken.cli.agent_steps.show_run", record)
    return runs


def test_reinjection_system_prompt_and_limit_reach_the_conversation(toolkens: Path, seen: list[Any]) -> None:
    options = ["--reinjection", "turn", "--system", "Be brief.", "--max-tokens", "7", "--parallel"]
    result = run(app, ["chat", "--toolkens", str(toolkens), *options], input="One?\nTwo?\n\n")
    assert result.exit_code == 0, result.output
    (llm, first), (_, second) = seen
    assert (llm.reinjection, llm.max_tokens, llm.parallel_tool_calls) == ("turn", 7, True)
    assert first == [SystemMessage("Be brief."), HumanMessage("One?")]
    assert second == [*first, AIMessage("Yes."), HumanMessage("Two?")]


def test_what_is_not_set_is_left_to_the_set(toolkens: Path, seen: list[Any]) -> None:
    assert run(app, ["chat", "--toolkens", str(toolkens), "One?"]).exit_code == 0
    ((llm, messages),) = seen
    assert (llm.reinjection, llm.max_tokens, llm.model) == (None, 256, str(toolkens.parent / "lm"))
    assert messages == [HumanMessage("One?")]


def test_an_answer_that_was_stopped_is_left_out_and_one_that_was_cut_off_says_so(
    toolkens: Path, seen: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from langchain_toolken.cli import agent_steps

    recorded = agent_steps.show_run

    def show_run(llm: Any, messages: list[Any], *rest: Any) -> dict[str, Any]:
        if messages[-1].text == "A story?":
            raise KeyboardInterrupt
        return {**recorded(llm, messages, *rest), "ending": "length"}

    monkeypatch.setattr("langchain_toolken.cli.agent_steps.show_run", show_run)
    result = run(app, ["chat", "--toolkens", str(toolkens), "--max-tokens", "9"], input="One?\nA story?\nTwo?\n\n")
    assert result.exit_code == 0, result.output
    assert seen[-1][1] == [HumanMessage("One?"), AIMessage("Yes."), HumanMessage("Two?")]
    assert result.output.count("cut off after 9 tokens") == 2
    assert result.output.count("stopped") == 1
    assert run(app, ["chat", "--toolkens", str(toolkens), "A story?"]).exit_code == 130


def test_the_help_says_that_a_tools_file_is_executed() -> None:
    for command in ("chat", "fit"):
        text = " ".join(run(app, [command, "--help"], env={"COLUMNS": "200"}).output.replace("│", " ").split())
        assert "code is executed" in text
