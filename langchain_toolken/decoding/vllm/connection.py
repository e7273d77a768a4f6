"""`VllmConnection`: HTTP to a vLLM server, with retries, time limits and errors that say what to do. Loads no torch."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx
from langchain_core.exceptions import (
    ModelAPIError,
    ModelAuthenticationError,
    ModelConnectionError,
    ModelInvalidRequestError,
    ModelTimeoutError,
)
from pydantic import BaseModel, ValidationError

from langchain_toolken.decoding.cancellation import DecodingCancelledError, current_cancellation
from langchain_toolken.decoding.vllm.wire import XARG, Asked
from langchain_toolken.errors import ToolkenError

T = TypeVar("T")

TIMEOUT = 120.0
"""Seconds without a byte from the server, from which on it counts as hung. A long queue can take a while."""
PATIENCE = 60.0
"""Seconds in which a server that is gone may come back: vLLM needs about half of that to start."""

_FIRST_WAIT, _LONGEST_WAIT = 0.2, 4.0
_MOST_CONNECTIONS = 512


class VllmError(ToolkenError, ModelAPIError):
    """The vLLM server failed at a request."""


class VllmConnectionError(VllmError, ModelConnectionError):
    """The vLLM server can't be reached, or was lost in the middle of an answer."""


class VllmTimeoutError(VllmError, ModelTimeoutError):
    """The vLLM server does not answer."""


class VllmMismatchError(ToolkenError, ModelInvalidRequestError, ValueError):
    """The vLLM server is not one for these toolkens: it has no plugin, others, or another LM."""


class VllmAuthenticationError(ToolkenError, ModelAuthenticationError):
    """The vLLM server wants another API key."""


@dataclass(frozen=True)
class Generation:
    """What is sent to `/v1/completions`.

    Attributes:
        prompt: Token ids.
        asked: The plugin's task; None for a request to vLLM itself.
        max_tokens: Most tokens of the answer, its end included.
        logprobs: How many tokens are listed beside each of the answer, with their log-probabilities.
        interval: After how many tokens vLLM sends a piece.
        salt: Something new keeps vLLM from taking the prompt's tokens out of its cache; None allows that.
    """

    prompt: Sequence[int]
    asked: Asked | None
    max_tokens: int
    logprobs: int
    interval: int
    salt: str | None = None


@dataclass(frozen=True)
class Token:
    """A token of an answer.

    Attributes:
        id: Its id.
        logprob: Its log-probability.
        beside: The log-probabilities of the likeliest ones at its place, by id.
    """

    id: int
    logprob: float
    beside: Mapping[int, float]


@dataclass
class VllmConnection:
    """A connection to one server, for all threads.

    Attributes:
        base_url: Where the API is, such as "http://127.0.0.1:8001/v1".
        api_key: The server's `--api-key`; None for none.
        timeout: Seconds without a byte from the server, from which on it counts as hung.
        patience: Seconds in which a server that is gone may come back before a request fails.
        transport: Sends the requests; None for the network.
        sleep: Waits between tries.
    """

    base_url: str
    api_key: str | None = None
    timeout: float = TIMEOUT
    patience: float = PATIENCE
    transport: httpx.BaseTransport | None = None
    sleep: Callable[[float], None] = time.sleep
    _client: httpx.Client = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.base_url = self.base_url.rstrip("/")
        headers = {} if self.api_key is None else {"Authorization": f"Bearer {self.api_key}"}
        limits = httpx.Limits(max_connections=_MOST_CONNECTIONS, max_keepalive_connections=_MOST_CONNECTIONS)
        time_limits = httpx.Timeout(self.timeout, connect=min(5.0, self.timeout))
        try:
            self._client = httpx.Client(
                base_url=f"{self.base_url}/", headers=headers, timeout=time_limits, limits=limits,
                transport=self.transport,
            )  # fmt: skip
        except (httpx.InvalidURL, ValueError) as error:
            raise VllmMismatchError(f"base_url {self.base_url!r} is no address: {error}") from error

    def patiently(self, attempt: Callable[[], T], lost: Callable[[], None] = lambda: None) -> T:
        """Return what `attempt` returns; try again where the server was not there, for as long as patience lasts.

        Args:
            attempt: Raises VllmError where another try may help.
            lost: Called before each further try.
        """
        tries = Tries(self)
        while True:
            try:
                return attempt()
            except VllmError as error:
                tries.wait_after(error)
                lost()

    def models(self) -> list[ServedModel]:
        """Return the models that the server has."""
        with self._errors():
            response = self._client.get("models")
            self._check(response)
            return _Models.model_validate_json(response.content).data

    def prompt_logprobs(self, model: str, prompt: Sequence[int]) -> list[float]:
        """Return the log-probability of each token of a prompt but the first."""
        body = {"model": model, "prompt": list(prompt), "max_tokens": 1, "prompt_logprobs": 0, "temperature": 0}
        with self._errors():
            response = self._client.post("completions", json=body)
            self._check(response)
            listed = response.json()["choices"][0]["prompt_logprobs"]
        return [float(of_place[str(token)]["logprob"]) for token, of_place in zip(prompt[1:], listed[1:], strict=True)]

    def generate(self, model: str, generation: Generation) -> Iterator[Token | int]:
        """Yield an answer's tokens as they come, and last how many tokens of the prompt came out of vLLM's cache.

        Raises:
            VllmError: The server is gone or failed; another try may help.
            VllmMismatchError: It refuses the request.
        """
        body: dict[str, Any] = {
            "model": model,
            "prompt": list(generation.prompt),
            "max_tokens": generation.max_tokens,
            "temperature": 0,
            "logprobs": generation.logprobs,
            "return_token_ids": True,
            "return_tokens_as_token_ids": True,
            "skip_special_tokens": False,
            "stream": True,
            "stream_interval": generation.interval,
            "stream_options": {"include_usage": True},
        }
        if generation.asked is not None:
            body["vllm_xargs"] = {XARG: generation.asked.model_dump_json()}
        if generation.salt is not None:
            body["cache_salt"] = generation.salt
        cached = 0
        with self._errors(), self._client.stream("POST", "completions", json=body) as response:
            if response.is_error:
                response.read()
                self._check(response)
            with self._stopped_when_cancelled(response):
                for event in _events(response):
                    if event.choices:
                        yield from event.choices[0].tokens()
                    if event.usage is not None and event.usage.prompt_tokens_details is not None:
                        cached = event.usage.prompt_tokens_details.cached_tokens or 0
        yield cached

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except httpx.ConnectError as error:
            raise VllmConnectionError(
                f"no vLLM server answers at {self.base_url} ({error}): start it (toolken serve --engine vllm, or vllm "
                "serve), or correct base_url."
            ) from error
        except httpx.TimeoutException as error:
            raise VllmTimeoutError(
                f"the vLLM server at {self.base_url} sent nothing for {self.timeout:g} seconds: see its log, send "
                "fewer requests at once, or give it more time (model_kwargs={'timeout': …})."
            ) from error
        except httpx.TransportError as error:
            check_cancelled()
            raise VllmConnectionError(
                f"the vLLM server at {self.base_url} was lost ({str(error) or type(error).__name__}): it "
                "was stopped or restarted, or crashed; see its log."
            ) from error
        except (ValidationError, json.JSONDecodeError, KeyError, IndexError, TypeError) as error:
            raise VllmMismatchError(
                f"{self.base_url} does not answer as vLLM 0.32 does ({type(error).__name__}: {str(error)[:200]}): is "
                "it another server?"
            ) from error

    def _check(self, response: httpx.Response) -> None:
        if not response.is_error:
            return
        status, said = response.status_code, _message(response)
        where = f"the vLLM server at {self.base_url}"
        if status in (401, 403):
            raise VllmAuthenticationError(f"{where} wants an API key ({said}): model_kwargs={{'api_key': …}}")
        if status == 404:
            raise VllmMismatchError(f"{where} answered {status} ({said}): base_url usually ends with /v1")
        if status == 429 or status >= 500:
            raise VllmError(f"{where} failed with {status}: {said}.")
        raise VllmMismatchError(f"{where} refuses a request ({status}): {said}")

    @contextmanager
    def _stopped_when_cancelled(self, response: httpx.Response) -> Iterator[None]:
        cancellation = current_cancellation.get()
        stream = response.extensions.get("network_stream")
        connected: socket.socket | None = None if stream is None else stream.get_extra_info("socket")

        def stop() -> None:
            if connected is not None:
                with suppress(OSError):  # it is closed already
                    connected.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads, unlike closing

        with nullcontext() if cancellation is None else cancellation.stopping(stop):
            yield
        check_cancelled()


class Tries:
    """The tries at one request, with longer and longer waits between them.

    Args:
        connection: Whose patience they have.
    """

    def __init__(self, connection: VllmConnection) -> None:
        self._connection = connection
        self._began: float | None = None
        self._wait = _FIRST_WAIT

    def wait_after(self, error: VllmError) -> None:
        """Wait for another try.

        Raises:
            VllmError: The error, since patience is over, or a server that hangs would only hang again.
            DecodingCancelledError: The caller stopped decoding.
        """
        check_cancelled()
        now = time.monotonic()
        self._began = now if self._began is None else self._began
        left = self._connection.patience - (now - self._began)
        if isinstance(error, VllmTimeoutError):
            raise error
        if left <= 0:
            raise type(error)(f"{error} It was tried again for {self._connection.patience:g} seconds.") from error
        self._connection.sleep(min(self._wait, left))
        self._wait = min(2 * self._wait, _LONGEST_WAIT)
        check_cancelled()


def check_cancelled() -> None:
    """Raise a DecodingCancelledError if the caller stopped decoding."""
    cancellation = current_cancellation.get()
    if cancellation is not None and cancellation.cancelled:
        raise DecodingCancelledError("the caller stopped decoding")


class ServedModel(BaseModel):
    """A model as `/v1/models` lists it.

    Attributes:
        id: Its name for requests.
        max_model_len: Most tokens that prompt and answer may have together; None where the server does not say.
    """

    id: str
    max_model_len: int | None = None


class _Models(BaseModel):
    data: list[ServedModel]


class _Logprobs(BaseModel):
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None] | None = None


class _Choice(BaseModel):
    token_ids: list[int] | None = None
    logprobs: _Logprobs | None = None

    def tokens(self) -> Iterator[Token]:
        ids = self.token_ids or []
        if not ids or self.logprobs is None:
            return
        beside = self.logprobs.top_logprobs or [None] * len(ids)
        for index, logprob, top in zip(ids, self.logprobs.token_logprobs, beside, strict=True):
            by_id = {int(name.removeprefix("token_id:")): value for name, value in (top or {}).items()}
            yield Token(index, -9_999.0 if logprob is None else logprob, by_id)


class _Details(BaseModel):
    cached_tokens: int | None = None


class _Usage(BaseModel):
    prompt_tokens_details: _Details | None = None


class _Event(BaseModel):
    choices: list[_Choice] = []
    usage: _Usage | None = None


def _events(response: httpx.Response) -> Iterator[_Event]:
    """Yield a stream's events. One that ends without its closing line was cut off."""
    for line in response.iter_lines():
        content = line.removeprefix("data:").strip()
        if not line.startswith("data:") or not content:
            continue
        if content == "[DONE]":
            return
        if content.startswith('{"error"'):
            raise VllmError(f"vLLM failed in the middle of an answer: {str(json.loads(content)['error'])[:300]}.")
        yield _Event.model_validate_json(content)
    raise httpx.RemoteProtocolError("the answer was cut off")


def _message(response: httpx.Response) -> str:
    try:
        content = response.json()
        return str(content.get("error", content).get("message", content))[:500]
    except (ValueError, AttributeError):
        return response.text[:200]
