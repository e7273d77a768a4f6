"""An engine that plays back a script, and the results to script it with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from transformers import PreTrainedTokenizerFast

from langchain_toolken.decoding.copy_source import CopySource
from langchain_toolken.decoding.engine import Candidate, Completion, DecodingRequest, Reasoning
from langchain_toolken.tools.spec import ToolSpec
from tests.support.tiny import make_tokenizer


def reasoning(
    text: str, tool: str | None = None, *, finish: str | None = None, tokens: Sequence[int] = (7, 8), prompt: int = 10
) -> Reasoning:
    return Reasoning(
        token_ids=tuple(tokens),
        text=text,
        trigger=Candidate(tool, 0.75) if tool else None,
        runners_up=(Candidate("other", 0.125),) if tool else (),
        finish_reason=finish or ("tool_calls" if tool else "stop"),  # type: ignore[arg-type]
        prompt_tokens=prompt,
        reused_tokens=4,
    )


def completion(text: str, arguments: dict[str, Any] | None, tokens: int = 5) -> Completion:
    return Completion(
        text=text,
        arguments=arguments,
        finish_reason="length" if arguments is None else "stop",
        completion_tokens=tokens,
        prompt_tokens=30,
        reused_tokens=12,
    )


@dataclass
class ScriptedEngine:
    """An Engine that plays back a script and keeps what it was given."""

    reasonings: list[Reasoning] = field(default_factory=list)
    completions: list[Completion] = field(default_factory=list)
    tokenizer: PreTrainedTokenizerFast = field(default_factory=lambda: make_tokenizer(chat=False))
    model_id: str = "scripted"
    context_length: int = 512
    scores: list[list[float]] = field(default_factory=list)
    prompts: list[list[int]] = field(default_factory=list)
    scored: list[tuple[list[int], list[list[int]]]] = field(default_factory=list)
    requests: list[DecodingRequest] = field(default_factory=list)
    ranked: list[dict[str, Any]] = field(default_factory=list)
    completed: list[tuple[list[int], ToolSpec, CopySource | None]] = field(default_factory=list)

    def reason(self, prompts: Sequence[Sequence[int]], request: DecodingRequest) -> list[Reasoning]:
        self.prompts += [list(prompt) for prompt in prompts]
        self.requests.append(request)
        return [self.reasonings.pop(0) for _ in prompts]

    def stream(self, prompt: Sequence[int], request: DecodingRequest) -> Any:
        (whole,) = self.reason([prompt], request)
        yield from whole.text
        yield whole

    def rank(self, prompts: Sequence[Sequence[int]], **settings: Any) -> list[tuple[Candidate, ...]]:
        self.prompts += [list(prompt) for prompt in prompts]
        self.ranked.append(settings)
        return [tuple(Candidate(name, 0.5) for name in sorted(settings["active"])) for _ in prompts]

    def score(self, prompt: Sequence[int], continuations: Sequence[Sequence[int]]) -> list[float]:
        self.scored.append((list(prompt), [list(ids) for ids in continuations]))
        return self.scores.pop(0)

    def complete(
        self, prompts: Sequence[Sequence[int]], specs: Any, *, max_tokens: int = 256, copying: Any = None
    ) -> list[Completion]:
        self.prompts += [list(prompt) for prompt in prompts]
        self.completed += zip(map(list, prompts), specs, copying or [None] * len(prompts), strict=True)
        return [self.completions.pop(0) for _ in prompts]

    def decoded(self) -> list[str]:
        return [self.tokenizer.decode(ids) for ids in self.prompts]
