"""The server over a real socket: OpenAI's own client, clients that leave, clients that don't read, many at once."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest

from langchain_toolken.decoding.cancellation import DecodingCancelledError, current_cancellation
from langchain_toolken.decoding.engine import DecodingRequest, Reasoning
from langchain_toolken.serve.app import make_app
from tests.support.scripted_engine import ScriptedEngine, completion, reasoning
from tests.support.serving import ASKED, OPENAI_ADD, app_of, client, running, scripted

CALL = reasoning("It is", "add")
ARGUMENTS = completion('{"a":3,"b":4}', {"a": 3, "b": 4})


def openai_client(address: str, key: str = "none") -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{address}/v1", api_key=key, max_retries=0, timeout=30)


class EndlessEngine(ScriptedEngine):
    """Decodes until it is stopped."""

    begun: threading.Event
    stopped: threading.Event

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.stopped = threading.Event(), threading.Event()

    def reason(self, prompts: Sequence[Sequence[int]], request: DecodingRequest) -> list[Reasoning]:
        cancellation = current_cancellation.get()
        assert cancellation is not None
        self.begun.set()
        with cancellation.stopping(self.stopped.set):
            self.stopped.wait(30)
        raise DecodingCancelledError("stopped")

    def stream(self, prompt: Sequence[int], request: DecodingRequest) -> Any:
        try:
            self.begun.set()
            while True:
                yield "word " * 20_000
        finally:
            self.stopped.set()


def test_openais_client_reads_an_answer_with_a_call() -> None:
    with running(app_of(ScriptedEngine([CALL], [ARGUMENTS]))) as address, openai_client(address) as api:
        answer = api.chat.completions.create(model="scripted", messages=ASKED, tools=[OPENAI_ADD])  # type: ignore[call-overload]
        (call,) = answer.choices[0].message.tool_calls
        assert json.loads(call.function.arguments) == {"a": 3, "b": 4}
        assert answer.choices[0].finish_reason == "tool_calls"
        assert answer.usage.prompt_tokens > 10
        assert answer.choices[0].toolken["name"] == "add"


def test_openais_client_puts_a_stream_together() -> None:
    with running(app_of(ScriptedEngine([CALL], [ARGUMENTS]))) as address, openai_client(address) as api:
        with api.chat.completions.stream(
            model="scripted",
            messages=ASKED,  # type: ignore[arg-type]
            tools=[OPENAI_ADD],  # type: ignore[list-item]
            stream_options={"include_usage": True},
        ) as events:
            whole = events.get_final_completion()
        message = whole.choices[0].message
        assert message.content == "It is"
        assert message.tool_calls is not None
        assert json.loads(message.tool_calls[0].function.arguments) == {"a": 3, "b": 4}
        assert whole.usage is not None
        assert whole.usage.total_tokens > 0


def test_openais_client_raises_its_own_errors() -> None:
    with running(app_of(ScriptedEngine(), token="s3cret")) as address:
        with openai_client(address, "wrong") as api, pytest.raises(openai.AuthenticationError):
            api.models.list()
        with openai_client(address, "s3cret") as api:
            assert [model.id for model in api.models.list()] == ["scripted"]
            assert api.models.retrieve("scripted").id == "scripted"
            with pytest.raises(openai.NotFoundError, match="gpt-5"):
                api.models.retrieve("gpt-5")
            with pytest.raises(openai.BadRequestError) as caught:
                api.chat.completions.create(model="scripted", messages=[])
            assert caught.value.param == "messages"
            with pytest.raises(openai.APIError, match="the server failed"):  # in the middle of a stream
                list(api.chat.completions.create(model="scripted", messages=ASKED, stream=True))  # type: ignore[call-overload]


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_stops_its_decoding(stream: bool) -> None:
    engine = EndlessEngine()
    with running(app_of(engine)) as address:
        body = {"model": "scripted", "messages": ASKED, "stream": stream}
        with socket.create_connection(tuple_of(address)) as connection:
            connection.sendall(http_post(body))
            assert engine.begun.wait(30)
        assert engine.stopped.wait(30)


def test_a_client_that_does_not_read_blocks_no_other() -> None:
    engine = EndlessEngine()
    slow, quick = make_app(scripted(engine)), ScriptedEngine([reasoning("Seven.")])
    # One server, two models: the slow client's is endless.
    slow.mount("/quick", make_app(scripted(quick)))
    with running(slow) as address, socket.create_connection(tuple_of(address)) as connection:
        connection.sendall(http_post({"model": "scripted", "messages": ASKED, "stream": True}))
        assert engine.begun.wait(30)
        answer = httpx.post(
            f"{address}/quick/v1/chat/completions", json={"model": "scripted", "messages": ASKED}, timeout=30
        )
        assert answer.json()["choices"][0]["message"]["content"] == "Seven."
        assert not engine.stopped.is_set()


def test_a_client_that_never_reads_is_let_go() -> None:
    engine = EndlessEngine()
    with running(app_of(engine, patience=0.2)) as address, socket.create_connection(tuple_of(address)) as connection:
        connection.sendall(http_post({"model": "scripted", "messages": ASKED, "stream": True}))
        assert engine.stopped.wait(30)


def test_many_clients_get_their_own_answers() -> None:
    class Echo(ScriptedEngine):
        def reason(self, prompts: Sequence[Sequence[int]], request: DecodingRequest) -> list[Reasoning]:
            return [reasoning(self.tokenizer.decode(prompt)) for prompt in prompts]

    with running(app_of(Echo())) as address, ThreadPoolExecutor(24) as pool, httpx.Client(timeout=60) as http:

        def ask(number: int) -> str:
            body = {"model": "scripted", "messages": [{"role": "user", "content": str(number)}]}
            answer = http.post(f"{address}/v1/chat/completions", json={**body, "stream": bool(number % 2)})
            if not number % 2:
                return str(answer.json()["choices"][0]["message"]["content"])
            lines = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: {")]
            return "".join(json.loads(line)["choices"][0]["delta"].get("content") or "" for line in lines)

        answers = list(pool.map(ask, range(10, 58)))
    assert [re.sub(r"\D", "", answer) for answer in answers] == [str(number) for number in range(10, 58)]


async def test_the_list_of_models_names_the_one_there_is() -> None:
    async with client(app_of(ScriptedEngine())) as http:
        assert [model["id"] for model in (await http.get("/v1/models")).json()["data"]] == ["scripted"]


def tuple_of(address: str) -> tuple[str, int]:
    host, _, port = address.removeprefix("http://").partition(":")
    return host, int(port)


def http_post(body: dict[str, Any]) -> bytes:
    content = json.dumps(body).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
