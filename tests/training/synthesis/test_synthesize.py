"""Synthesis: what is kept, what is rejected and why, what is on disk, and that nothing is run unasked."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from langchain_core.tools import tool

from langchain_toolken.disk.lock import held
from langchain_toolken.disk.writing import WriteError
from langchain_toolken.tools.spec import tool_specs
from langchain_toolken.training.demonstrations.load import check_demonstrations
from langchain_toolken.training.synthesis import file
from langchain_toolken.training.synthesis.drafts import SynthesisError
from langchain_toolken.training.synthesis.file import NO_TOOL, SynthesisWarning
from langchain_toolken.training.synthesis.synthesize import Synthesis, synthesize
from langchain_toolken.training.synthesis.writers import ChatModelWriter
from tests.support.scripted_generator import RUN, TOOLS, Example, ScriptedGenerator, add, chosen, good, weather, writer


def instead_of_first(**changed: Any) -> Callable[[str, int], list[Example]]:
    """`good`, but the first example for add is changed."""

    def examples(tool_name: str, before: int) -> list[Example]:
        made = good(tool_name, before)
        if tool_name == "add" and before == 0:
            made[0] = {**made[0], **changed}
        return made

    return examples


@pytest.fixture(autouse=True)
def _nothing_was_run() -> None:
    RUN.clear()


def test_rows_are_what_fit_reads_and_negatives_are_among_them() -> None:
    made = synthesize(TOOLS, 4, generator=writer())
    assert dict(made.kept) == {"add": 4, "weather": 4, NO_TOOL: 4}
    assert made.given_up == ()
    read = check_demonstrations(made.rows, tool_specs(TOOLS), strict=True).demonstrations
    assert [len(demonstration.calls) for demonstration in read] == [1] * 8 + [0] * 4
    first = read[0]
    assert first.text == "There are 3+20="  # the LM writes the space before the result
    assert (first.calls[0].tool, first.calls[0].start) == ("add", len(first.text))
    assert first.calls[0].args == {"a": 3, "b": 20}
    assert read[-1].text == "Well, that is easy."


def test_nothing_is_ever_run_unless_asked() -> None:
    made = synthesize(TOOLS, 2, generator=writer())
    assert RUN == []
    assert all(message["role"] != "tool" for row in made.rows for message in row["messages"])


def test_results_of_tools_that_may_run_go_into_the_rows() -> None:
    made = synthesize(TOOLS, 2, generator=writer(), execute=["add"])
    assert {name for name, _ in RUN} == {"add"}
    messages = made.rows[0]["messages"]
    assert messages[2] == {"role": "tool", "tool_call_id": "call_1", "content": "23"}
    assert messages[3] == {"role": "assistant", "content": " horses."}
    assert [len(row["messages"]) for row in made.rows] == [4, 4, 2, 2, 2, 2]
    read = check_demonstrations(made.rows, tool_specs(TOOLS), strict=True).demonstrations
    assert (read[1].text, read[1].calls) == (" horses.", ())  # no call follows the result
    made = synthesize(TOOLS, 1, generator=writer(), execute=["weather"])
    assert [message["role"] for message in made.rows[1]["messages"]] == ["user", "assistant", "tool"]


def test_a_tool_that_says_it_changes_things_runs_only_by_name() -> None:
    @tool
    def weather(city: str) -> str:
        """Look up the weather in a city."""
        RUN.append(("weather", {}))
        return "rainy"

    weather.metadata = {"destructiveHint": True}
    synthesize([add, weather], 1, generator=writer(), execute=True)
    assert {name for name, _ in RUN} == {"add"}
    synthesize([add, weather], 1, generator=writer(), execute=["weather"])
    assert {name for name, _ in RUN} == {"add", "weather"}


def test_a_coroutine_tool_can_be_run() -> None:
    @tool
    async def add(a: float, b: float) -> str:
        """Add two numbers."""
        return f"{a + b:g}"

    made = synthesize([add], 1, generator=writer(), execute=True)
    assert made.rows[0]["messages"][2]["content"] == "23"


def test_a_tool_to_run_must_be_there() -> None:
    with pytest.raises(SynthesisError, match=r"'fly'.*add, weather"):
        synthesize(TOOLS, 1, generator=writer(), execute=["fly"])


@pytest.mark.parametrize(
    ("changed", "reason", "detail"),
    [
        ({"request": "  "}, "unreadable", "empty"),
        ({"request": None}, "unreadable", "no request"),
        ({"arguments": "3, 20"}, "unreadable", "no arguments"),
        ({"arguments": {"a": 3}}, "schema", "'b' is a required property"),
        ({"arguments": {"a": 3, "b": "many"}}, "schema", "'many' is not of type 'number'"),
        ({"arguments": {"a": 3, "b": 21}}, "arguments", "not in the request: b"),
        ({"request": "The weather of 3 and 20?"}, "other tool", "no tool"),
        ({"request": "If 3 and 20 are sunny"}, "other tool", "weather"),
    ],
)
def test_a_bad_draft_is_rejected_by_name(tmp_path: Path, changed: dict[str, Any], reason: str, detail: str) -> None:
    out = tmp_path / "made.jsonl"
    made = synthesize([add, weather], 3, generator=writer(instead_of_first(**changed)), out=out)
    assert made.rejected["add"] == {reason: 1}
    assert made.reasons == {reason: 1}
    assert dict(made.kept) == {"add": 3, "weather": 3, NO_TOOL: 3}
    (line,) = (tmp_path / "made.rejected.jsonl").read_text().splitlines()
    rejected = json.loads(line)
    assert (rejected["tool"], rejected["reason"]) == ("add", reason)
    assert detail in rejected["detail"]


def test_near_duplicates_are_rejected_across_tools_too() -> None:
    def examples(tool_name: str, before: int) -> list[Example]:
        made = good(tool_name, before)
        if tool_name == "add" and before == 1:
            made[0] = {
                **good("add", 0)[0],
                "request": good("add", 0)[0]["request"].upper().replace("HOW MANY", "how many"),
            }
        if tool_name == "" and before == 0:
            made[0] = {"request": good("weather", 0)[0]["request"].replace("sunny", "Sunny"), "answer": "No."}
        return made

    made = synthesize(TOOLS, 4, generator=writer(examples))
    assert made.rejected["add"] == {"duplicate": 1}
    assert made.rejected[NO_TOOL] == {"duplicate": 1}


def test_a_call_that_fails_and_an_answer_that_knows_the_result_are_rejected() -> None:
    minus = {"request": "how many are -3 and 20 horses?", "arguments": {"a": -3, "b": 20}}
    made = synthesize([add], 2, generator=writer(instead_of_first(**minus)), execute=True)
    assert made.rejected["add"] == {"failed": 1}
    made = synthesize([add], 2, generator=writer(instead_of_first(answer="There are 3+20=23")), execute=True)
    assert made.rejected["add"] == {"result given away": 1}


def test_a_request_that_needs_a_tool_is_no_negative() -> None:
    def examples(tool_name: str, before: int) -> list[Example]:
        made = good(tool_name, before)
        if tool_name == "" and before == 0:
            made[0] = {"request": "Is it sunny anywhere?", "answer": "Yes."}
        return made

    made = synthesize(TOOLS, 2, generator=writer(examples))
    assert made.rejected[NO_TOOL] == {"needs a tool": 1}
    assert made.kept[NO_TOOL] == 2


def test_a_tool_that_yields_nothing_is_given_up_by_name_and_the_others_go_on() -> None:
    def examples(tool_name: str, before: int) -> list[Example]:
        return (
            [{"request": "add nothing", "answer": "", "arguments": {}}] * 2
            if tool_name == "add"
            else good(tool_name, before)
        )

    with pytest.warns(SynthesisWarning, match=r"tool 'add': 0 of 4 rows, given up after 6 drafts .*6 schema") as caught:
        made = synthesize(TOOLS, 4, generator=writer(examples), give_up_after=6)
    assert len(caught) == 1
    assert made.given_up == ("add",)
    assert made.kept["weather"] == 4
    assert made.rejected["add"] == {"schema": 6}


def test_a_stopped_run_gives_up_after_as_many_drafts_as_one_that_was_not_stopped(tmp_path: Path) -> None:
    """Two rows, then nothing that passes: 3 + 2 drafts over two runs, not 3 + 5."""

    class Stopped(Exception):
        pass

    drafted = 0
    stop_at = 5  # 2 rows and 3 misses

    def examples(tool_name: str, before: int) -> list[Example]:
        nonlocal drafted
        if tool_name != "add":
            return good(tool_name, before)
        drafted += 1
        if drafted > stop_at:
            raise Stopped
        return [good(tool_name, before)[0] if drafted <= 2 else {"request": "", "answer": "", "arguments": {}}]

    def run(name: str) -> Synthesis:
        return synthesize(
            TOOLS,
            3,
            generator=ChatModelWriter(ScriptedGenerator(examples=examples, choose=chosen), batch=1),
            out=tmp_path / name,
            give_up_after=5,
        )

    with pytest.raises(SynthesisError, match="Stopped"):
        run("stopped.jsonl")
    stop_at = 10**9
    with pytest.warns(SynthesisWarning, match=r"2 of 3 rows, given up after 5 drafts .*a larger give_up_after goes on"):
        made = run("stopped.jsonl")
    assert made.given_up == ("add",)
    assert sum(made.rejected["add"].values()) == 5
    with pytest.warns(SynthesisWarning, match="2 of 3 rows"):
        again = run("stopped.jsonl")
    assert sum(again.rejected["add"].values()) == 5, "a tool that was given up stays given up"


def test_a_full_disk_is_told_with_the_file(tmp_path: Path) -> None:
    out = tmp_path / "made.jsonl"
    out.symlink_to("/dev/full")
    with pytest.raises(SynthesisError, match=r"made.jsonl can't be read \(it is a device"):
        synthesize(TOOLS, 1, generator=writer(), out=out)
    out.unlink()

    def full(self: Path, *args: Any, **options: Any) -> Any:
        return open("/dev/full", *args, **options) if self == out else plain(self, *args, **options)

    plain = Path.open
    with pytest.MonkeyPatch.context() as patch, pytest.raises(WriteError, match=r"made.jsonl can't be written: No spa"):
        patch.setattr(Path, "open", full)
        synthesize(TOOLS, 1, generator=writer(), out=out)
    assert synthesize(TOOLS, 1, generator=writer(), out=out).kept["add"] == 1


def test_two_runs_on_one_file_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "made.jsonl"
    waits = Event()
    thread = Thread(target=lambda: synthesize(TOOLS, 2, generator=writer(), out=out))

    def examples(tool_name: str, before: int) -> list[Example]:
        if not thread.is_alive():
            thread.start()
            waits.wait()
        return good(tool_name, before)

    def both() -> None:
        synthesize(TOOLS, 2, generator=writer(examples), out=out)
        thread.join()

    monkeypatch.setattr(file, "held", lambda lock, on_wait: held(lock, on_wait=lambda: (waits.set(), on_wait())))
    with pytest.warns(SynthesisWarning, match="Waiting until it has finished"):
        both()
    assert len(out.read_text().splitlines()) == 6
    assert sorted(each.name for each in tmp_path.iterdir()) == ["made.jsonl"]


def test_no_row_at_all_is_an_error_that_says_what_was_rejected() -> None:
    with pytest.raises(SynthesisError, match=r"no demonstration was made \(.*unreadable"):
        synthesize(TOOLS, 4, generator=writer(lambda *_: []), give_up_after=4)


def test_a_stopped_run_goes_on_where_it_was_and_makes_the_same_file(tmp_path: Path) -> None:
    def by_number(tool_name: str, before: int) -> list[Example]:
        raise AssertionError("unused")

    class Numbered(ChatModelWriter):
        """Like a writer with a seed: batch n is always the same."""

        stop_at = 10**9
        batches = 0

        def _numbered(self, name: str, number: int) -> Any:
            Numbered.batches += 1
            if Numbered.batches > Numbered.stop_at:
                raise KeyboardInterrupt
            scripted = ScriptedGenerator(
                examples=lambda tool, _: instead_of_first(request="")(tool, number), choose=chosen
            )
            return ChatModelWriter(scripted, batch=2)

        def for_tool(self, spec: Any, number: int, kept: Any) -> Any:
            return self._numbered(spec.name, number).for_tool(spec, number, kept)

        def without_tool(self, specs: Any, number: int, kept: Any) -> Any:
            return self._numbered("", number).without_tool(specs, number, kept)

    def run(out: Path) -> None:
        generator = Numbered(ScriptedGenerator(examples=by_number, choose=chosen), batch=2)
        synthesize(TOOLS, 5, generator=generator, out=out)

    whole = tmp_path / "whole.jsonl"
    run(whole)
    needed = Numbered.batches
    for stop_at in range(1, needed):
        Numbered.batches, Numbered.stop_at = 0, stop_at
        out = tmp_path / f"stopped{stop_at}.jsonl"
        with pytest.raises(KeyboardInterrupt):
            run(out)
        Numbered.batches, Numbered.stop_at = 0, 10**9
        run(out)
        assert out.read_bytes() == whole.read_bytes()
        assert out.with_suffix(".rejected.jsonl").read_bytes() == whole.with_suffix(".rejected.jsonl").read_bytes()
    # Killed in the middle of a batch and of a line.
    for cut in (10, 300, 900):
        out = tmp_path / f"cut{cut}.jsonl"
        out.write_bytes(whole.read_bytes()[:-cut])
        out.with_suffix(".rejected.jsonl").write_bytes(whole.with_suffix(".rejected.jsonl").read_bytes())
        with pytest.warns(SynthesisWarning, match="last line was cut off"):
            run(out)
        assert out.read_bytes() == whole.read_bytes()
        assert out.with_suffix(".rejected.jsonl").read_bytes() == whole.with_suffix(".rejected.jsonl").read_bytes()


def test_a_finished_file_asks_the_generator_nothing(tmp_path: Path) -> None:
    first = synthesize(TOOLS, 2, generator=writer(), out=tmp_path / "made.jsonl")
    scripted = ScriptedGenerator(examples=good, choose=chosen)
    again = synthesize(TOOLS, 2, generator=scripted, out=tmp_path / "made.jsonl")
    assert scripted.prompts == []
    assert again.rows == first.rows


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"text": "a", "calls": []}\n', "line 1 was not written by synthesis"),
        ('{"messages": [{"role": "user", "content": "a"}]}\n', "line 1"),
        ('["a"]\n', "not an object"),
        ('{"messages": \n{}\n', "line 1 is not JSON"),
    ],
)
def test_a_file_of_something_else_is_refused_and_left_alone(tmp_path: Path, content: str, message: str) -> None:
    out = tmp_path / "mine.jsonl"
    out.write_text(content)
    with pytest.raises(SynthesisError, match=message):
        synthesize(TOOLS, 2, generator=writer(), out=out)
    assert out.read_text() == content


def test_a_generator_that_fails_leaves_what_was_made(tmp_path: Path) -> None:
    def examples(tool_name: str, before: int) -> list[Example]:
        if tool_name == "weather":
            raise ConnectionError("quota used up")
        return good(tool_name, before)

    out = tmp_path / "made.jsonl"
    with pytest.raises(SynthesisError, match=r"ConnectionError: quota used up\); 2 rows are in .*made.jsonl"):
        synthesize(TOOLS, 2, generator=writer(examples), out=out)
    assert len(out.read_text().splitlines()) == 2


def test_progress_counts_rows() -> None:
    seen: list[tuple[int, int, str]] = []
    synthesize(TOOLS, 2, generator=writer(), progress=lambda *step: seen.append(step))
    assert seen[0] == (0, 6, "synthesis")
    assert seen[-1] == (6, 6, "synthesis")
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)


def test_counts_out_of_range_are_refused() -> None:
    for wrong in ({"per_tool": 0}, {"give_up_after": 0}, {"without_tool": -1}):
        with pytest.raises(ValueError, match="must be"):
            synthesize(TOOLS, **{"per_tool": 2, **wrong}, generator=writer())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no tools"):
        synthesize([], 2, generator=writer())


def test_no_negatives_are_made_if_none_are_wanted() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = synthesize(TOOLS, 2, generator=writer(), without_tool=0)
    assert made.kept[NO_TOOL] == 0
