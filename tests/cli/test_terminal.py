"""What comes from files, tools and LMs can't steer a terminal, and different names look different."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.text import Text
from typer.testing import CliRunner

from langchain_toolken.cli.app import app
from langchain_toolken.cli.terminal import as_json, escaped, shown, table, terminal
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.training.fit import fit
from tests.support.tiny import save_lm
from tests.support.tools import multiply

CLI = Path(__file__).parents[2] / "langchain_toolken" / "cli"
HOSTILE = "\x1b]0;x\x07\x9b2J\u202egpj\u2066\u200b\ufeff\u00ad\r\x08\x7f\ud800\u2028"
run = CliRunner().invoke


def test_what_steers_hides_or_reorders_is_escaped() -> None:
    assert escaped("\x1b]0;x\x07") == r"\x1b]0;x\x07"
    assert escaped("a\u202eb\u200bc\U000e0041\ud800\r") == r"a\u202eb\u200bc\U000e0041\ud800\r".replace(r"\r", r"\x0d")
    assert all(character.isprintable() for character in escaped(HOSTILE))


def test_text_of_all_languages_stays() -> None:
    for text in ("Tür für 5 €\n\tund – so", "نمی‌خواهم", "👨‍👩‍👧 日本語 한국어", "ﬁ ¡olé! ́"):
        assert escaped(text) == text


def test_json_reads_back_as_what_it_was() -> None:
    value = {"name": HOSTILE, "text": "Tür – 日本\n"}
    written = as_json(value)
    assert json.loads(written) == value
    assert escaped(written) == written
    assert "日本" in written


def test_the_console_escapes_what_was_not_made_with_shown() -> None:
    out = io.StringIO()
    console = terminal(file=out)
    listed = table("tool")
    listed.add_row(Text("a\x1b[2Jb"))
    console.print(listed, Text("\x1b]0;x"), "plain \u202e string")
    assert "\x1b" not in out.getvalue()
    assert "\u202e" not in out.getvalue()
    assert r"\x1b]0;x" in out.getvalue()


def test_long_names_are_never_cut() -> None:
    out = io.StringIO()
    console = terminal(file=out)
    console.width = 40
    listed = table("tool", "calls", "nearest")
    names = [f"get_the_customer_invoice_by_its_number_{end}" for end in ("first", "last")]
    for name in names:
        listed.add_row(shown(name), "3", shown(name))
    console.print(listed)
    assert "…" not in out.getvalue()
    cells = [line.split("│")[1].strip() for line in out.getvalue().splitlines() if "│" in line]
    assert all(name in "".join(cells) for name in names)


def test_the_commands_print_through_one_place() -> None:
    for file in CLI.glob("*.py"):
        source = file.read_text()
        if file.name != "terminal.py":
            for made in ("Console(", " Text(", "(Text(", "Table(", "json.dumps"):
                assert made not in source, f"{file.name} has {made}; use cli/terminal.py"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set whose tool has a hostile description and a name that moves the cursor."""
    folder = tmp_path_factory.mktemp("hostile")
    save_lm(folder / "lm")
    with pytest.warns(UserWarning, match="no demonstrations"):
        result = fit(folder / "lm", [multiply], docstring_examples=False)
    changed = {"name": f"evil{HOSTILE[:-2]}", "description": HOSTILE[:-2]}
    spec = result.toolkens.specs[0].model_copy(update=changed)
    replace(result, toolkens=replace(result.toolkens, specs=(spec,))).save(folder / "out")
    return folder / "out"


@pytest.mark.parametrize("options", [[], ["--json"], ["--tool", f"evil{HOSTILE[:-2]}"], ["--tool", "no\x1bsuch"]])
def test_inspect_shows_a_hostile_set_harmlessly(hostile: Path, options: list[str]) -> None:
    assert ToolkenSet.load(hostile).names == (f"evil{HOSTILE[:-2]}",)
    result = run(app, ["inspect", str(hostile), *options])
    assert result.exit_code == (1 if "no\x1bsuch" in options else 0)
    for printed in (result.stdout, result.stderr):
        assert escaped(printed) == printed
    assert r"\x1b" in result.output or r"\u001b" in result.output
