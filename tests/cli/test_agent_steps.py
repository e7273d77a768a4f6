"""The steps of an agent, as the terminal shows them."""

from __future__ import annotations

import io

import pytest

from langchain_toolken.agents.state import Step
from langchain_toolken.cli.agent_steps import StepPrinter, probability_bar, show_run
from langchain_toolken.cli.terminal import terminal


def test_runners_up_that_have_no_chance_are_left_out() -> None:
    output = io.StringIO()
    others = [{"name": "send_text", "probability": 0.02}, {"name": "get_weather", "probability": 1.3e-8}]
    step: Step = {"kind": "reason", "text": "", "tool": "start_timer", "probability": 0.97, "runners_up": others}  # type: ignore[typeddict-item]
    StepPrinter(terminal(file=output)).step(step)
    assert output.getvalue().split() == [
        "toolken",
        "<start_timer>",
        "███████▊",
        "0.97",
        "then",
        "send_text",
        "▏",
        "0.02",
    ]


def printed(*steps: Step) -> list[str]:
    output = io.StringIO()
    printer = StepPrinter(terminal(file=output))
    for step in steps:
        printer.step(step)
    return [" ".join(line.split()) for line in output.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("share", "bar"), [(1.0, "████████"), (0.5, "████"), (0.0625, "▌"), (0.0, "▏"), (0.999, "████████"), (0.3, "██▍")]
)
def test_a_probability_is_a_bar(share: float, bar: str) -> None:
    assert probability_bar(share) == bar


def test_several_calls_of_one_answer_are_told_apart() -> None:
    lines = printed(
        {"kind": "complete", "tool": "lamp", "arguments": {"state": "on"}, "probability": 0.5},
        {"kind": "complete", "tool": "door", "arguments": {}, "probability": 0.25},
        {"kind": "complete", "tool": "radio", "text": "The arguments were cut off.", "failed": True},
        {"kind": "execute", "tool": "lamp", "result": "on", "failed": False},
        {"kind": "execute", "tool": "door", "result": "shut", "failed": False},
        {"kind": "reason", "text": ""},
        {"kind": "complete", "tool": "lamp", "arguments": {}},
        {"kind": "execute", "tool": "lamp", "result": "off", "failed": False},
        {"kind": "respond", "text": '{"lamp": "off"}'},
    )
    assert lines == [
        'complete lamp({"state": "on"}) ████ 0.5',
        "complete door({}) ██ 0.25",
        "complete radio is not called: The arguments were cut off.",
        "execute lamp: on",
        "execute door: shut",
        "complete lamp({})",
        "execute off",
        'respond {"lamp": "off"}',
    ]


def test_what_tools_stream_themselves_is_not_taken_for_text() -> None:
    class Agent:
        def stream(self, *_: object, **__: object) -> list[tuple[str, object]]:
            written = [{"seen": 3}, "halfway", {"kind": "reason", "text": "Yes."}]
            return [("custom", one) for one in written] + [("values", {"messages": []})]

    output = io.StringIO()
    assert show_run(Agent(), [], terminal(file=output)) == {"messages": []}  # type: ignore[arg-type]
    assert output.getvalue().split() == ["reason", "Yes."]
