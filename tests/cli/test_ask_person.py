"""What a person is asked when a run stops."""

from __future__ import annotations

import io

import pytest

from langchain_toolken.cli.ask_person import ask_person
from langchain_toolken.cli.terminal import terminal

LEAVE = {"action_requests": [{"name": "delete", "args": {"file": "a\x1b[2J"}}], "review_configs": []}


@pytest.mark.parametrize(
    ("typed", "decision"),
    [("y\n", "approve"), ("Yes\n", "approve"), ("\n", "reject"), ("n\n", "reject"), ("sure\n", "reject")],
)
def test_only_a_yes_approves_a_call(monkeypatch: pytest.MonkeyPatch, typed: str, decision: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    output = io.StringIO()
    assert ask_person(terminal(file=output), LEAVE) == {"decisions": [{"type": decision}]}


def test_a_call_is_shown_with_its_arguments_and_nothing_that_steers_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    ask_person(terminal(), LEAVE)
    shown = capsys.readouterr().out
    assert "run delete(" in shown
    assert "\x1b[2J" not in shown


def test_where_nobody_can_answer_a_call_is_not_approved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    answer = ask_person(terminal(file=io.StringIO()), LEAVE)
    assert answer["decisions"][0]["type"] == "reject"


def test_a_servers_question_is_shown_and_declined() -> None:
    output = io.StringIO()
    asked = {"type": "mcp_elicitation", "tool_name": "buy", "requests": [{"key": "size", "message": "Which size?"}]}
    assert ask_person(terminal(file=output), asked) == {"responses": {"size": {"action": "decline"}}}
    assert "Which size?" in output.getvalue()


def test_a_tools_result_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("42\n"))
    assert ask_person(terminal(file=io.StringIO()), "multiply(6, 7)") == "42"
