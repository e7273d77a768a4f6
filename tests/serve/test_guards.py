"""Tokens, names of hosts, sizes of bodies, slow clients, crowds, and headers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from langchain_toolken.serve.guards import BodyGuard, CrowdGuard
from tests.support.scripted_engine import ScriptedEngine, reasoning
from tests.support.serving import ASKED, app_of, client

BODY = {"model": "scripted", "messages": ASKED}
PATH = "/v1/chat/completions"


def engine() -> ScriptedEngine:
    return ScriptedEngine([reasoning("Seven.")])


async def test_without_a_token_only_names_of_this_machine_are_answered_to() -> None:
    for base, status in (("http://localhost:8000", 200), ("http://[::1]:8000", 200), ("http://evil.example", 403)):
        async with client(app_of(engine()), base) as http:
            assert (await http.post(PATH, json=BODY)).status_code == status


@pytest.mark.parametrize("header", [None, "Bearer wrong", "Basic s3cret", "Bearer "])
async def test_with_a_token_nothing_is_answered_without_it(header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    async with client(app_of(engine(), token="s3cret"), "http://far.example") as http:
        answer = await http.post(PATH, json=BODY, headers=headers)
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "invalid_api_key"
        assert (await http.get("/v1/models", headers=headers)).status_code == 401


async def test_with_the_token_any_name_is_answered_to() -> None:
    async with client(app_of(engine(), token="s3cret"), "http://far.example") as http:
        answer = await http.post(PATH, json=BODY, headers={"Authorization": "Bearer s3cret"})
        assert answer.status_code == 200
        assert (await http.get("/health")).json() == {"status": "ok"}


async def test_a_body_that_is_too_large_is_refused_by_its_length_and_by_what_arrives() -> None:
    async def pieces() -> AsyncIterator[bytes]:  # sent in chunks, without a length
        for _ in range(20):
            yield b" " * 1000

    async with client(app_of(engine(), most_bytes=10_000)) as http:
        headers = {"Content-Type": "application/json"}
        for content in (b" " * 20_000, pieces()):
            answer = await http.post(PATH, content=content, headers=headers)
            assert answer.status_code == 413
            assert answer.json()["error"]["code"] == "request_too_large"
        assert (await http.post(PATH, json=BODY)).status_code == 200


@pytest.mark.parametrize(
    ("content", "kind", "code"),
    [
        (b"{", "application/json", "invalid_json"),
        (b"", "application/json", "invalid_body"),
        (b"[1]", "application/json", "invalid_body"),
        (b"\xff\xfe\xfd", "application/json", "invalid_body"),
        (b"[" * 100_000, "application/json", "invalid_body"),
        # What a page of another site can send without being asked.
        (json.dumps(BODY).encode(), "text/plain", "invalid_body"),
    ],
)
async def test_malformed_bodies_are_the_clients_errors(content: bytes, kind: str, code: str) -> None:
    async with client(app_of(engine())) as http:
        answer = await http.post(PATH, content=content, headers={"Content-Type": kind})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == code


async def test_unknown_paths_and_methods_have_openais_form() -> None:
    async with client(app_of(engine())) as http:
        for answer, status in ((await http.get("/v1/nothing"), 404), (await http.get(PATH), 405)):
            assert answer.status_code == status
            assert answer.json()["error"]["type"] == "invalid_request_error"


async def test_every_answer_keeps_a_browser_from_running_anything_else() -> None:
    async with client(app_of(engine())) as http:
        for answer in (await http.get("/health"), await http.get("/v1/nothing")):
            assert "default-src 'none'" in answer.headers["content-security-policy"]
            assert answer.headers["x-content-type-options"] == "nosniff"


def scope(**more: Any) -> dict[str, Any]:
    return {"type": "http", "path": PATH, "headers": [], **more}


async def test_a_client_that_stops_reading_is_given_up_on() -> None:
    let_go = asyncio.Event()

    async def app(_: Any, receive: Any, send: Any) -> None:
        try:
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
        finally:
            let_go.set()

    async def never(*_: Any) -> Any:
        await asyncio.Event().wait()

    await BodyGuard(app, most=10, patience=0.01)(scope(), never, never)
    assert let_go.is_set()


async def test_a_body_that_never_arrives_is_given_up_on() -> None:
    async def never() -> Any:
        await asyncio.Event().wait()

    async def send(_: Any) -> None: ...

    async def app(_: Any, receive: Any, send: Any) -> None:
        await receive()

    with pytest.raises(Exception, match="too long to arrive"):
        await BodyGuard(app, most=10, patience=0.01)(scope(), never, send)


async def test_further_clients_are_told_to_come_back() -> None:
    sent: list[Any] = []
    go = asyncio.Event()

    async def app(*_: Any) -> None:
        await go.wait()

    async def send(event: Any) -> None:
        sent.append(event)

    async def receive() -> Any: ...

    guard = CrowdGuard(app, most=2)
    first = [asyncio.create_task(guard(scope(), receive, send)) for _ in range(2)]
    await asyncio.sleep(0)
    await guard(scope(), receive, send)
    assert sent[0]["status"] == 429
    assert (b"retry-after", b"1") in sent[0]["headers"]
    go.set()
    await asyncio.gather(*first)
    sent.clear()
    await guard(scope(), receive, send)
    assert not sent  # there is room again
