"""`PluginClient`: has the plugin's tasks done by a vLLM server, and makes sure that it is the right one."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from langchain_toolken.decoding.vllm.answers import report_at_the_end
from langchain_toolken.decoding.vllm.connection import (
    Generation,
    ServedModel,
    Token,
    Tries,
    VllmConnection,
    VllmError,
    VllmMismatchError,
)
from langchain_toolken.decoding.vllm.wire import Asked, Complete, Hello, Rank, Read, Reason, Report, Status

OVER = 2
"""Tokens of an answer after its last word: what fired, or one argument token too many, and the report."""

_PIECES = 16  # tokens that vLLM sends together where nobody reads along


class UnreadError(VllmError):
    """States that a request needs were not computed, since vLLM had the tokens in its cache."""


@dataclass(frozen=True)
class Ended:
    """How an answer ended.

    Attributes:
        report: The plugin's report.
        reused: How many tokens of the prompt came out of vLLM's cache.
    """

    report: Report
    reused: int


class PluginClient:
    """A vLLM server with the plugin. For all threads.

    Args:
        connection: The server.
        words: How many ids are words.

    Attributes:
        connection: The server.
        words: How many ids are words.
    """

    def __init__(self, connection: VllmConnection, words: int) -> None:
        self.connection = connection
        self.words = words
        self._lock = threading.Lock()
        self._greeted: str | None = None  # the fingerprint of the toolkens that the server was found to have

    @cached_property
    def served(self) -> ServedModel:
        """The model that the server has.

        Raises:
            VllmError: The server can't be reached.
        """
        found = self.connection.patiently(self.connection.models)
        if not found:
            raise VllmMismatchError(f"the vLLM server at {self.connection.base_url} serves no model")
        return found[0]

    def tokens(
        self,
        prompt: Sequence[int],
        task: Reason | Rank | Read | Complete,
        toolkens: str | None,
        *,
        most: int,
        logprobs: int = 1,
        interval: int = _PIECES,
        salt: str | None = None,
    ) -> Iterator[Token | Ended]:
        """Yield an answer's tokens as they come, and how it ended.

        Args:
            prompt: Token ids.
            task: What is wanted.
            toolkens: The fingerprint of the toolkens that the server has to have; None for any.
            most: Most tokens of the answer, its end included.
            logprobs: How many tokens are listed beside each of the answer.
            interval: After how many tokens vLLM sends a piece.
            salt: Something new keeps vLLM from taking the prompt's tokens out of its cache; None allows that.

        Raises:
            VllmError: Another try may help.
            VllmMismatchError: It can't.
        """
        self.greet(toolkens)
        asked = Asked(toolkens=toolkens, uid=uuid.uuid4().hex, task=task)
        yield from self._reported(Generation(prompt, asked, most, logprobs, interval, salt))

    def whole(
        self,
        prompt: Sequence[int],
        task: Rank | Read | Complete,
        toolkens: str | None,
        *,
        most: int,
        logprobs: int = 1,
        salt: str | None = None,
    ) -> tuple[list[int], Ended]:
        """Return an answer's tokens and how it ended; see `tokens`."""
        ids: list[int] = []
        for token in self.tokens(prompt, task, toolkens, most=most, logprobs=logprobs, salt=salt):
            if isinstance(token, Ended):
                return ids, token
            ids.append(token.id)
        raise AssertionError("an answer ends with its report")

    def greet(self, toolkens: str | None) -> None:
        """Make sure that the server has the plugin and these toolkens, before it gets ids that others may not have.

        Raises:
            VllmError: Another try may help.
            VllmMismatchError: It has not.
        """
        wanted = toolkens or ""
        if self._greeted is not None and wanted in ("", self._greeted):
            return
        asked = Asked(toolkens=toolkens, uid=uuid.uuid4().hex, task=Hello())
        for _ in self._reported(Generation([0], asked, max_tokens=1, logprobs=1, interval=1)):
            pass
        with self._lock:
            self._greeted = wanted

    def forget(self) -> None:
        """Greet the server again before the next request: it may be another one."""
        with self._lock:
            self._greeted = None

    def _reported(self, generation: Generation) -> Iterator[Token | Ended]:
        for token in report_at_the_end(self.connection.generate(self.served.id, generation), self.words):
            if isinstance(token, Token):
                yield token
            else:
                yield Ended(self._checked(token[0]), token[1])

    def _checked(self, report: Report | None) -> Report:
        where = f"the vLLM server at {self.connection.base_url}"
        if report is None:
            raise VllmMismatchError(
                f"{where} does not run the plugin: install langchain-toolken-vllm beside vLLM, and start it with "
                "toolken serve --engine vllm, or with an exported checkpoint and the flags in docs/serving.md"
            )
        if report.status is Status.OTHER_TOOLKENS:
            raise VllmMismatchError(
                f"{where} has other toolkens than these: export these (toolken export), and start it with them"
            )
        if report.status is Status.UNREAD:
            raise UnreadError(f"{where} did not compute states that a request needs.")
        if report.status is Status.FAILED:
            raise VllmMismatchError(f"{where} failed at a request: its log says why")
        return report


class TaskTries:
    """The tries at one task, and whether vLLM's cache may be used.

    Args:
        client: The server.

    Attributes:
        salt: The `salt` of the next try.
    """

    def __init__(self, client: PluginClient) -> None:
        self._client = client
        self._tries = Tries(client.connection)
        self.salt: str | None = None

    def again_after(self, error: VllmError) -> None:
        """Wait for another try.

        Raises:
            VllmError: The error, since there have been enough.
        """
        if isinstance(error, UnreadError) and self.salt is None:
            self.salt = uuid.uuid4().hex
            return
        self._tries.wait_after(error)
        self._client.forget()
