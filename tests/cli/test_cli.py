"""The command line, as a user types it, on the bundled LM."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from langchain_toolken.cli.app import app
from langchain_toolken.toolkens.evidence import Evidence
from langchain_toolken.toolkens.set import ToolkenSet
from tests.support.evidence import make_evidence

EXAMPLES = Path(__file__).parents[2] / "examples"
TOOLS = str(EXAMPLES / "mytools.py")
run = CliRunner().invoke


@pytest.fixture(scope="module")
def toolkens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cli") / "my-toolkens"
    result = run(app, ["fit", "--tools", TOOLS, "--demos", str(EXAMPLES / "demos.jsonl"), "--out", str(out), "--json"])
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert facts["toolkens"] == 3
    assert facts["lm_passes"] == 1
    assert facts["solve_converged"] is True
    assert (facts["prior"], facts["lam"]) in [(point["prior"], point["lam"]) for point in facts["path"]]
    assert 0 <= facts["calibration"]["ece_after"] <= 1
    return out


def test_fit_writes_a_set_that_loads(toolkens: Path) -> None:
    assert ToolkenSet.load(toolkens).names == ("total_price", "what_is_left", "fair_share")


@pytest.mark.slow
def test_update_fits_a_further_tool_beside_a_set_that_stays(toolkens: Path, tmp_path: Path) -> None:
    two = ToolkenSet.load(toolkens).remove(["fair_share"])
    two.save(tmp_path / "two")
    out = tmp_path / "three"
    arguments = ["fit", "--tools", TOOLS, "--update", str(tmp_path / "two"), "--out", str(out), "--lam", "1e-4"]
    arguments += ["--prior", "head", "--json"]
    result = run(app, [*arguments, "--demos", str(EXAMPLES / "demos.jsonl")])
    assert result.exit_code == 0, result.output
    three = ToolkenSet.load(out)
    assert three.names == ("total_price", "what_is_left", "fair_share")
    assert torch.equal(three.matrix[:2], two.matrix)
    assert torch.equal(three.biases[:2], two.biases)
    assert (out / "report.html").exists()
    assert json.loads(result.stdout)["solve_converged"] is True
    refused = run(app, [*arguments, "--bias", "1"])
    assert refused.exit_code == 2
    assert "keeps the set's biases" in " ".join(refused.output.replace("│", " ").split())


def test_chat_answers_one_question_with_the_tools_it_was_given(toolkens: Path) -> None:
    question = "A shop sells apples for 4127 dollars each. How much do 394 apples cost?"
    result = run(app, ["chat", "--toolkens", str(toolkens), "--tools", TOOLS, "--json", question])
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert [step["tool"] for step in answer["steps"] if step["kind"] == "execute"] == ["total_price"]
    assert str(4127 * 394) in answer["text"]


def test_chat_runs_no_tool_it_was_not_given(toolkens: Path) -> None:
    question = "A shop sells apples for 4127 dollars each. How much do 394 apples cost?"
    result = run(app, ["chat", "--toolkens", str(toolkens), question])
    assert "its code is unknown" in result.output


def test_a_conversation_ends_with_an_empty_line_or_the_end_of_input(toolkens: Path) -> None:
    for typed in ("Hello!\n\n", "Hello!\n"):
        result = run(app, ["chat", "--toolkens", str(toolkens), "--tools", TOOLS], input=typed)
        assert result.exit_code == 0, result.output
        assert "reason" in result.output


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize(("typed", "ending"), [("1626038\n", "4127*394=1626038"), ("\x03", "stopped")])
@pytest.mark.slow
def test_a_person_gives_a_tool_its_result_or_stops_the_answer_with_ctrl_c(
    toolkens: Path, typed: str, ending: str
) -> None:
    import pty  # not there on Windows

    pid, terminal = pty.fork()
    if pid == 0:
        signal.alarm(120)  # outlives exec: a conversation that waits for something else must end too
        # As in a terminal. Where the tests run in the background, their shell has Ctrl-C ignored, which is inherited.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        command = [sys.executable, "-m", "langchain_toolken.cli", "chat", "--toolkens", str(toolkens)]
        os.execve(sys.executable, command, {**os.environ, "TERM": "dumb", "COLUMNS": "300"})
    answers = [
        ("empty line ends", "A shop sells apples for 4127 dollars each. How much do 394 apples cost?\n"),
        ("result of total_price", typed),
        ("empty line ends", "\n"),
    ]
    shown = unseen = ""
    while True:
        # Python's input() loses a signal between its last look for one and its read: press again, as people do,
        # but not while a busy machine is still ending the process, which a second signal would kill.
        while typed == "\x03" and len(answers) == 1 and not select.select([terminal], [], [], 15)[0]:
            os.write(terminal, typed.encode())
        try:
            piece = os.read(terminal, 4096).decode(errors="replace")
        except OSError:  # how a closed pseudo-terminal reads on Linux
            break
        if not piece:
            break
        shown, unseen = shown + piece, unseen + piece
        if answers and answers[0][0] in unseen:
            os.write(terminal, answers.pop(0)[1].encode())
            unseen = ""
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, shown
    assert ending in shown


def test_without_demonstrations_fit_says_that_these_are_priors(tmp_path: Path) -> None:
    result = run(app, ["fit", "--tools", TOOLS, "--out", str(tmp_path / "priors"), "--json"])
    assert result.exit_code == 0, result.output
    assert "prior toolkens" in result.stderr
    assert json.loads(result.stdout)["lm_passes"] == 0


def test_bad_demonstrations_are_listed_and_strict_makes_them_fatal(tmp_path: Path) -> None:
    demos = tmp_path / "demos.jsonl"
    marked = {"text": "Q: 3 apples at 4 each?\nA: 3*4=<total_price>(4, 3)=12."}
    demos.write_text(json.dumps(marked) + "\nnonsense\n", encoding="utf-8")
    arguments = ["fit", "--tools", TOOLS, "--demos", str(demos), "--out", str(tmp_path / "out"), "--json"]
    lenient = run(app, arguments)
    assert lenient.exit_code == 0, lenient.output
    facts = json.loads(lenient.stdout)
    assert (facts["demonstrations"], facts["dropped"]) == (1, 1)
    assert facts["dropped_rows"][0].startswith("line 2: not JSON")
    strict = run(app, [*arguments, "--strict"])
    assert strict.exit_code == 1
    assert "line 2: not JSON" in strict.output


def test_fit_learns_from_docstrings_unless_told_not_to(tmp_path: Path) -> None:
    tools = tmp_path / "tools.py"
    tools.write_text(
        "from langchain_core.tools import tool\n\n\n@tool\ndef add(a: float, b: float) -> float:\n"
        '    """Add.\n\n    Examples:\n        What is 2 and 3? -> add(2, 3) = 5\n    """\n    return a + b\n',
        encoding="utf-8",
    )
    arguments = ["fit", "--tools", str(tools), "--out", str(tmp_path / "out"), "--json"]
    assert json.loads(run(app, arguments).stdout)["tool_positions"] == 1
    assert json.loads(run(app, [*arguments, "--no-docstring-examples"]).stdout)["tool_positions"] == 0


@pytest.mark.slow
def test_fit_shows_what_was_tried_and_keeps_to_what_was_given(tmp_path: Path) -> None:
    given = ["fit", "--tools", TOOLS, "--demos", str(EXAMPLES / "demos.jsonl"), "--out", str(tmp_path / "set")]
    shown = run(app, [*given, "--max-false-call-rate", "0.01"])
    assert shown.exit_code == 0, shown.output
    assert "cross-validation" in shown.output
    calibration = ToolkenSet.load(tmp_path / "set").calibration
    assert calibration is not None
    assert calibration.false_call_rate <= 0.01
    assert calibration.max_false_call_rate == 0.01
    fixed = run(app, [*given, "--lam", "1e-4", "--prior-text", "both", "--bias", "-0.5", "--json"])
    facts = json.loads(fixed.stdout)
    assert (facts["lam"], facts["prior"], facts["bias"]) == (1e-4, "head/both/average", -0.5)
    assert (facts["path"], facts["calibration"]) == ([], None)


@pytest.mark.parametrize(
    ("arguments", "prior"),
    [
        (["--prior", "description"], "head/description/average"),
        (["--prior", "hidden/both"], "hidden/both/average"),
        (["--prior", "input", "--pooling", "weighted"], "input/name/weighted"),
    ],
)
def test_fit_makes_the_priors_that_are_asked_for(tmp_path: Path, arguments: list[str], prior: str) -> None:
    result = run(app, ["fit", "--tools", TOOLS, "--out", str(tmp_path / "set"), *arguments, "--json"])
    assert json.loads(result.stdout)["prior"] == f"{prior}, levelled"
    assert ToolkenSet.load(tmp_path / "set").provenance.prior == f"{prior}, levelled"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--lam", "-1"], "--lam is '-1'"),
        (["--lam", "much"], "--lam is 'much'"),
        (["--bias", "nan"], "--bias is 'nan'"),
        (["--bias", "1", "--max-false-call-rate", "0.1"], "only one of"),
        (["--prior", "auto", "--pooling", "max"], "--prior auto chooses"),
        (["--prior", "heads"], "'heads' is no setting of a prior"),
        (["--prior", "hidden/name", "--prior-text", "both"], "two of its text: name and both"),
        (["--max-false-call-rate", "1.5"], "max-false-call-rate"),
    ],
)
def test_options_that_make_no_sense_are_named(tmp_path: Path, arguments: list[str], said: str) -> None:
    result = run(app, ["fit", "--tools", TOOLS, "--out", str(tmp_path / "set"), *arguments])
    assert result.exit_code == 2
    assert said in " ".join(result.output.replace("│", "").split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--tools", "no_such_file.py"], "no_such_file.py"),
        (["--tools", "."], "is a folder, not a file"),
        (["--tools", TOOLS, "--demos", "no_such_demos.jsonl"], "no_such_demos.jsonl"),
        (["--tools", TOOLS, "--demos", str(EXAMPLES)], f"{EXAMPLES}: is a folder"),
        (["--tools", TOOLS, "--demos", os.devnull], "it holds no demonstration"),
        (["--tools", TOOLS, "--model", "./no-such-model"], "no-such-model"),
    ],
)
def test_bad_input_to_fit_is_named_and_exits_with_1(tmp_path: Path, arguments: list[str], said: str) -> None:
    result = run(app, ["fit", "--out", str(tmp_path / "out"), *arguments])
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.lstrip().startswith("error:")
    assert said in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("place", ["file", "file/set", "full"])
def test_a_folder_that_refuses_the_toolkens_is_named_before_anything_is_loaded(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    out = tmp_path / place
    result = run(app, ["fit", "--tools", TOOLS, "--model", "./no-such-model", "--out", str(out)])
    assert result.exit_code == 1
    assert result.stderr.lstrip().startswith(f"error: {out} ")
    assert "give a" in result.stderr
    assert sorted(str(each.relative_to(tmp_path)) for each in tmp_path.rglob("*")) == ["file", "full", "full/mine.txt"]


def test_ctrl_c_during_a_fit_says_what_is_kept_and_the_same_command_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    out, kept = tmp_path / "set", tmp_path / "features"
    command = ["fit", "--tools", TOOLS, "--demos", str(EXAMPLES / "demos.jsonl"), "--out", str(out), "--json"]
    command += ["--prior", "head", "--lam", "1e-4", "--bias", "0"]
    with monkeypatch.context() as patched:
        patched.setattr("langchain_toolken.training.steps.solve", interrupted)
        plain, keeping = run(app, command), run(app, [*command, "--features", str(kept)])
    assert (plain.exit_code, keeping.exit_code) == (130, 130)
    assert plain.stdout == keeping.stdout == ""
    assert plain.stderr.strip().endswith("stopped: no toolkens were written")
    assert f"the LM pass is in {kept}" in keeping.stderr
    assert not out.exists()
    again = run(app, [*command, "--features", str(kept)])
    assert json.loads(again.stdout)["lm_passes"] == 0


@pytest.mark.slow
def test_json_holds_whatever_is_shown(tmp_path: Path) -> None:
    command = ["fit", "--tools", TOOLS, "--demos", str(EXAMPLES / "demos.jsonl"), "--out", str(tmp_path / "set")]
    command += ["--prior", "head"]
    shown, facts = run(app, command, env={"COLUMNS": "200"}), json.loads(run(app, [*command, "--json"]).stdout)
    assert shown.exit_code == 0, shown.output
    rows = shown.stdout[shown.stdout.index(" toolkens ") :].splitlines()
    names = {row[1:31].strip().replace(" ", "_") for row in rows if row[1:31].strip()}
    assert names == set(facts) - {"path", "dropped_rows"}
    assert len(facts["path"]) == shown.stdout.count("head/name/average") - 1
    assert "{" not in shown.stdout
    assert "None" not in shown.stdout


def test_chat_with_a_folder_that_holds_no_toolkens_is_an_error(tmp_path: Path) -> None:
    result = run(app, ["chat", "--toolkens", str(tmp_path)])
    assert result.exit_code == 1
    assert "error:" in result.output


def test_chat_asks_for_a_question_that_it_can_answer(toolkens: Path) -> None:
    chat = ["chat", "--toolkens", str(toolkens)]
    for arguments, said in (
        (["--json"], "--json prints the answer to one question"),
        ([" "], "the question is empty"),
    ):
        refused = run(app, [*chat, *arguments], env={"COLUMNS": "200"})
        assert refused.exit_code == 2
        assert said in refused.stderr
    long = run(app, [*chat, "--json", "apples " * 3000])
    assert long.exit_code == 1
    assert long.stdout == ""
    assert "error: the prompt has 30" in long.stderr
    assert "a context of 1024" in long.stderr


def test_a_conversation_that_outgrows_the_context_starts_anew(toolkens: Path) -> None:
    typed = f"Hello!\n{'apples ' * 3000}\nHello!\n\n"
    result = run(app, ["chat", "--toolkens", str(toolkens), "--tools", TOOLS], input=typed)
    assert result.exit_code == 0, result.output
    before, after = result.output.split("the conversation starts anew")
    assert "reason" in before
    assert "reason" in after


@pytest.mark.slow
def test_the_demo_fits_asks_and_compares() -> None:
    result = run(app, ["demo", "--questions", "2", "--per-tool", "4", "--json"])
    assert result.exit_code == 0, result.output
    outcomes = json.loads(result.stdout)
    assert len(outcomes) == 2
    assert {"question", "answer", "with_toolkens", "without_tools"} <= set(outcomes[0])
    for shown in ("Fit toolkens", "reason", "without tools"):
        assert shown in result.stderr


def test_help_is_there_at_once_without_torch() -> None:
    code = (
        "import sys; from langchain_toolken.cli.app import app\n"
        "try:\n app(['--help'])\nexcept SystemExit: pass\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "COLUMNS": "100"}, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "fit" in done.stdout


def test_inspect_shows_what_the_fit_came_to(toolkens: Path) -> None:
    result = run(app, ["inspect", str(toolkens)])
    assert result.exit_code == 0, result.output
    for shown in ("3 for nano", "cross-validation", "total_price", "held-out calls"):
        assert shown in result.output
    one = run(app, ["inspect", str(toolkens), "--tool", "fair_share", "--json"])
    facts = json.loads(one.stdout)
    assert facts["name"] == "fair_share"
    assert {near["name"] for near in facts["nearest_tools"]} == {"total_price", "what_is_left"}
    assert "f1" in run(app, ["inspect", str(toolkens), "--tool", "fair_share"]).output


def test_inspect_shows_what_decides_when_to_call_and_which_tool(toolkens: Path, tmp_path: Path) -> None:
    loaded, report = ToolkenSet.load(toolkens), (toolkens / "report.json").read_text()
    informed = replace(loaded, evidence=make_evidence(loaded, threshold=1.5))
    informed.save(tmp_path / "gate", {"report.json": report})
    shown = " ".join(run(app, ["inspect", str(tmp_path / "gate")]).output.split())
    assert "when to call a gate on the state and request: above a probability of 0.818 (log odds 1.50)" in shown
    assert "which tool toolkens 0.5, rows for the request, words of the description 0.7, words of the" in shown
    assert informed.evidence is not None
    replace(loaded, evidence=Evidence(scale=0.9)).save(tmp_path / "none", {"report.json": report})
    shown = " ".join(run(app, ["inspect", str(tmp_path / "none")]).output.split())
    assert "when to call the best toolken against the best word which tool toolkens 0.9" in shown


def test_inspect_names_what_it_cannot_find(toolkens: Path, tmp_path: Path) -> None:
    unknown = run(app, ["inspect", str(toolkens), "--tool", "fair_shares"])
    assert unknown.exit_code == 1
    assert unknown.stdout == ""
    assert "did you mean fair_share?" in unknown.stderr
    nothing_like_it = run(app, ["inspect", str(toolkens), "--tool", "zzz"])
    assert "there are total_price, what_is_left, fair_share" in nothing_like_it.stderr
    ToolkenSet.load(toolkens).save(tmp_path / "bare")
    bare = run(app, ["inspect", str(tmp_path / "bare")])
    assert bare.exit_code == 1
    assert "no report.json" in " ".join(bare.output.split())
    report = json.loads((toolkens / "report.json").read_text())
    (tmp_path / "bare" / "report.json").write_text(json.dumps({**report, "tools": report["tools"][:1]}))
    edited = run(app, ["inspect", str(tmp_path / "bare"), "--tool", "fair_share"])
    assert edited.exit_code == 1
    assert "report.json says nothing of 'fair_share'" in edited.stderr


def test_a_second_fit_takes_the_lm_pass_from_its_folder(tmp_path: Path) -> None:
    kept = tmp_path / "features"
    common = ["fit", "--tools", TOOLS, "--demos", str(EXAMPLES / "demos.jsonl"), "--json", "--prior", "head"]
    common += ["--bias", "0", "--features", str(kept)]
    first = run(app, [*common, "--lam", "1e-3", "--out", str(tmp_path / "first")])
    again = run(app, [*common, "--lam", "1e-2", "--out", str(tmp_path / "again")])
    assert (first.exit_code, again.exit_code) == (0, 0), first.output + again.output
    assert [json.loads(each.stdout)["lm_passes"] for each in (first, again)] == [1, 0]
    assert json.loads(again.stdout)["features"] == str(kept)
    other = run(app, [*common, "--lam", "1e-2", "--out", str(tmp_path / "other"), "--dtype", "bfloat16"])
    assert other.exit_code == 1
    shown = " ".join(other.output.split())
    assert "dtype (float32 there, bfloat16 here)" in shown
    assert "Give another folder" in shown
    assert not (tmp_path / "other").exists()
