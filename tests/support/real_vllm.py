"""A real vLLM server for tests, where there is an environment that has one (`make vllm-env`)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

from langchain_toolken.serve.vllm_process import MADE_HERE, PYTHON_VARIABLE, VllmProcess

ROOT = Path(__file__).parents[2]
FLAGS = ("--max-model-len", "1024", "--dtype", "float32", "--max-num-seqs", "64")


@cache
def missing() -> str:
    """Why there is no vLLM; "" if there is."""
    python = os.environ.get(PYTHON_VARIABLE) or str(ROOT / MADE_HERE)
    if not Path(python).exists():
        return f"no vLLM here: run make vllm-env, or name a Python that has it in {PYTHON_VARIABLE}"
    tried = subprocess.run(
        [python, "-c", "import importlib.util as u; assert all(map(u.find_spec, ('vllm', 'langchain_toolken_vllm')))"],
        check=False, capture_output=True,
    )  # fmt: skip
    return "" if tried.returncode == 0 else f"{python} lacks vllm or langchain-toolken-vllm: run make vllm-env"


@contextmanager
def real_vllm(folder: Path, *flags: str, port: int | None = None) -> Iterator[VllmProcess]:
    """Run vLLM on an exported checkpoint, or skip the test. It gets one GB for its cache and the fewest seconds."""
    if missing():
        pytest.skip(missing())
    python = os.environ.get(PYTHON_VARIABLE) or str(ROOT / MADE_HERE)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
        patched.setenv("VLLM_NO_USAGE_STATS", "1")
        patched.delenv("OMP_NUM_THREADS", raising=False)  # vLLM keeps a core for its own server
        process = VllmProcess(folder, python=python, flags=[*FLAGS, *flags], port=port)
        with process:
            yield process
