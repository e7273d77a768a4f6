"""The notebooks run from clean kernels, on nano; what they ship with was made on a real LM, from clean kernels too."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import pytest

from tests.house import ROOT

FOLDER = ROOT / "examples" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
# What some cell of each prints, whatever the LM.
PRINTED = {
    "01_quickstart.ipynb": "toolkens of",
    "02_toolkens_vs_react.ipynb": "questions a size",
    "03_your_own_tools.ipynb": "needless calls (of 4)",
    "04_priors_and_lambda.ipynb": "chosen: prior",
    "05_when_and_which.ipynb": "get a call",
    "06_household.ipynb": "grounded",
}


def outputs_of(file: Path) -> str:
    cells = [cell for cell in nbformat.read(file, as_version=4).cells if cell.cell_type == "code"]
    return "\n".join(output.get("text", "") for cell in cells for output in cell.outputs)


def run_all(model: str, out: Path, at_once: int) -> dict[str, subprocess.CompletedProcess[str]]:
    def run(name: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(FOLDER / "run_notebooks.py"), "--model", model, "--out", str(out), name]
        settings = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        return subprocess.run(command, env=settings, cwd=ROOT, capture_output=True, text=True, check=False)

    names = [file.name for file in NOTEBOOKS]
    with ThreadPoolExecutor(at_once) as pool:
        return dict(zip(names, pool.map(run, names), strict=True))


@pytest.fixture(scope="module")
def on_nano(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, subprocess.CompletedProcess[str]]]:
    out = tmp_path_factory.mktemp("notebooks")
    return out, run_all("nano", out, at_once=2)


def test_the_readme_links_all_notebooks() -> None:
    assert [file.name for file in NOTEBOOKS] == list(PRINTED)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(f"examples/notebooks/{name}" in readme for name in PRINTED)


@pytest.mark.slow
@pytest.mark.timeout(900)  # for all of them, on a machine that does other things too
@pytest.mark.parametrize("name", PRINTED)
def test_a_notebook_runs_from_a_clean_kernel(
    on_nano: tuple[Path, dict[str, subprocess.CompletedProcess[str]]], name: str
) -> None:
    out, done = on_nano
    assert done[name].returncode == 0, done[name].stderr[-3000:]
    assert PRINTED[name] in outputs_of(out / name)


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.name)
def test_a_notebook_ships_with_the_outputs_of_one_clean_run_on_smollm2(file: Path) -> None:
    notebook = nbformat.read(file, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not [output for cell in code for output in cell.outputs if output.output_type == "error"]
    assert PRINTED[file.name] in outputs_of(file)
    assert "nano" not in outputs_of(file)
    assert file.stat().st_size < 500_000
    top = notebook.cells[0].source
    assert all(name in top for name in ("SmolLM2-135M-Instruct", "bfloat16", "MODEL", "Qwen", "Llama"))


@pytest.mark.slow
@pytest.mark.real_lm
@pytest.mark.timeout(3600)
@pytest.mark.skipif("TOOLKEN_NOTEBOOKS" not in os.environ, reason="takes ten minutes: set TOOLKEN_NOTEBOOKS=1")
def test_the_notebooks_run_on_a_real_lm(real_lm_file: Path, tmp_path: Path) -> None:
    done = run_all(str(real_lm_file), tmp_path, at_once=1)
    assert {name: one.stderr[-3000:] for name, one in done.items() if one.returncode} == {}
