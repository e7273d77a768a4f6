"""`integrations/langgraph_server` runs under `langgraph dev`, and langgraph-sdk talks to it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest
from langgraph_sdk import get_sync_client

from langchain_toolken.training.fit import fit

ROOT = Path(__file__).parents[2]
NEEDED = ("langgraph_cli", "langgraph_api", "langgraph_runtime_inmem")
APPLES = "A shop sells apples for 7 dollars each. How much do 3 apples cost?"
CRATES = "7 identical crates weigh 4130.66 pounds altogether. What is the weight of just one of them?"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(any(find_spec(name) is None for name in NEEDED), reason="langgraph-cli[inmem] is not installed"),
]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A client of a server that was started as the README says, in a copy of the folder."""
    root = tmp_path_factory.mktemp("served")
    folder = root / "integrations" / "langgraph_server"
    shutil.copytree(ROOT / "integrations" / "langgraph_server", folder)
    shutil.copytree(ROOT / "examples", root / "examples")
    fit("nano", ROOT / "examples" / "mytools.py", ROOT / "examples" / "demos.jsonl").toolkens.save(
        folder / "my-toolkens"
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "langgraph_cli", "dev", "--no-browser", "--no-reload", "--port", str(port)]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    settings = {"PYTHONPATH": path, "LANGGRAPH_CLI_NO_ANALYTICS": "1", "LANGSMITH_TRACING": "false"}
    log = root / "log"
    with log.open("wb") as written:
        server = subprocess.Popen(command, cwd=folder, env={**os.environ, **settings}, stdout=written, stderr=written)
        try:
            address = f"http://127.0.0.1:{port}"
            _wait_for(address, server, log)
            with get_sync_client(url=address) as made:
                yield made
        finally:
            server.terminate()
            server.wait(30)


def _wait_for(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(240):
        if server.poll() is not None:
            break
        try:
            if httpx.get(f"{address}/ok").is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    raise AssertionError(f"the server did not start: {log.read_text(encoding='utf-8', errors='replace')[-3000:]}")


def asked(question: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}]}


def test_the_input_schema_asks_for_messages_alone(client: Any) -> None:
    (assistant,) = client.assistants.search(graph_id="clerk")
    schemas = client.assistants.get_schemas(assistant["assistant_id"])
    assert set(schemas["input_schema"]["properties"]) == {"messages"}
    assert {"messages", "text", "steps", "ending"} <= set(schemas["output_schema"]["properties"])


def test_a_run_streams_words_and_steps_and_the_thread_keeps_them(client: Any) -> None:
    thread = client.threads.create()["thread_id"]
    words, nodes = "", []
    for part in client.runs.stream(thread, "clerk", input=asked(APPLES), stream_mode=["updates", "custom"]):
        if part.event == "custom":
            words += part.data["text"]
        elif part.event == "updates":
            nodes += list(part.data)
    assert nodes == ["reason", "complete", "approve", "execute", "reinject", "reason"]
    state = client.threads.get_state(thread)
    assert state["values"]["ending"] == "answered"
    assert "21" in state["values"]["text"]
    assert words
    assert words in state["values"]["text"].replace("7*3=21", "7*3=")
    kinds = [step["kind"] for step in state["values"]["steps"]]
    assert kinds == [
        "reason",
        "complete",
        "execute",
        "reinject",
        "reason",
    ]
    again = client.runs.wait(thread, "clerk", input=asked(APPLES))
    assert [message["type"] for message in again["messages"]] == 2 * ["human", "ai", "tool", "ai"]


def test_a_run_is_interrupted_before_a_call_and_goes_on(client: Any) -> None:
    thread = client.threads.create()["thread_id"]
    client.runs.wait(thread, "clerk", input=asked(CRATES))
    state = client.threads.get_state(thread)
    assert state["next"] == ["approve"]
    (interrupt,) = state["interrupts"]
    (request,) = interrupt["value"]["action_requests"]
    assert request["name"] == "fair_share"
    edited = {"name": "fair_share", "args": {"amount": 4130.66, "people": 7}}
    resume = {"resume": {"decisions": [{"type": "edit", "edited_action": edited}]}}
    done = client.runs.wait(thread, "clerk", command=resume)
    assert done["ending"] == "answered"
    assert "590.09" in done["text"]
    assert len(client.threads.get_history(thread)) > 4


def test_a_call_that_is_refused_ends_the_run(client: Any) -> None:
    thread = client.threads.create()["thread_id"]
    client.runs.wait(thread, "clerk", input=asked(CRATES))
    done = client.runs.wait(thread, "clerk", command={"resume": {"decisions": [{"type": "reject"}]}})
    assert done["ending"] == "not_approved"
