"""A vLLM server in this process: its HTTP, and the plugin's batch over a tiny LM. Only the server itself is made up.

It runs a request's tokens in parts, can have the beginning of a prompt "in its cache" (the plugin does not get its
states then), and can fail at requests.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import httpx
import torch

from langchain_toolken.decoding.vllm.batch import ServedBatch
from langchain_toolken.decoding.vllm.connection import VllmConnection
from langchain_toolken.decoding.vllm.engine import VllmEngine
from langchain_toolken.decoding.vllm.served import ServedLM
from langchain_toolken.decoding.vllm.wire import XARG, Asked
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.toolkens.set import ToolkenSet

Handler = Callable[[httpx.Request], httpx.Response]


class FakeVllm:
    """See the module.

    Args:
        lm: The LM.
        toolkens: The exported toolkens.
        plugin: Whether the plugin is installed.
        part: How many tokens of a prompt run together.
        cached: How many tokens of a prompt are in the cache, unless the request is salted.
        before: Called with each request of tokens, before it is answered; may raise or answer itself.
    """

    def __init__(
        self,
        lm: LanguageModel,
        toolkens: ToolkenSet,
        *,
        plugin: bool = True,
        part: int = 1_000,
        cached: int = 0,
        before: Callable[[dict[str, Any]], httpx.Response | None] = lambda _: None,
    ) -> None:
        self.lm = lm
        self.words = 1 + max(lm.tokenizer.get_vocab().values())
        self.tools = len(toolkens)
        self.plugin = plugin
        self.part, self.cached, self.before = part, cached, before
        self.served = ServedLM(toolkens, lm.tokenizer, self.words, lm.eos_ids, torch.device("cpu"))
        self.bodies: list[dict[str, Any]] = []
        self._lock = threading.Lock()

    def engine(self, **settings: Any) -> VllmEngine:
        """An engine that asks this server. It does not wait between tries."""
        transport = httpx.MockTransport(self.answer)
        connection = VllmConnection("http://vllm/v1", transport=transport, sleep=lambda _: None, **settings)
        return VllmEngine(connection, self.lm.tokenizer, self.lm.model_id)

    def answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/models":
            return httpx.Response(200, json={"data": [{"id": "tiny", "max_model_len": self.lm.context_length}]})
        body = json.loads(request.content)
        with self._lock:
            self.bodies.append(body)
            if (own := self.before(body)) is not None:
                return own
            if "prompt_logprobs" in body:
                return httpx.Response(200, json={"choices": [{"prompt_logprobs": self._of_prompt(body["prompt"])}]})
            events = list(self._events(body))
        return httpx.Response(200, content="".join(f"data: {event}\n\n" for event in [*events, "[DONE]"]))

    def _events(self, body: dict[str, Any]) -> Iterator[str]:
        for token, logprobs in self._generated(body):
            best = logprobs.topk(body["logprobs"])
            beside = {
                f"token_id:{i}": max(p, -9999.0) for i, p in zip(*map(torch.Tensor.tolist, best[::-1]), strict=True)
            }
            own = max(float(logprobs[token]), -9999.0)
            listed = {"token_logprobs": [own], "top_logprobs": [{f"token_id:{token}": own, **beside}]}
            yield json.dumps({"choices": [{"token_ids": [token], "logprobs": listed}]})
        yield json.dumps({"choices": [], "usage": {"prompt_tokens_details": {"cached_tokens": self.cached}}})

    def _generated(self, body: dict[str, Any]) -> Iterator[tuple[int, torch.Tensor]]:
        batch = ServedBatch(self.served)
        ids: list[int] = list(body["prompt"])
        xargs = (body.get("vllm_xargs") or {}).get(XARG)
        batch.add(0, ids, Asked.model_validate_json(xargs) if xargs and self.plugin else None)
        ran = 0 if body.get("cache_salt") else min(self.cached, len(ids) - 1)
        for _ in range(body["max_tokens"]):
            while ran < len(ids):
                until = min(len(ids), ran + self.part)
                known = [index if index < self.words else 0 for index in ids[:until]]  # the tiny LM has no toolkens
                hidden = self.lm.hidden_states(torch.tensor([known]))[0]
                batch.ran([0, until - ran], list(range(ran, until)), hidden[ran:])
                logits = batch.choose(hidden[-1:], self._logits(hidden[-1:]))
                ran = until
            logprobs = logits[0].float().log_softmax(dim=-1)
            token = int(batch.force(logits)[0].argmax())
            yield token, logprobs
            if token in self.lm.eos_ids:
                return
            ids.append(token)

    def _logits(self, hidden: torch.Tensor) -> torch.Tensor:
        words = self.lm.head.word_logits(hidden)[:, : self.words]
        return torch.cat([words, torch.full((len(words), self.tools + 3), 7.0)], dim=1)

    def _of_prompt(self, prompt: Sequence[int]) -> list[dict[str, Any] | None]:
        hidden = self.lm.hidden_states(torch.tensor([list(prompt)]))[0]
        logits = ServedBatch(self.served).choose(hidden, self._logits(hidden))
        logprobs = logits.log_softmax(dim=-1)
        following = enumerate(prompt[1:])
        return [None, *({str(token): {"logprob": float(logprobs[at, token])}} for at, token in following)]
