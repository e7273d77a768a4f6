"""`VllmProcess`: a vLLM server that is started, waited for, and stopped with all its processes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from langchain_toolken.decoding.export import CONFIG_KEY, export
from langchain_toolken.errors import ToolkenError
from langchain_toolken.toolkens.set import ToolkenSet

PYTHON_VARIABLE = "TOOLKEN_VLLM_PYTHON"
"""Names the Python of the environment that vLLM is in."""
MADE_HERE = Path(".vllm") / "bin" / "python"
"""Where `make vllm-env` puts it."""

_LEAST_LOGPROBS = 32  # the API's 20, and those of a report
_STOPPING = ((signal.SIGINT, 20.0), (signal.SIGTERM, 10.0), (signal.SIGKILL, 10.0))  # seconds that each has
_TAIL = 25  # lines of the log that an error shows


class VllmStartError(ToolkenError, RuntimeError):
    """vLLM did not start; the message has the end of its log, and the next step."""


def vllm_python() -> str:
    """Return the Python that runs vLLM: that of the variable, of `make vllm-env`, or this one."""
    made = [path for path in (Path.cwd() / MADE_HERE,) if path.exists()]
    return os.environ.get(PYTHON_VARIABLE) or str(made[0] if made else sys.executable)


def exported(toolkens: ToolkenSet, folder: Path, model: str | None, **load: Any) -> None:
    """Export toolkens to a folder, unless they are there already.

    Args:
        toolkens: The set.
        folder: Where to.
        model: The LM; None for the one that the set names.
        **load: Arguments of `load_language_model`.

    Raises:
        VllmStartError: The folder has another set's export.
        ExportError: They can't be exported.
    """
    config = folder / "config.json"
    if not config.exists():
        export(toolkens, folder, model=model, **load)
        return
    with suppress(ValueError, KeyError, TypeError):
        if json.loads(config.read_text(encoding="utf-8"))[CONFIG_KEY]["toolkens"] == toolkens.fingerprint:
            return
    raise VllmStartError(f"{folder} is not the export of these toolkens: remove it, or give another --export-to")


class VllmProcess:
    """A vLLM server with an exported checkpoint, as a context manager.

    It runs in a session of its own, so that a Ctrl-C reaches it only through us, and takes its workers along.

    Args:
        folder: The exported checkpoint.
        python: The Python of the environment that vLLM and the plugin are in.
        flags: Further flags of `vllm serve`.
        name: The model's name for clients.
        port: Where it listens on the loopback; None for any free port.
        patience: Seconds that it has to start.

    Attributes:
        base_url: Where its API is.
        log: The file that it writes its log to.
    """

    def __init__(
        self,
        folder: Path,
        *,
        python: str,
        flags: Sequence[str] = (),
        name: str = "toolken",
        port: int | None = None,
        patience: float = 600.0,
    ) -> None:
        self._port = port or _free_port()
        self.base_url = f"http://127.0.0.1:{self._port}/v1"
        self._command = [python, "-m", "langchain_toolken_vllm", *flags_for(folder, self._port, name), *flags]
        self._patience = patience
        handle, path = tempfile.mkstemp(prefix="toolken-vllm-", suffix=".log")
        os.close(handle)
        self.log = Path(path)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process group's id while it runs."""
        return None if self._process is None else self._process.pid

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start vLLM and wait until it answers.

        Raises:
            VllmStartError: It ends before that, or takes too long.
        """
        # The second model runner of vLLM has no logits processors. The plugin ends vLLM with this process, even if it
        # is killed.
        environment = {**os.environ, "VLLM_USE_V2_MODEL_RUNNER": "0", "TOOLKEN_VLLM_ENDS_WITH": str(os.getpid())}
        with self.log.open("ab") as log:
            try:
                self._process = subprocess.Popen(
                    self._command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment,
                    start_new_session=True,
                )  # fmt: skip
            except OSError as error:
                raise VllmStartError(f"{self._command[0]} can't be run ({error}): give --vllm-python") from error
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop vLLM and all that it started."""
        if self._process is None:
            return
        for number, seconds in _STOPPING:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            try:
                self._process.wait(seconds)
                break
            except subprocess.TimeoutExpired:
                continue
        with suppress(ProcessLookupError):  # workers that outlived it
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process = None

    def _wait(self) -> None:
        assert self._process is not None
        until = time.monotonic() + self._patience
        health = self.base_url.removesuffix("/v1") + "/health"
        while self._process.poll() is None:
            with suppress(httpx.TransportError):
                if httpx.get(health, timeout=2.0).is_success:
                    return
            if time.monotonic() > until:
                raise VllmStartError(f"vLLM did not answer within {self._patience:g} seconds: see {self.log}")
            time.sleep(0.5)
        said = self.log.read_text(encoding="utf-8", errors="replace")
        python = self._command[0]
        if "No module named langchain_toolken_vllm" in said:
            raise VllmStartError(
                f"the plugin is not in vLLM's environment ({python}): run {python} -m pip install "
                f"./integrations/vllm there, make vllm-env, or name another with --vllm-python or {PYTHON_VARIABLE}"
            )
        if "No module named 'vllm'" in said:
            raise VllmStartError(
                f"vLLM is not installed for {python}: install it there (docs/serving.md), or name another Python with "
                f"--vllm-python or {PYTHON_VARIABLE}"
            )
        tail = "\n".join(said.splitlines()[-_TAIL:])
        raise VllmStartError(f"vLLM ended before it answered. The end of {self.log}:\n{tail}")


def flags_for(folder: Path, port: int, name: str) -> list[str]:
    """Return the flags of `vllm serve` that an exported checkpoint needs."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    tools = config[CONFIG_KEY]["tools"]
    overrides = json.dumps({"architectures": [f"Toolken{each}" for each in config["architectures"]]})
    return [
        *("--model", str(folder.resolve()), "--served-model-name", name),
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--hf-overrides", overrides),
        *("--max-logprobs", str(max(_LEAST_LOGPROBS, tools + 1))),
        "--enable-prompt-tokens-details",
        *("--enable-auto-tool-choice", "--tool-call-parser", "toolken"),
        "--enforce-eager",  # replayed graphs skip the plugin
    ]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
