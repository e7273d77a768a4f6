"""A vLLM server is started with what an exported checkpoint needs, waited for, and stopped with all that it started."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from langchain_toolken.decoding.export import CONFIG_KEY, export
from langchain_toolken.lm.load import load_language_model
from langchain_toolken.serve.vllm_process import VllmProcess, VllmStartError, exported, flags_for
from tests.support.tiny import save_lm
from tests.support.toolken_sets import make_toolkens

STAND_IN = """
import subprocess, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
ignoring = "import signal, time; signal.signal(2, signal.SIG_IGN); time.sleep(600)"
worker = subprocess.Popen([sys.executable, "-c", ignoring])
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"{worker.pid} {' '.join(sys.argv)}".encode())
HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "exported").mkdir()
    config = {"architectures": ["LlamaForCausalLM"], CONFIG_KEY: {"tools": 500}}
    (tmp_path / "exported" / "config.json").write_text(json.dumps(config))
    return tmp_path / "exported"


def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """Put a program where the plugin's `__main__` would be."""
    package = tmp_path / "env" / "langchain_toolken_vllm"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text(program)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "env"))


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_it_is_waited_for_and_stopped_with_its_workers(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path, monkeypatch, STAND_IN)
    with VllmProcess(folder, python=sys.executable, flags=["--max-num-seqs", "7"]) as process:
        worker, *arguments = httpx.get(f"{process.base_url}/health").text.split()
        assert arguments[-2:] == ["--max-num-seqs", "7"]
        assert process.pid is not None
        assert os.getpgid(process.pid) != os.getpgid(0)
        pids = [process.pid, int(worker)]
        assert all(map(is_running, pids))
    until = time.monotonic() + 10  # a killed process takes a moment to end
    while any(map(is_running, pids)) and time.monotonic() < until:
        time.sleep(0.02)
    assert not any(map(is_running, pids))


def test_it_starts_again_where_it_was(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, monkeypatch, STAND_IN)
    process = VllmProcess(folder, python=sys.executable)
    with process:
        assert process.pid is not None
        os.killpg(process.pid, signal.SIGKILL)
        process.stop()
        process.start()
        assert httpx.get(f"{process.base_url}/health").is_success


def test_it_ends_with_the_process_that_started_it_even_if_that_is_killed() -> None:
    plugin = Path(__file__).parents[2] / "integrations" / "vllm"
    # As __main__ of the plugin, but for vLLM itself.
    served = (
        "import os, threading, time\n"
        "from langchain_toolken_vllm.__main__ import ENDS_WITH, end_with\n"
        "threading.Thread(target=end_with, args=(int(os.environ[ENDS_WITH]),), daemon=True).start()\n"
        "time.sleep(600)"
    )
    starter = (
        "import os, subprocess, sys, time\n"
        "env = {**os.environ, 'TOOLKEN_VLLM_ENDS_WITH': str(os.getpid())}\n"
        "made = subprocess.Popen([sys.executable, '-c', sys.argv[1]], env=env, start_new_session=True)\n"
        "print(made.pid, flush=True)\n"
        "time.sleep(600)"
    )
    environment = {**os.environ, "PYTHONPATH": str(plugin)}
    with subprocess.Popen([sys.executable, "-c", starter, served], stdout=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_running(pid)
        parent.kill()
    until = time.monotonic() + 30
    while is_running(pid) and time.monotonic() < until:
        time.sleep(0.05)
    assert not is_running(pid)


def test_an_early_end_is_told_with_the_end_of_the_log(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path, monkeypatch, "raise SystemExit('no memory for the cache')")
    with pytest.raises(VllmStartError, match="ended before it answered(.|\n)*no memory for the cache"):
        VllmProcess(folder, python=sys.executable).start()


def test_without_the_plugin_it_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    with pytest.raises(VllmStartError, match="plugin is not in vLLM's environment"):
        VllmProcess(folder, python=sys.executable).start()
    with pytest.raises(VllmStartError, match="can't be run"):
        VllmProcess(folder, python="/nowhere/python").start()


def test_the_flags_name_the_class_with_toolkens_and_allow_a_whole_ranking(folder: Path) -> None:
    flags = flags_for(folder, 8123, "mine")
    assert json.loads(flags[flags.index("--hf-overrides") + 1]) == {"architectures": ["ToolkenLlamaForCausalLM"]}
    assert int(flags[flags.index("--max-logprobs") + 1]) > 500
    assert flags[flags.index("--host") + 1] == "127.0.0.1"


def test_toolkens_are_exported_once_and_never_over_others(tmp_path: Path) -> None:
    save_lm(tmp_path / "lm")
    lm = load_language_model(tmp_path / "lm")
    toolkens = make_toolkens(lm, ["multiply"])
    exported(toolkens, tmp_path / "out", None)
    written = (tmp_path / "out" / "config.json").stat().st_mtime_ns
    exported(toolkens, tmp_path / "out", None)
    assert (tmp_path / "out" / "config.json").stat().st_mtime_ns == written
    with pytest.raises(VllmStartError, match="is not the export of these toolkens"):
        exported(make_toolkens(lm, ["divide"]), tmp_path / "out", None)
    export(toolkens, tmp_path / "other")
    (tmp_path / "other" / "config.json").write_text("{")
    with pytest.raises(VllmStartError, match="is not the export"):
        exported(toolkens, tmp_path / "other", None)
