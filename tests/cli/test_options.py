"""--model and --model-arg: which LM the commands load, and how."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from langchain_toolken.cli.app import app
from langchain_toolken.cli.options import parse_model_args
from langchain_toolken.toolkens.set import ToolkenSet
from tests.support.gguf_files import write_gguf
from tests.support.tiny import make_model, make_tokenizer, save_lm

EXAMPLES = Path(__file__).parents[2] / "examples"
FIT = ["fit", "--tools", str(EXAMPLES / "mytools.py"), "--no-docstring-examples", "--json"]
run = CliRunner().invoke


@pytest.mark.parametrize(
    ("given", "parsed"),
    [
        (["device=cuda:1"], {"device": "cuda:1"}),
        (["device=0", "trust_remote_code=true"], {"device": 0, "trust_remote_code": True}),
        (["revision=1234567", "subfolder=1"], {"revision": "1234567", "subfolder": "1"}),
        (['quantization_config={"load_in_4bit": true}'], {"quantization_config": {"load_in_4bit": True}}),
        (["gguf_file=a=b.gguf"], {"gguf_file": "a=b.gguf"}),
        (['max_memory={"0": "8GB"', "x="], {"max_memory": '{"0": "8GB"', "x": ""}),
        (None, {}),
    ],
)
def test_values_are_json_where_they_can_be_and_text_where_they_must_be(given: Any, parsed: Any) -> None:
    assert parse_model_args(given) == parsed


@pytest.mark.parametrize(
    ("given", "reason"),
    [(["device"], "KEY=VALUE"), (["=cuda"], "KEY=VALUE"), (["a=1", "a=2"], "twice"), (["style=chat"], "see --help")],
)
def test_what_is_no_argument_is_named(given: list[str], reason: str) -> None:
    with pytest.raises(typer.BadParameter, match=reason):
        parse_model_args(given, taken={"style"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny LM as a folder and as a GGUF file, and prior toolkens for each."""
    path = tmp_path_factory.mktemp("cli")
    save_lm(path / "lm")
    write_gguf(path / "tiny.gguf", make_model("llama", seed=3), make_tokenizer())
    for model, argument in (("lm", "dtype=bf16"), ("tiny.gguf", "backend=transformers")):
        out = path / f"{model}.toolkens"
        result = run(app, [*FIT, "--model", str(path / model), "--out", str(out), "--model-arg", argument])
        assert result.exit_code == 0, result.output
    return path


@pytest.mark.parametrize("model", ["lm", "tiny.gguf"])
def test_chat_takes_the_lm_that_the_set_names(folder: Path, model: str) -> None:
    toolkens = folder / f"{model}.toolkens"
    assert ToolkenSet.load(toolkens).made_for.model_id == str(folder / model)
    arguments = ["--model-arg", "dtype=bf16", "--model-arg", "attn_implementation=eager"]
    result = run(app, ["chat", "--toolkens", str(toolkens), *arguments, "--json", "Q"])
    assert result.exit_code == 0, result.output
    json.loads(result.stdout)


def test_chat_names_the_lm_that_is_not_where_the_set_says(folder: Path, tmp_path: Path) -> None:
    save_lm(tmp_path / "here")
    out = tmp_path / "toolkens"
    assert run(app, [*FIT, "--model", str(tmp_path / "here"), "--out", str(out)]).exit_code == 0
    (tmp_path / "here").rename(tmp_path / "there")
    result = run(app, ["chat", "--toolkens", str(out), "Q"])
    assert result.exit_code == 1
    assert f"fitted for the LM {tmp_path / 'here'}" in result.output
    assert "--model" in result.output
    assert run(app, ["chat", "--toolkens", str(out), "--model", str(tmp_path / "there"), "Q"]).exit_code == 0


def test_update_takes_the_lm_that_the_set_names(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "again"
    result = run(app, [*FIT, "--update", str(folder / "lm.toolkens"), "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert ToolkenSet.load(out).made_for.model_id == str(folder / "lm")


def test_inspect_checks_that_toolkens_fit_an_lm(folder: Path) -> None:
    toolkens = str(folder / "lm.toolkens")
    assert run(app, ["inspect", toolkens, "--model", str(folder / "lm")]).exit_code == 0
    assert run(app, ["inspect", toolkens, "--model-arg", "device=cpu"]).exit_code == 0
    other = ["--model", str(folder / "tiny.gguf"), "--model-arg", "backend=transformers"]
    result = run(app, ["inspect", toolkens, *other])
    assert result.exit_code == 1
    assert "the output head" in result.output


def test_an_argument_that_is_an_option_of_the_command_is_refused(tmp_path: Path) -> None:
    for arguments in (["--model-arg", "style=chat"], ["--dtype", "float32", "--model-arg", "dtype=float16"]):
        result = run(app, [*FIT, "--out", str(tmp_path / "out"), *arguments])
        assert result.exit_code == 2
        assert "is an option of this command" in " ".join(result.output.replace("│", " ").split())
