"""What tests of the server share: apps over a scripted engine, clients in process, and a server on a free port."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI

from langchain_toolken.chat.model import ToolkenChat
from langchain_toolken.serve.app import make_app
from langchain_toolken.serve.completions import Served, ToolPolicy
from langchain_toolken.tools.spec import ToolSpec
from tests.support.scripted_engine import ScriptedEngine
from tests.support.toolken_sets import scripted_toolkens

DEFAULT = ToolPolicy()
HERE = "http://127.0.0.1"
NUMBERS = {"a": {"type": "integer"}, "b": {"type": "integer"}}
ADD = ToolSpec(
    name="add",
    description="Add a and b.",
    json_schema={"type": "object", "properties": NUMBERS, "required": ["a", "b"]},
)
OPENAI_ADD: dict[str, Any] = {
    "type": "function",
    "function": {"name": "add", "description": "Add a and b.", "parameters": ADD.json_schema},
}
ASKED = [{"role": "user", "content": "What is 3+4?"}]


def scripted(engine: ScriptedEngine, policy: ToolPolicy = DEFAULT, **settings: Any) -> Served:
    toolkens = scripted_toolkens(ADD)
    return Served(ToolkenChat.from_engine(engine, toolkens, **settings), toolkens, "scripted", policy)


def client(app: FastAPI, base: str = HERE) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=base)


def app_of(engine: ScriptedEngine, policy: ToolPolicy = DEFAULT, **guards: Any) -> FastAPI:
    return make_app(scripted(engine, policy), **guards)


@contextmanager
def running(app: FastAPI) -> Iterator[str]:
    """Serve an app on a free port of this machine; the address."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical", ws="none", timeout_graceful_shutdown=2)
    server = uvicorn.Server(config)
    started = threading.Event()
    startup = server.startup

    async def start(*args: Any, **kwargs: Any) -> None:
        await startup(*args, **kwargs)
        started.set()

    server.startup = start  # type: ignore[method-assign]
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    assert started.wait(30)
    try:
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(30)
