"""Run notebooks, each from a clean kernel, and keep their outputs.

Run from the repository root: python examples/notebooks/run_notebooks.py --model MODEL [01_quickstart.ipynb ...]
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from traitlets.config import Config

FOLDER = Path(__file__).parent


def run(file: Path, model: str) -> nbformat.NotebookNode:
    """Run a notebook on an LM; nbclient.CellExecutionError if a cell fails."""
    notebook = nbformat.read(file, as_version=4)
    folder = {"metadata": {"path": str(file.parent)}}
    with tempfile.TemporaryDirectory() as sockets:
        # Sockets in a folder of ours in place of open ports, which anyone on the machine could connect to.
        ipc = Config({"KernelManager": {"transport": "ipc", "ip": f"{sockets}/kernel"}})
        client = NotebookClient(
            notebook, timeout=1200, startup_timeout=300, kernel_name="python3", resources=folder, config=ipc
        )
        client.execute(env={**os.environ, "NOTEBOOK_MODEL": model})
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times of day, new in every run
    return notebook


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("notebooks", nargs="*", help="names of files; all if none is given")
    parser.add_argument("--model", required=True, help="what MODEL is in them: a folder, a Hub id, nano")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder for what comes out; by default in place")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for file in sorted(FOLDER.glob("*.ipynb")):
        if not given.notebooks or file.name in given.notebooks:
            print(file.name, flush=True)
            nbformat.write(run(file, given.model), given.out / file.name)
