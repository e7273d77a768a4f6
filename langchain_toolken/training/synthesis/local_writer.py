"""The local LM as a writer of its own requests."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import HumanMessage

from langchain_toolken.decoding.engine import DecodingRequest, Engine, Sampling
from langchain_toolken.prompts.content import bos_ids, encode_content
from langchain_toolken.prompts.format import PromptFormat, Style
from langchain_toolken.prompts.messages import render
from langchain_toolken.prompts.tool_calls import call_layout
from langchain_toolken.prompts.tool_cards import tool_card
from langchain_toolken.tools.spec import ToolSpec
from langchain_toolken.training.synthesis.checks import numbers_in
from langchain_toolken.training.synthesis.drafts import NO_TOOL_CHOICE, RESULT, Draft

_LETTERS = re.compile(r"[^\W\d_]{2}")
_SENTENCES = re.compile(r".*[.?!](?=\s|$)", re.DOTALL)  # of a text that was cut off: its whole sentences
_EQUATION = re.compile(r"=\s?([-+]?[$€£]?\d[\d,]*(?:\.\d+)?)")


class LocalWriter:
    """The LM that the toolkens are fitted for as a writer of its own requests.

    A request is sampled from the tool's description. Its arguments are then decoded as ToolkenChat decodes them:
    greedily, after the tool's card, under its grammar, so they always match the schema. If the LM's own answer writes
    an equation with the call's numbers, the call goes after its "=", as in the papers' data; otherwise the answer
    begins with the call. Everything depends on the seed only.

    `ChatModelWriter` with a ToolkenChat can't replace this: structured output is decoded greedily, so a batch doesn't
    vary, and a small LM answers a request for a list of examples with an empty one. Here the request alone is sampled,
    and it also works for an LM without a chat template.

    Toy LMs can't write usable requests. Use an instruct LM or, better, a hosted chat model.

    Args:
        engine: The LM.
        style: "chat" asks the LM in words, through its chat template. "completion" has it continue a document ("Tool: …
            Description: … Q:"). None: "chat" if the tokenizer has a chat template.
        seed: Makes sampling repeatable.
        batch: Drafts decoded together.
        temperature: Of the requests.
    """

    def __init__(
        self, engine: Engine, style: Style | None = None, *, seed: int = 0, batch: int = 8, temperature: float = 0.9
    ) -> None:
        self.engine = engine
        self.style: Style = style or ("chat" if engine.tokenizer.chat_template else "completion")
        self.seed = seed
        self.temperature = temperature
        self._batch = batch
        self._format = PromptFormat(self.style)
        # None: the LM has no token for calls, and `choose` asks it for a name instead.
        self._marker: int | None = call_layout(engine.tokenizer).marker_id if self.style == "chat" else None

    @property
    def batch(self) -> int:
        """Drafts decoded together."""
        return self._batch

    def for_tool(self, spec: ToolSpec, number: int, kept: Sequence[str]) -> list[Draft]:
        """As in `Writer`; `kept` is ignored, so that a batch is the same whatever was kept."""
        described = f"{spec.signature}\n{spec.summary}"
        asked = (
            f"Here is a tool:\n{described}\n\nWrite one request of a user that this tool answers, with every "
            "argument's value in it. Write the request only."
        )
        requests = self._sampled(asked, f"Tool: {spec.name}\nDescription: {spec.summary}\n\nQ:", spec.name, number)
        drafts = [Draft(request, fault=_unusable(request)) for request in requests]
        good = [place for place, draft in enumerate(drafts) if not draft.fault]
        card = encode_content(self.engine.tokenizer, tool_card(spec), continued=True)
        prompts = [self._prompt(drafts[place].request) for place in good]
        calls = self.engine.complete([[*ids, *card] for ids in prompts], [spec] * len(good)) if good else []
        for place, answer, call in zip(good, self._answers(prompts), calls, strict=True):
            request = drafts[place].request
            if call.arguments is None:
                drafts[place] = Draft(request, fault="the arguments were cut off")
            else:
                drafts[place] = Draft(request, with_result_marked(answer, call.arguments), call.arguments)
        return drafts

    def without_tool(self, specs: Sequence[ToolSpec], number: int, kept: Sequence[str]) -> list[Draft]:
        """As in `Writer`; the answers are decoded greedily."""
        asked = (
            "Write one short question or remark of a user that an assistant can answer at once, out of what it knows "
            "and without any tool. Write it only."
        )
        requests = self._sampled(asked, "Questions of general knowledge, each with a short answer.\n\nQ:", "", number)
        drafts = [Draft(request, fault=_unusable(request)) for request in requests]
        good = [place for place, draft in enumerate(drafts) if not draft.fault]
        answers = self._answers([self._prompt(drafts[place].request) for place in good])
        for place, answer in zip(good, answers, strict=True):
            drafts[place] = Draft(drafts[place].request, answer.strip())
        return drafts

    def choose(self, requests: Sequence[str], specs: Sequence[ToolSpec]) -> list[str | None]:
        """As in `Writer`: the tool that the LM calls when the tools are described in its prompt.

        An LM whose tokenizer has no token for calls chooses a name, or "none", from a list of the tools.
        """
        tokenizer, names = self.engine.tokenizer, [spec.name for spec in specs]
        if self._marker is None:
            listed = "\n".join(f"- {spec.signature}: {spec.summary}" for spec in specs)
            texts = [f"Tools:\n{listed}\n- {NO_TOOL_CHOICE}\n\nQ: {request}\nTool: " for request in requests]
            prompts = [[*bos_ids(tokenizer), *encode_content(tokenizer, text)] for text in texts]
            return [name if name in names else None for name in self._names(prompts, [*names, NO_TOOL_CHOICE])]
        prompts = [render(tokenizer, [HumanMessage(request)], self._format, specs) for request in requests]
        first = Sampling(max_tokens=64)  # an LM that writes more before a call has answered
        reasonings = self.engine.reason(prompts, DecodingRequest(first, markers=frozenset({self._marker})))
        calling = [place for place, reasoning in enumerate(reasonings) if reasoning.marker is not None]
        lead = encode_content(tokenizer, call_layout(tokenizer).lead, continued=True)
        begun = [[*prompts[p], *reasonings[p].token_ids, self._marker, *lead] for p in calling]
        called = dict(zip(calling, self._names(begun, names), strict=True))
        return [called.get(place) for place in range(len(requests))]

    def _names(self, prompts: Sequence[Sequence[int]], names: Sequence[str]) -> list[str | None]:
        """Decode one of `names` after each prompt, greedily, as {"name": …}."""
        field = {"type": "string", "enum": list(names)}
        schema = {"type": "object", "properties": {"name": field}, "required": ["name"]}
        choice = ToolSpec(name="choice", description="Which tool is needed.", json_schema=schema)
        completions = self.engine.complete(list(prompts), [choice] * len(prompts), max_tokens=128) if prompts else []
        return [None if done.arguments is None else str(done.arguments["name"]) for done in completions]

    def _prompt(self, request: str) -> list[int]:
        return render(self.engine.tokenizer, [HumanMessage(request)], self._format)

    def _sampled(self, asked: str, document: str, name: str, number: int) -> list[str]:
        tokenizer = self.engine.tokenizer
        if self.style == "chat":
            prompt, stop = self._prompt(asked), ("\n\n",)
        else:
            prompt, stop = [*bos_ids(tokenizer), *encode_content(tokenizer, document)], ("\n",)
        digest = hashlib.sha256(f"{self.seed} {name} {number}".encode()).digest()
        seed = int.from_bytes(digest[:4], "big")
        sampling = Sampling(temperature=self.temperature, top_p=0.95, seed=seed, max_tokens=96)
        written = self.engine.reason([prompt] * self.batch, DecodingRequest(sampling, stop=stop))
        whole = [_SENTENCES.match(one.text) if one.finish_reason == "length" else None for one in written]
        texts = [
            one.text if one.finish_reason != "length" else match[0] if match else ""
            for one, match in zip(written, whole, strict=True)
        ]
        return [text.strip().strip('"').strip() for text in texts]

    def _answers(self, prompts: Sequence[Sequence[int]]) -> list[str]:
        if not prompts:
            return []
        sampling = Sampling(max_tokens=96)
        stop = self._format.stop
        reasonings = self.engine.reason(list(prompts), DecodingRequest(sampling, stop=stop))
        return [reasoning.text.lstrip() for reasoning in reasonings]


def with_result_marked(answer: str, arguments: Mapping[str, Any]) -> str:
    """Replace the LM's own result of an equation in `answer` by `RESULT`; return "" if none has all the numbers."""
    wanted = {number for value in arguments.values() for number in numbers_in(json.dumps(value))}
    for match in _EQUATION.finditer(answer):
        if wanted and wanted <= numbers_in(answer[: match.start()]):
            return f"{answer[: match.start(1)]}{RESULT}{answer[match.end() :]}"
    return ""


def _unusable(request: str) -> str:
    if not request:
        return "the request is empty or was cut off"
    if len(_LETTERS.findall(request)) < 2:
        return "the request has no words"
    return ""
