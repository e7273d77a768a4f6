"""What a vLLM server may do wrong, and what the client says of it."""

from __future__ import annotations

import threading
from collections.abc import Callable

import httpx
import pytest
from langchain_core.exceptions import ModelAuthenticationError, ModelConnectionError, ModelTimeoutError

from langchain_toolken.decoding.cancellation import Cancellation, DecodingCancelledError, current_cancellation
from langchain_toolken.decoding.vllm.connection import (
    Generation,
    VllmConnection,
    VllmConnectionError,
    VllmError,
    VllmMismatchError,
    VllmTimeoutError,
)

GENERATION = Generation([1, 2], None, max_tokens=3, logprobs=1, interval=1)


def connected(answer: Callable[[httpx.Request], httpx.Response], **settings: float) -> VllmConnection:
    settings = {"patience": 0.0, **settings}
    return VllmConnection(
        "http://127.0.0.1:1/v1/", transport=httpx.MockTransport(answer), sleep=lambda _: None, **settings
    )


@pytest.mark.parametrize(
    ("status", "body", "error", "words"),
    [
        (400, {"error": {"message": "bad prompt"}}, VllmMismatchError, r"refuses a request \(400\): bad prompt"),
        (401, {"error": "Unauthorized"}, ModelAuthenticationError, "wants an API key"),
        (404, {"detail": "Not Found"}, VllmMismatchError, "base_url usually ends with /v1"),
        (429, {"error": {"message": "busy"}}, VllmError, "failed with 429: busy"),
        (500, "EngineDeadError", VllmError, "failed with 500"),
    ],
)
def test_refusals_are_told_with_the_next_step(status: int, body: object, error: type[Exception], words: str) -> None:
    connection = connected(lambda _: httpx.Response(status, json=body))
    with pytest.raises(error, match=words):
        connection.models()
    with pytest.raises(error, match=words):
        list(connection.generate("m", GENERATION))


@pytest.mark.parametrize("content", ["<html>", '{"data": 3}', "[]"])
def test_another_kind_of_server_is_recognised(content: str) -> None:
    with pytest.raises(VllmMismatchError, match="is it another server"):
        connected(lambda _: httpx.Response(200, content=content)).models()


@pytest.mark.parametrize(
    "content",
    [
        'data: {"choices": [{"token_ids": [5], "logprobs": {"token_logprobs": [-1]}}]}\n\n',
        'data: {"choices": []}\n\ndata: {"error": {"message": "EngineCore died"}}\n\n',
        "",
    ],
)
def test_an_answer_that_ends_early_may_be_asked_for_again(content: str) -> None:
    with pytest.raises(VllmError, match="was lost|failed in the middle"):
        list(connected(lambda _: httpx.Response(200, content=content)).generate("m", GENERATION))


def test_a_server_that_is_down_and_one_that_hangs() -> None:
    def down(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    def hanging(_: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("nothing")

    with pytest.raises(VllmConnectionError, match=r"no vLLM server answers at http://127.0.0.1:1/v1 ") as told:
        connected(down).models()
    assert isinstance(told.value, ModelConnectionError)
    with pytest.raises(VllmTimeoutError, match="sent nothing for 7 seconds") as late:
        connected(hanging, timeout=7).patiently(lambda: connected(hanging, timeout=7).models())
    assert isinstance(late.value, ModelTimeoutError)


def test_tries_wait_longer_and_longer_until_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, waits = 0.0, []

    def sleep(seconds: float) -> None:
        nonlocal clock
        clock += seconds
        waits.append(seconds)

    monkeypatch.setattr("langchain_toolken.decoding.vllm.connection.time.monotonic", lambda: clock)
    connection = VllmConnection("http://127.0.0.1:1/v1", patience=10.0, sleep=sleep)
    forgotten = []

    def attempt() -> None:
        raise VllmError("gone.")

    with pytest.raises(VllmError, match=r"gone\. It was tried again for 10 seconds"):
        connection.patiently(attempt, lambda: forgotten.append(1))
    assert waits == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 3.8])
    assert len(forgotten) == len(waits)


def test_a_refusal_is_not_tried_again() -> None:
    tries = []

    def attempt() -> None:
        tries.append(1)
        raise VllmMismatchError("other toolkens")

    with pytest.raises(VllmMismatchError):
        connected(lambda _: httpx.Response(200), patience=60).patiently(attempt)
    assert len(tries) == 1


def test_a_cancelled_caller_waits_no_more() -> None:
    cancellation = Cancellation()

    def attempt() -> None:
        cancellation.cancel()
        raise VllmError("gone.")

    def run() -> None:
        current_cancellation.set(cancellation)
        with pytest.raises(DecodingCancelledError):
            connected(lambda _: httpx.Response(200), patience=60).patiently(attempt)
        ended.set()

    ended = threading.Event()
    thread = threading.Thread(target=run)
    thread.start()
    thread.join(10)
    assert ended.is_set()


def test_an_address_that_is_none() -> None:
    with pytest.raises(VllmMismatchError, match="no address"):
        VllmConnection("http://[::1")
