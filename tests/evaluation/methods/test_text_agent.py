"""evaluation.methods.text_agent: thoughts, actions and observations in a LangGraph loop, arguments under schemas."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from langchain_toolken.decoding.engine import Reasoning
from langchain_toolken.evaluation.attempts import Attempt
from langchain_toolken.evaluation.methods.text_agent import Shown, TextAgent, list_of_tools
from langchain_toolken.lm.transformers_model import TransformersModel
from tests.support.scripted_engine import ScriptedEngine, completion, reasoning
from tests.support.small_task import small_bench, small_task


def said(text: str, stop: str | None = None) -> Reasoning:
    return replace(reasoning(text), stopped_by=stop)


def asked(
    lm: TransformersModel, folder: Path, engine: ScriptedEngine, *, thoughts: bool = True, **settings: Any
) -> Attempt:
    task = small_task(**settings)
    bench = replace(small_bench(lm, folder, task), engine=engine)  # type: ignore[arg-type]
    agent = TextAgent(bench, lambda _: Shown(task.specs, "Tools\n\n"), thoughts=thoughts)
    (attempt,) = agent.answer(task.questions[1:2])
    return attempt


def test_a_thought_leads_to_an_action_and_its_result_to_the_answer(
    tiny_llama: TransformersModel, tmp_path: Path
) -> None:
    engine = ScriptedEngine(
        [said(" take 4 off", "\nAction:"), said(" 5 it is", "\nAnswer:"), said(" 5")],
        [completion("", {"name": "minus"}), completion('{"a":9,"b":4}', {"a": 9, "b": 4})],
    )
    attempt = asked(tiny_llama, tmp_path, engine)
    assert [step.kind for step in attempt.trace][1:] == ["thought", "tool", "arguments", "result", "thought", "text"]
    assert (attempt.calls[0].tool, attempt.calls[0].arguments, attempt.calls[0].result) == (
        "minus",
        {"a": 9, "b": 4},
        "5",
    )
    assert attempt.text.endswith("Observation: 5\nThought: 5 it is\nAnswer: 5")
    assert "Observation: 5\nThought:" in engine.decoded()[3]
    assert attempt.prompt_tokens == 3 * 10 + 2 * 30


def test_without_thoughts_the_lm_writes_labels_on_lines_begun_for_it(
    tiny_llama: TransformersModel, tmp_path: Path
) -> None:
    engine = ScriptedEngine(
        [said("", "Action:"), said("", "Answer:"), said(" 5")],
        [completion("", {"name": "minus"}), completion("", {"a": 9, "b": 4})],
    )
    attempt = asked(tiny_llama, tmp_path, engine, thoughts=False)
    assert [step.kind for step in attempt.trace][1:] == ["tool", "arguments", "result", "text"]
    assert all(stop in ("Action:", "Answer:", "Observation:", "Q:") for stop in engine.requests[0].stop)


def test_a_tools_error_is_an_observation_and_the_agent_goes_on(tiny_llama: TransformersModel, tmp_path: Path) -> None:
    engine = ScriptedEngine(
        [said(" so", "\nAction:"), said(" no", "\nAnswer:"), said(" none")],
        [completion("", {"name": "minus"}), completion("", {"a": 4, "b": 9})],
    )
    attempt = asked(tiny_llama, tmp_path, engine)
    assert attempt.calls[0].result == "Error: nothing is left"
    assert attempt.text.endswith("Answer: none")


def test_calls_end_at_the_limit_and_cut_arguments_are_not_run(tiny_llama: TransformersModel, tmp_path: Path) -> None:
    call = [completion("", {"name": "plus"}), completion("", {"a": 1, "b": 1})]
    again = [said(" more", "\nAction:")] * 3
    attempt = asked(tiny_llama, tmp_path, ScriptedEngine([*again, said(" 2")], call * 2))
    assert len(attempt.calls) == 2
    cut = [completion("", {"name": "plus"}), completion('{"a":1', None)]
    attempt = asked(tiny_llama, tmp_path, ScriptedEngine([said(" one", "\nAction:"), said(" 2")], cut))
    assert (attempt.calls[0].arguments, attempt.calls[0].result) == ({}, None)


@pytest.mark.parametrize(("room", "kept"), [(10_000, 2), (1, 1)])
def test_the_list_of_tools_ends_where_the_context_does(tiny_llama: TransformersModel, room: int, kept: int) -> None:
    engine = ScriptedEngine()
    tools, text = list_of_tools(engine, small_task().specs, room)  # type: ignore[arg-type]
    assert len(tools) == kept
    assert ("minus(" in text) == (kept == 2)


def test_a_trace_that_outgrows_the_context_ends_with_what_there_is(
    tiny_llama: TransformersModel, tmp_path: Path
) -> None:
    task = small_task()
    bench = small_bench(tiny_llama, tmp_path, task)
    agent = TextAgent(bench, lambda _: Shown(task.specs, "So. " * 400), thoughts=True)
    attempts = agent.answer(task.questions)
    assert [attempt.trace[-1].kind for attempt in attempts] == ["stop"] * 3
    assert "context of 512" in attempts[0].trace[-1].text
