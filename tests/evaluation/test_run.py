"""evaluation.run: nothing is computed twice, a killed run gives the same table, and several runs add up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from langchain_toolken.decoding.local.engine import TransformersEngine
from langchain_toolken.evaluation.attempts import Attempt
from langchain_toolken.evaluation.methods.method import Ablation, Answerer, Bench, Change
from langchain_toolken.evaluation.other_names import renamed
from langchain_toolken.evaluation.results import Header, Results, Setting
from langchain_toolken.evaluation.run import EvaluationError, Plan, metered, run, tabulate
from langchain_toolken.evaluation.tasks import Task, TaskKind, TaskQuestion
from langchain_toolken.lm.transformers_model import TransformersModel
from tests.support.small_task import small_task


@dataclass
class Scripted:
    """A method that answers at once; of `ours` all but question 1 is right, of others none but question 1."""

    name: str = "ours"
    says: str = ""
    kinds: frozenset[TaskKind] = frozenset({"number"})
    random: bool = True
    learns: bool = False
    changed_by: frozenset[Change] = frozenset({"lam"})
    prepared: int = 0
    asked: list[str] = field(default_factory=list)

    def prepare(self, bench: Bench) -> Answerer:
        self.prepared += 1

        def answer(questions: Sequence[TaskQuestion]) -> list[Attempt]:
            self.asked += [each.id for each in questions]
            right = [(each.id != "1") == (self.name == "ours") for each in questions]
            texts = [each.answers[0] if yes else "?" for each, yes in zip(questions, right, strict=True)]
            return [
                Attempt(question=each.id, text=text, prompt_tokens=7 + bench.seed)
                for each, text in zip(questions, texts, strict=True)
            ]

        return answer


@dataclass
class Named(Scripted):
    """A method that calls the tool that each question needs."""

    kinds: frozenset[TaskKind] = frozenset({"tool"})

    def prepare(self, _: Bench) -> Answerer:
        return lambda asked: [Attempt(question=each.id, ranked=(each.tool or "",)) for each in asked]


@pytest.fixture
def engine(tiny_llama: TransformersModel) -> TransformersEngine:
    return TransformersEngine(tiny_llama)


def table(out: Path, task: Task | None = None) -> Results:
    return tabulate(out, lambda _: task or small_task())


def test_a_run_goes_on_where_it_was_and_prepares_nothing_that_is_done(
    engine: TransformersEngine, tmp_path: Path
) -> None:
    method = Scripted()
    run(engine, Plan([small_task()], [method], batch_size=2), tmp_path)
    assert (method.asked, method.prepared) == (["0", "1", "2"], 1)
    run(engine, Plan([small_task()], [method], batch_size=2), tmp_path)
    assert (method.asked, method.prepared) == (["0", "1", "2"], 1)
    (file,) = tmp_path.glob("predictions/small/ours/demonstrations=all/seed-0.jsonl")
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(lines[0] + lines[1][:9])
    run(engine, Plan([small_task()], [method], batch_size=2), tmp_path)
    assert method.asked == ["0", "1", "2", "1", "2"]
    assert file.read_bytes().count(b"\n") == 3


def test_runs_of_other_methods_seeds_and_ablations_add_up(engine: TransformersEngine, tmp_path: Path) -> None:
    run(engine, Plan([small_task()], [Scripted()]), tmp_path)
    plan = Plan([small_task()], [Scripted(), Scripted("react")], seeds=2, demonstrations=(None, 1))
    run(engine, plan, tmp_path)
    run(engine, Plan([small_task()], [Scripted()], ablations=[Ablation(lam=0.5)]), tmp_path)
    rows = {(row.setting.method, row.setting.demonstrations, row.setting.ablation): row for row in table(tmp_path).rows}
    assert set(rows) == {
        *((name, count, "") for name in ("ours", "react") for count in (None, 1)),
        ("ours", None, "lam=0.5"),
    }
    ours = rows["ours", None, ""]
    assert (ours.seeds, ours.questions, ours.prompt_tokens) == (2, 3, 7.5)
    assert ours.right.mean == pytest.approx(2 / 3)
    assert rows["react", None, ""].right.mean == pytest.approx(1 / 3)
    comparisons = {(each.one.label, each.other.label): each for each in table(tmp_path).comparisons}
    assert set(comparisons) == {("react", "ours"), ("ours, lam=0.5", "ours")}
    assert comparisons["react", "ours"].difference == pytest.approx(-1 / 3)
    assert (changed := comparisons["ours, lam=0.5", "ours"]).difference == 0
    assert (changed.one.task, changed.questions) == ("small", 3)


def test_a_change_is_compared_on_the_seeds_that_both_have(engine: TransformersEngine, tmp_path: Path) -> None:
    run(engine, Plan([small_task()], [Scripted()], ablations=[Ablation(), Ablation(lam=0.5)]), tmp_path)
    other_seed = [Attempt(question=str(number), text="?") for number in range(3)]
    Setting(task="small", method="ours").file(tmp_path, 1).append(other_seed)
    found = table(tmp_path)
    assert {row.setting.label: row.right.mean for row in found.rows} == pytest.approx(
        {"ours": 1 / 3, "ours, lam=0.5": 2 / 3}
    )
    (changed,) = found.comparisons
    assert (changed.one.label, changed.difference) == ("ours, lam=0.5", 0)


def test_answers_with_renamed_tools_are_graded_by_those_names(tmp_path: Path, engine: TransformersEngine) -> None:
    own, other = small_task("tool"), renamed(small_task("tool"), "meaningless")
    run(engine, Plan([own], [Named("tokenlearning")]), tmp_path)
    run(engine, Plan([other], [Named("tokenlearning")], names="names=meaningless"), tmp_path)
    found = tabulate(tmp_path, lambda setting: renamed(own, setting.naming))
    assert [(row.setting.naming, row.right.mean) for row in found.rows] == [("own", 1.0), ("meaningless", 1.0)]
    assert table(tmp_path, own).rows[1].right.mean == 0.0


def test_a_method_is_asked_only_its_kinds_and_one_seed_if_nothing_is_random(
    engine: TransformersEngine, tmp_path: Path
) -> None:
    fixed, plans = Scripted("fixed", random=False), Scripted("plans", kinds=frozenset({"plan"}))
    plan = Plan([small_task()], [fixed, plans], seeds=3)
    run(engine, plan, tmp_path)
    assert (fixed.prepared, plans.prepared) == (1, 0)
    assert list(plan.left_out()) == ["small: without plans, which can't give what is asked for"]


def test_a_method_that_learns_is_not_asked_a_task_without_demonstrations(
    engine: TransformersEngine, tmp_path: Path
) -> None:
    learning, other = Scripted("toolkengpt", learns=True), Scripted("ours")
    plan = Plan([small_task()], [learning, other], demonstrations=(0, 1))
    run(engine, plan, tmp_path)
    assert (learning.prepared, other.prepared) == (1, 2)
    assert list(plan.left_out()) == ["small: without toolkengpt, which need demonstrations"]


def test_a_change_is_made_to_the_methods_that_it_changes(engine: TransformersEngine, tmp_path: Path) -> None:
    fitted, prompted = Scripted(), Scripted("react", changed_by=frozenset())
    plan = Plan([small_task()], [fitted, prompted], ablations=[Ablation(), Ablation(lam=0.1)])
    run(engine, plan, tmp_path)
    assert (fitted.prepared, prompted.prepared) == (2, 1)
    assert list(plan.left_out()) == ["small, lam=0.1: without react, which this does not change"]


def test_another_lms_answers_are_not_mixed_in(engine: TransformersEngine, tmp_path: Path) -> None:
    run(engine, Plan([small_task()], [Scripted()]), tmp_path)
    file = tmp_path / "header.json"
    file.write_text(file.read_text().replace('"dtype":"', '"dtype":"b').replace('"dtype": "', '"dtype": "b'))
    with pytest.raises(EvaluationError, match="give another folder with --out"):
        run(engine, Plan([small_task()], [Scripted()]), tmp_path)
    with pytest.raises(EvaluationError, match="holds no answers"):
        table(tmp_path / "empty")


def test_passes_are_counted(engine: TransformersEngine) -> None:
    with metered(engine) as meter:
        engine.score([5, 6], [[7], [8]])
    assert meter.passes >= 1
    before = meter.passes
    engine.score([5, 6, 9], [[7], [8]])
    assert meter.passes == before


@pytest.mark.slow
def test_a_run_that_is_killed_twice_ends_in_the_same_table(tmp_path: Path, tiny_llama: TransformersModel) -> None:
    script = textwrap.dedent(
        """
        import os, signal, sys
        from pathlib import Path
        from langchain_toolken.decoding.local.engine import TransformersEngine
        from langchain_toolken.evaluation.methods.plain import ChainOfThought, Direct
        from langchain_toolken.evaluation.run import Plan, run
        from langchain_toolken.lm.load import load_language_model
        from tests.support import tiny
        from tests.support.small_task import small_task

        lm = load_language_model(tiny.make_model("llama"), tokenizer=tiny.make_tokenizer())

        def killed(done, total, what):
            if what == "questions" and done >= int(sys.argv[2]):
                for file in Path(sys.argv[1]).glob("predictions/*/*/*/*.jsonl"):
                    with file.open("ab") as torn:
                        torn.write(b'{"question": "to')
                os.kill(os.getpid(), signal.SIGKILL)

        plan = Plan([small_task()], [Direct(), ChainOfThought()], batch_size=1, max_tokens=8)
        run(TransformersEngine(lm), plan, Path(sys.argv[1]), killed)
        """
    )
    root = Path(__file__).parents[2]
    for kill_at in ("2", "5"):
        ended = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path / "killed"), kill_at],
            cwd=root,
            env={**os.environ, "PYTHONPATH": str(root)},
            check=False,
        )
        assert ended.returncode == -signal.SIGKILL
    from langchain_toolken.evaluation.methods.plain import ChainOfThought, Direct

    plan = Plan([small_task()], [Direct(), ChainOfThought()], batch_size=1, max_tokens=8)
    run(TransformersEngine(tiny_llama), plan, tmp_path / "killed")
    run(TransformersEngine(tiny_llama), plan, tmp_path / "whole")

    def same(out: Path) -> str:
        cost = {"lm_passes": 0.0, "seconds": 0.0}
        return str([row.model_copy(update=cost) for row in table(out).rows])

    assert same(tmp_path / "killed") == same(tmp_path / "whole")
    for file in (tmp_path / "killed").glob("predictions/*/*/*/*.jsonl"):
        assert file.read_bytes().count(b"\n") == 3


def test_a_question_of_several_seeds_counts_once_in_every_share(tmp_path: Path) -> None:
    Setting(task="small", method="ours").file(tmp_path, 0).append(
        [Attempt(question="0", ranked=("plus",)), Attempt(question="1", ranked=("plus",))]
    )
    Setting(task="small", method="ours").file(tmp_path, 1).append([Attempt(question="0", ranked=("plus",))])
    (tmp_path / "header.json").write_text(Header.here("tiny", "float32").model_dump_json())
    (row,) = table(tmp_path).rows
    assert (row.right_tool, row.marks) == (0.5, {"among five": 0.5}), "not two of three: question 0 counts once"
