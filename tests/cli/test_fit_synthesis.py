"""`toolken fit --synthesize`, as a user types it, on the bundled LM."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from langchain_toolken.cli.app import app
from langchain_toolken.toolkens.set import ToolkenSet
from tests.support.scripted_generator import ScriptedGenerator

EXAMPLES = Path(__file__).parents[2] / "examples"
TOOLS = str(EXAMPLES / "mytools.py")
run = CliRunner().invoke


def scripted_generator(tool_name: str, before: int) -> list[dict[str, object]]:
    things = ("pens", "cups", "hats", "keys", "eggs", "nuts", "figs", "bags", "pots", "nets", "oars", "urns")
    thing = things[before % len(things)]
    a, b = 100 * before + 60, before + 3
    worded = {
        "total_price": (
            f"What do {b} {thing} for {a} dollars each cost?",
            "They cost {result}.",
            {"price": a, "count": b},
        ),
        "what_is_left": (
            f"I had {a} {thing}, {b} were taken: what is left?",
            "Left are {result}.",
            {"amount": a, "taken": b},
        ),
        "fair_share": (
            f"{b} friends share {a} {thing}; who gets how many?",
            "Each gets {result}.",
            {"amount": a, "people": b},
        ),
    }
    if tool_name == "":
        return [{"request": f"Do you like {thing}, or the colour of {thing}?", "answer": f"I do like {thing}."}]
    request, answer, arguments = worded[tool_name]
    return [{"request": request, "answer": answer, "arguments": arguments}]


def scripted_choice(request: str) -> str:
    for mark, tool_name in (("each cost", "total_price"), ("were taken", "what_is_left"), ("share", "fair_share")):
        if mark in request:
            return tool_name
    return "none"


def test_fit_makes_its_own_demonstrations_and_goes_on_with_those_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted = ScriptedGenerator(examples=scripted_generator, choose=scripted_choice)
    asked = []
    monkeypatch.setattr("langchain.chat_models.init_chat_model", lambda name: asked.append(name) or scripted)
    out = tmp_path / "toolkens"
    command = [
        "fit",
        "--tools",
        TOOLS,
        "--out",
        str(out),
        "--synthesize",
        "5",
        "--generator",
        "test:scripted",
        "--json",
    ]
    result = run(app, [*command, "--execute"])
    assert result.exit_code == 0, result.output
    assert asked == ["test:scripted"]
    facts = json.loads(result.stdout)
    made = facts["synthesis"]
    assert made["kept"] == {"total_price": 5, "what_is_left": 5, "fair_share": 5, "": 8}
    assert made["reasons"]["unreadable"] > 0  # the script writes one example where ten were asked for
    assert facts["demonstrations"] == 38  # a row with a call and its result makes two
    assert ToolkenSet.load(out).provenance.demonstrations == 38
    rows = [json.loads(line) for line in Path(made["file"]).read_text().splitlines()]
    assert rows[0]["messages"][2]["content"] == str(60 * 3)
    prompts = len(scripted.prompts)
    result = run(app, command)
    assert json.loads(result.stdout)["synthesis"]["rows"] == 23
    assert len(scripted.prompts) == prompts


def test_ctrl_c_keeps_what_was_made_and_says_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(tool_name: str, before: int) -> list[dict[str, object]]:
        if tool_name == "what_is_left":
            raise KeyboardInterrupt
        return scripted_generator(tool_name, before)

    scripted = ScriptedGenerator(examples=interrupted, choose=scripted_choice)
    monkeypatch.setattr("langchain.chat_models.init_chat_model", lambda name: scripted)
    out, kept = tmp_path / "toolkens", tmp_path / "kept.jsonl"
    making = ["--synthesize", "2", "--generator", "test:scripted", "--synthesis-out", str(kept)]
    result = run(app, ["fit", "--tools", TOOLS, "--out", str(out), *making], env={"COLUMNS": "300"})
    assert result.exit_code == 130
    assert f"what was made is in {kept}" in result.output.replace("\n", "")
    assert len(kept.read_text().splitlines()) == 2
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--execute"], "--synthesize N"),
        (["--generator", "a:b"], "--synthesize N"),
        (["--synthesize", "2", "--execute", "--execute-tool", "fair_share"], "--execute-tool"),
        (["--synthesize", "2", "--generator", "nobody:x"], "can't be made"),
    ],
)
def test_synthesis_options_that_do_not_go_together_are_refused(
    tmp_path: Path, options: list[str], message: str
) -> None:
    result = run(app, ["fit", "--tools", TOOLS, "--out", str(tmp_path / "x"), *options], env={"COLUMNS": "300"})
    assert result.exit_code != 0
    assert message in result.output


def test_the_lm_itself_can_be_asked_and_says_what_it_could_not_make(tmp_path: Path) -> None:
    """nano is too small to write usable requests. The test is that the command names the tool and says so."""
    tools, out = tmp_path / "one.py", tmp_path / "x"
    tools.write_text(
        "from langchain_core.tools import tool\n\n@tool\ndef gone(city: str) -> str:\n    'Delete a city.'\n    1 / 0\n"
    )
    making = ["--synthesize", "1", "--style", "completion", "--give-up-after", "3", "--execute-tool", "gone"]
    result = run(app, ["fit", "--tools", str(tools), "--out", str(out), *making], env={"COLUMNS": "300"})
    assert result.exit_code == 1
    rejected = tmp_path / "x.synthesized.rejected.jsonl"
    drafts = [json.loads(line) for line in rejected.read_text().splitlines()]
    assert len(drafts) == 3
    assert all(draft["tool"] == "gone" and draft["reason"] and draft["detail"] for draft in drafts)
    assert "no demonstration was made (3 " in result.output.replace("\n", " ") or len({d["reason"] for d in drafts}) > 1
    assert str(rejected) in result.output.replace("\n", "")
    assert not out.exists()
