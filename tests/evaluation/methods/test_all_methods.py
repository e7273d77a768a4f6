"""evaluation.methods.all_methods: every method does what its paper says, on one small task and one tiny LM."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from langchain_core.messages import HumanMessage

from langchain_toolken.evaluation.attempts import Attempt
from langchain_toolken.evaluation.methods.all_methods import METHODS, UnknownMethodError, methods_named
from langchain_toolken.evaluation.methods.method import Ablation
from langchain_toolken.evaluation.methods.papers import TOKENLEARNING, TOKENLEARNING_CODE, TOOLKENGPT
from langchain_toolken.evaluation.methods.published import recipe_for, trained
from langchain_toolken.evaluation.methods.react import as_trace, chains
from langchain_toolken.evaluation.methods.worked_examples import Worked
from langchain_toolken.lm.transformers_model import TransformersModel
from langchain_toolken.toolkens.priors import PriorConfig, prior_rows
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.training.demonstrations.demonstration import DemonstratedCall, Demonstration
from tests.support.small_task import DESCRIPTIONS, prompts_of, small_bench, small_task

TOOLS_IN_PROMPT = {"in_context", "retrieval", "react", "react_nearest"}
THOUGHTS = {"react", "react_nearest", "react_toolkens"}
NOTHING_BUT_THE_QUESTION = {name for name in METHODS if name.startswith("ours")}
WITHOUT_LM = "bm25"
OUTSIDE_THE_ENGINE = "tokmem"  # its tokens are inputs too, which engines don't take

pytestmark = pytest.mark.filterwarnings("ignore::langchain_toolken.training.fit_warnings.ToolkenFitWarning")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fits")  # shared: the variants of `ours` change one fitted set


EVERY = [pytest.param(name, marks=pytest.mark.slow) if name == "ours_zero_shot" else name for name in METHODS]


@pytest.mark.parametrize("name", EVERY)
def test_a_method_reads_what_its_paper_says_and_answers_every_question(
    tiny_llama: TransformersModel, folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    bench = small_bench(tiny_llama, folder)
    answer = METHODS[name].prepare(bench)
    prompts = prompts_of(bench.engine, monkeypatch)
    attempts = answer(bench.task.questions)
    assert [attempt.question for attempt in attempts] == ["0", "1", "2"]
    if name == WITHOUT_LM:
        assert (prompts, {attempt.prompt_tokens for attempt in attempts}) == ([], {0})
        return
    assert all(attempt.prompt_tokens > 0 and attempt.trace for attempt in attempts)
    assert all(step.text.strip() for attempt in attempts for step in attempt.trace if name not in TOOLS_IN_PROMPT)
    if name == OUTSIDE_THE_ENGINE:
        assert prompts == []
        return
    first = prompts[0]
    assert any(text in first for text in DESCRIPTIONS) == (name in TOOLS_IN_PROMPT)
    assert ("Thought:" in first) == (name in THOUGHTS)
    assert ("it is 5+2=" in first or "it is 6-2=" in first or "The answer is" in first or "Action:" in first) == (
        name not in NOTHING_BUT_THE_QUESTION
    )


CHOOSE_TOOLS = [name for name, method in METHODS.items() if "tool" in method.kinds and name != "ours_zero_shot"]


@pytest.mark.parametrize("name", CHOOSE_TOOLS)
def test_where_only_the_tool_is_asked_for_each_method_chooses_one(
    tiny_llama: TransformersModel, folder: Path, name: str
) -> None:
    bench = small_bench(tiny_llama, folder, small_task("tool"))
    attempts: list[Attempt] = METHODS[name].prepare(bench)(bench.task.questions)
    assert {attempt.first_tool for attempt in attempts} <= {"plus", "minus"}


def test_toolkengpt_starts_at_random_and_tokenlearning_at_the_prior(
    tiny_llama: TransformersModel, tmp_path: Path
) -> None:
    def rows(recipe: object, seed: int) -> torch.Tensor:
        bench = small_bench(tiny_llama, tmp_path, seed=seed)
        still = recipe_for(recipe, bench.task)  # type: ignore[arg-type]
        return trained(bench, type(still)(still.name, still.start, still.lam, 1e-9, 1), PriorConfig()).matrix

    prior = prior_rows(tiny_llama, small_task().specs, PriorConfig())
    torch.testing.assert_close(rows(TOKENLEARNING, 0), prior)
    torch.testing.assert_close(rows(TOKENLEARNING, 0), rows(TOKENLEARNING, 1))
    assert not torch.allclose(rows(TOOLKENGPT, 0), prior, atol=1e-3)
    assert not torch.allclose(rows(TOOLKENGPT, 0), rows(TOOLKENGPT, 1), atol=1e-3)


def test_tokenlearnings_code_pulls_with_a_force_that_does_not_grow_with_the_distance(
    tiny_llama: TransformersModel, tmp_path: Path
) -> None:
    from langchain_toolken.evaluation.methods.papers import _gradient

    bench = small_bench(tiny_llama, tmp_path)
    features, prior = bench.features(bench.task.demonstrations), torch.zeros(2, tiny_llama.hidden_size)
    for recipe, grows in ((TOKENLEARNING, True), (TOKENLEARNING_CODE, False)):
        pulls = []
        for distance in (1.0, 10.0):
            away = torch.full_like(prior, distance)
            free = _gradient(features, away, away, recipe, 0.0)  # at its own prior nothing pulls
            pulls.append(float((_gradient(features, away, prior, recipe, 0.0) - free).norm()))
        assert (pulls[1] > 9 * pulls[0]) == grows
        if not grows:
            assert pulls == pytest.approx([recipe.lam, recipe.lam], rel=1e-3)


def test_fewer_demonstrations_are_gone_through_more_often(tiny_llama: TransformersModel) -> None:
    few = small_task().shown(1)
    assert recipe_for(TOOLKENGPT, small_task()).epochs == 5
    assert (few.published, len(few.demonstrations), recipe_for(TOOLKENGPT, few).epochs) == (6, 2, 15)


def test_random_rows_in_place_of_the_prior_are_for_recipes_only(tiny_llama: TransformersModel, tmp_path: Path) -> None:
    random = Ablation(prior="random")
    METHODS["tokenlearning"].prepare(small_bench(tiny_llama, tmp_path, ablation=random))
    taking = {name for name, method in METHODS.items() if random.changes <= method.changed_by}
    assert taking == {"tokenlearning", "tokenlearning_code"}


def test_each_method_knows_what_changes_it() -> None:
    pulled = {name for name, method in METHODS.items() if Ablation(lam=0.1).changes <= method.changed_by}
    fitted = {name for name in METHODS if name.startswith("ours")} | {"react_toolkens"}
    assert pulled == fitted | {"tokenlearning", "tokenlearning_code"}
    assert all(Ablation().changes <= method.changed_by for method in METHODS.values())


def test_a_fitted_set_is_kept_and_not_fitted_again(
    tiny_llama: TransformersModel, tmp_path: Path, passes: object
) -> None:
    METHODS["toolkengpt"].prepare(small_bench(tiny_llama, tmp_path))
    before = len(passes)  # type: ignore[arg-type]
    METHODS["toolkengpt"].prepare(small_bench(tiny_llama, tmp_path))
    other_test = replace(small_task(), name="other_test")
    METHODS["toolkengpt"].prepare(small_bench(tiny_llama, tmp_path, other_test))
    assert len(passes) == before  # type: ignore[arg-type]


def test_an_unknown_method_is_named_with_those_that_there_are() -> None:
    assert [method.name for method in methods_named("ours, direct,ours")] == ["ours", "direct"]
    assert [method.name for method in methods_named("all")] == list(METHODS)
    with pytest.raises(UnknownMethodError, match="no method 'reakt'; choose among direct"):
        methods_named("reakt")


@pytest.mark.parametrize("name", ["ours", "toolkengpt", "retrieval", "react_toolkens"])
def test_requests_of_a_chat_are_asked_in_its_template_and_say_how_likely_a_call_is(
    tiny_llama: TransformersModel, tmp_path: Path, name: str
) -> None:
    task = small_task("tool")
    chats = tuple(
        Demonstration(
            text="",
            calls=(DemonstratedCall(start=0, tool=one.calls[0].tool),),
            before=(HumanMessage(one.text.partition("\n")[0].removeprefix("Q: ")),),
        )
        for one in task.demonstrations
    )
    bench = small_bench(tiny_llama, tmp_path, replace(task, demonstrations=chats, layout="{question}"))
    attempts = METHODS[name].prepare(bench)(bench.task.questions)
    assert all(attempt.first_tool in ("plus", "minus") for attempt in attempts)
    said = [attempt.call_odds for attempt in attempts]
    assert all(odds is not None for odds in said) == (name in ("ours", "toolkengpt"))


def test_our_toolkens_can_be_asked_in_the_papers_layout_too(tiny_llama: TransformersModel, folder: Path) -> None:
    bench = small_bench(tiny_llama, folder, small_task("tool"))
    (attempt, *_) = METHODS["ours_in_text"].prepare(bench)(bench.task.questions)
    assert attempt.trace[0].text == bench.task.prompt(bench.task.questions[0]) == "Q: 9 + 4?\nA:"


def test_toolkens_for_traces_are_fitted_where_each_action_ends_after_other_traces() -> None:
    traces = [as_trace(one.trace(thoughts=True), one) for one in map(Worked.of, small_task().demonstrations) if one]
    first, second = chains(traces, 5)
    assert (len(first.calls), len(second.calls)) == (5, 1)
    assert [call.tool for call in first.calls] == ["plus", "minus", "plus", "minus", "plus"]
    for call in (*first.calls, *second.calls):
        text = first.text if call in first.calls else second.text
        assert text[: call.start].endswith("\nAction:")
        assert text[call.start :].startswith(f' {{"name":"{call.tool}"}}')


def test_where_only_the_tool_is_asked_for_no_time_goes_into_arguments(
    tiny_llama: TransformersModel, folder: Path
) -> None:
    bench = small_bench(tiny_llama, folder, small_task("tool"))
    METHODS["ours"].prepare(bench)
    kept = ToolkenSet.load(bench.place("set ours", bench.ablation, "answer", None))
    assert not kept.examples.calls
