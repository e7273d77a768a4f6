"""The bundled LM, from demonstrations to answers: what the README and docs/nano.md promise."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage, ToolMessage

from langchain_toolken import ToolkenChat, create_toolken_agent, fit_toolkens
from langchain_toolken.decoding.engine import DecodingRequest, Sampling
from langchain_toolken.decoding.local.engine import TransformersEngine
from langchain_toolken.decoding.local.shared import shared_engine
from langchain_toolken.evaluation.graders import final_number, same_number
from langchain_toolken.evaluation.nano_demonstrations import nano_demonstrations
from langchain_toolken.evaluation.questions import Question, nano_questions
from langchain_toolken.evaluation.runner import grade, summarize
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.nano import NANO_PATH
from langchain_toolken.nano.tools import MATH_TOOLS
from langchain_toolken.prompts.format import PromptFormat
from langchain_toolken.prompts.messages import render
from langchain_toolken.prompts.requests import request_of
from langchain_toolken.prompts.turns import turns_of
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.training.fit import fit
from langchain_toolken.training.result import FitResult

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def engine() -> TransformersEngine:
    return shared_engine("nano")


@pytest.fixture(scope="module")
def lm(engine: TransformersEngine) -> LanguageModel:
    return engine.lm


@pytest.fixture(scope="module")
def fitted(lm: LanguageModel) -> FitResult:
    return fit(lm, MATH_TOOLS, nano_demonstrations(15, seed=3))


@pytest.fixture(scope="module")
def questions() -> list[Question]:
    return nano_questions(100, "numbers")[::4]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(min(2, before))
    yield
    torch.set_num_threads(before)


def test_the_bundled_checkpoint_is_small_bf16_and_says_how_it_was_made() -> None:
    assert sum(file.stat().st_size for file in NANO_PATH.iterdir()) <= 24e6
    assert json.loads((NANO_PATH / "config.json").read_text())["dtype"] == "bfloat16"
    assert json.loads((NANO_PATH / "pretraining.json").read_text())["tokens"] > 0


def test_fitting_takes_one_lm_pass_and_converges(fitted: FitResult) -> None:
    assert fitted.lm_passes == 1
    assert fitted.dropped == ()
    assert fitted.unseen == ()
    assert fitted.solution is not None
    assert fitted.solution.converged


def test_toolkens_answer_questions_with_new_names_and_numbers_that_the_lm_alone_gets_wrong(
    engine: TransformersEngine, fitted: FitResult, questions: list[Question]
) -> None:
    summary = summarize(grade(ToolkenChat.from_engine(engine, fitted.toolkens), MATH_TOOLS, questions))
    assert summary.right >= 0.6
    assert summary.right - summary.plain_right >= 0.5
    assert summary.harmed <= 0.1


def test_the_same_text_comes_out_with_the_prefix_cache_and_without(
    lm: LanguageModel, fitted: FitResult, questions: list[Question]
) -> None:
    cached, fresh = TransformersEngine(lm), TransformersEngine(lm, cached_prefixes=0)
    for style in ("completion", "chat"):
        for question in questions[:8]:
            texts = []
            for engine in (cached, fresh):
                agent = create_toolken_agent(ToolkenChat.from_engine(engine, fitted.toolkens, style=style), MATH_TOOLS)
                state = agent.invoke({"messages": [HumanMessage(question.text)]})
                calls = [call["args"] for m in state["messages"] for call in getattr(m, "tool_calls", [])]
                texts.append((state["text"], calls))
            assert texts[0] == texts[1]


def test_with_toolkens_bound_but_masked_the_text_is_that_of_plain_generate(
    engine: TransformersEngine, lm: LanguageModel, fitted: FitResult, questions: list[Question]
) -> None:
    for style in ("completion", "chat"):
        for question in questions[:6]:
            asked, layout = [HumanMessage(question.text)], PromptFormat(style)
            prompt = render(lm.tokenizer, asked, layout)
            requests = (request_of(lm.tokenizer, turns_of(asked, "inline"), layout),)
            masked = DecodingRequest(
                Sampling(max_tokens=48), toolkens=fitted.toolkens, active=frozenset(), requests=requests
            )
            (ours,) = engine.reason([prompt], masked)
            with torch.inference_mode():
                plain = lm.model.generate(torch.tensor([prompt]), do_sample=False, max_new_tokens=48)[0, len(prompt) :]
            expected = [token for token in plain.tolist() if token not in lm.eos_ids]
            assert list(ours.token_ids) == expected


def test_toolkens_saved_to_a_folder_drop_into_an_existing_langgraph_agent(
    lm: LanguageModel, fitted: FitResult, tmp_path: Path
) -> None:
    fitted.toolkens.save(tmp_path / "my-toolkens")
    llm = ToolkenChat(model="nano", toolkens=tmp_path / "my-toolkens")
    agent = create_agent(llm, tools=MATH_TOOLS)
    question = "Mary has 4096 boxes with 2787 pens each. How many pens does Mary have in total?"
    messages = agent.invoke({"messages": [("user", question)]})["messages"]
    results = [message.content for message in messages if isinstance(message, ToolMessage)]
    assert results == [str(4096 * 2787)]
    assert same_number(final_number(str(messages[-1].text)), str(4096 * 2787))


def test_fit_toolkens_from_files_gives_toolkens_for_ones_own_tools() -> None:
    examples = Path(__file__).parents[2] / "examples"
    toolkens = fit_toolkens("nano", tools=examples / "mytools.py", demonstrations=examples / "demos.jsonl")
    assert isinstance(toolkens, ToolkenSet)
    assert toolkens.names == ("total_price", "what_is_left", "fair_share")
    assert toolkens.provenance.demonstrations == 82


def test_an_operation_without_a_result_is_reported_and_not_computed(
    engine: TransformersEngine, fitted: FitResult
) -> None:
    agent = create_toolken_agent(ToolkenChat.from_engine(engine, fitted.toolkens), MATH_TOOLS)
    state = agent.invoke(
        {
            "messages": [
                HumanMessage("A rectangle has an area of 735 square feet and a length of 0 feet. What is its width?")
            ]
        }
    )
    last = str(state["messages"][-1].text)
    assert "divide" in last
    assert "zero" in last
