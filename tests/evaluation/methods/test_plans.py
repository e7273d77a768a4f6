"""evaluation.methods.plans: plans toolken by toolken put each action's and object's text into the plan."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from langchain_toolken.evaluation.methods.all_methods import METHODS
from langchain_toolken.evaluation.methods.plans import plan_text
from langchain_toolken.evaluation.task_loaders import load_task
from langchain_toolken.lm.transformers_model import TransformersModel
from langchain_toolken.toolkens.set import ToolkenSet
from tests.support.small_task import prompts_of, small_bench

PLAN = "Task 1:\nI am in ['sink'].\nGoal:\nRest\nPlan:\n[SIT] <couch>\n[END]"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "virtualhome"
    folder.mkdir()
    calls = [{"start": PLAN.index(name), "tool": name} for name in ("[SIT]", "<couch>", "[END]")]
    for split in ("train", "dev"):
        (folder / f"{split}.jsonl").write_text(json.dumps({"text": PLAN, "calls": calls}) + "\n")
    names = ("[SIT]", "<couch>", "[END]")
    (folder / "tools.jsonl").write_text("".join(json.dumps({"name": name}) + "\n" for name in names))
    return folder.parent


def test_an_object_follows_its_action_and_an_action_begins_a_line() -> None:
    assert plan_text(["[SIT]"]) == "[SIT]"
    assert plan_text(["[SIT]", "<couch>"]) == "[SIT] <couch>\n"
    assert plan_text(["[SIT]", "<couch>", "[END]"]) == "[SIT] <couch>\n[END]"
    assert plan_text(["[DRINK]", "[END]"]) == "[DRINK]\n[END]"


@pytest.mark.filterwarnings("ignore::langchain_toolken.training.fit_warnings.ToolkenFitWarning")
@pytest.mark.parametrize("name", ["direct", "in_context", "toolkengpt", "ours"])
def test_a_plan_is_written_after_the_question_and_only_in_context_lists_the_actions(
    tiny_llama: TransformersModel, tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    bench = small_bench(tiny_llama, tmp_path, load_task("virtualhome", data))
    answer = METHODS[name].prepare(bench)
    prompts = prompts_of(bench.engine, monkeypatch)
    (attempt,) = answer(bench.task.questions)
    assert prompts[0].endswith("Goal:\nRest\nPlan:\n")
    assert ("Actions: [SIT]" in prompts[0]) == (name == "in_context")
    written = {"[SIT]", "<couch>", "[END]"}
    if name in ("toolkengpt", "ours"):
        assert set(attempt.text.split()) <= written
        assert [call.result for call in attempt.calls] == attempt.text.split()


@pytest.mark.filterwarnings("ignore::langchain_toolken.training.fit_warnings.ToolkenFitWarning")
def test_ours_fits_plans_in_the_style_in_which_they_are_written_also_on_a_chat_lm(
    tiny_llama: TransformersModel, tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = "{% for message in messages %}<{{ message['role'] }}>{{ message['content'] }}\n{% endfor %}"
    monkeypatch.setattr(tiny_llama.tokenizer, "chat_template", template, raising=False)
    METHODS["ours"].prepare(small_bench(tiny_llama, tmp_path, load_task("virtualhome", data)))
    (kept,) = tmp_path.rglob("toolkens.json")
    assert ToolkenSet.load(kept.parent).provenance.style == "completion"
