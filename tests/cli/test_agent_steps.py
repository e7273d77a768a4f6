"""The steps of an agent, as the terminal shows them."""

from __future__ import annotations

import io

from langchain_toolken.agents import Step
from langchain_toolken.cli.agent_steps import StepPrinter
from langchain_toolken.cli.terminal import terminal


def test_runners_up_that_have_no_chance_are_left_out() -> None:
    output = io.StringIO()
    others = [{"name": "send_text", "probability": 0.02}, {"name": "get_weather", "probability": 1.3e-8}]
    step: Step = {"kind": "reason", "text": "", "tool": "start_timer", "probability": 0.97, "runners_up": others}  # type: ignore[typeddict-item]
    StepPrinter(terminal(file=output)).step(step)
    assert output.getvalue().split() == ["toolken", "<start_timer>", "p=0.97", "then", "send_text", "0.02"]
