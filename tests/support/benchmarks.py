"""Where the papers' data are, for tests that read them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def benchmark_folder(name: str) -> Path:
    """Return the folder of a dataset, or skip the test where it is not there."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "benchmarks"
    folder = Path(os.environ.get("TOOLKEN_DATA_DIR", beside)) / name
    if not folder.is_dir():
        pytest.skip(f"the benchmarks are not at {folder}; set TOOLKEN_DATA_DIR")
    return folder
