"""Who writes synthesised requests: any LangChain chat model, or the local LM itself.

Both write a request, how the assistant's answer begins up to the call, and the call's arguments (`Draft`), and both say
afterwards which of the tools a request is for, so that rows for another tool than meant can be thrown away.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol

from langchain_core.exceptions import OutputParserException
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage
from langchain_core.utils.json import parse_json_markdown
from pydantic import ValidationError

from langchain_toolken.decoding.engine import DecodingRequest, Engine, Sampling
from langchain_toolken.errors import ToolkenError
from langchain_toolken.prompts.content import bos_ids, encode_content
from langchain_toolken.prompts.format import PromptFormat, Style
from langchain_toolken.prompts.messages import render
from langchain_toolken.prompts.tool_calls import call_layout
from langchain_toolken.prompts.tool_cards import tool_card
from langchain_toolken.tools.spec import ToolSpec
from langchain_toolken.training.synthesis.checks import numbers_in


class SynthesisError(ToolkenError, ValueError):
    """Demonstrations can't be made; the message says what is at fault, what is kept, and what to do."""


RESULT = "{result}"
"""Stands for a tool's result, which nobody knows yet, in a draft's answer."""


@dataclass(frozen=True)
class Draft:
    """A row to be, before any check.

    request: what the user says. answer: the assistant's, with `RESULT` where the tool's result stands, which is where
    it calls (without one it calls at its end, "" at once); where no tool is needed, just the answer. arguments: the
    call's, None without one. fault: why it can't be used, if its writer knows.
    """

    request: str
    answer: str = ""
    arguments: dict[str, Any] | None = None
    fault: str = ""


class Writer(Protocol):
    """Writes drafts in batches of `batch`, which are numbered, so that a writer with seeds can write one anew."""

    @property
    def batch(self) -> int:
        """How many drafts each call gives."""
        ...

    def for_tool(self, spec: ToolSpec, number: int, kept: Sequence[str]) -> list[Draft]:
        """Requests that the tool answers. kept: earlier ones, not to be repeated."""
        ...

    def without_tool(self, specs: Sequence[ToolSpec], number: int, kept: Sequence[str]) -> list[Draft]:
        """Requests that none of the tools is needed for, with answers."""
        ...

    def choose(self, requests: Sequence[str], specs: Sequence[ToolSpec]) -> list[str | None]:
        """For each request the name of the tool that it needs; None for none of them."""
        ...


# --- a chat model ----------------------------------------------------------------------------------------------------

# Drawn anew for each batch: without them LMs write one kind of request, and numbers such as 12, 47 and 150.
_MANNERS = (
    *("plain questions", "orders", "short and casual, as typed on a phone", "polite and wordy"),
    *("with a short story before the question", "by somebody who knows the subject", "by a child"),
)
_SIZES = ("of one or two digits", "of three or four digits", "of very different sizes", "with decimals where that fits")
_SHOWN = 12  # earlier requests that a prompt repeats; more cost tokens and were not seen to help


class ChatModelWriter:
    """A LangChain chat model writes, each batch in one structured answer.

    Where it can (`with_structured_output`) the provider constrains the answer to the tool's schema; a model that can't
    is asked for JSON, which is parsed. What a seed does: it draws the prompts' hints of manner and number size, so the
    prompts of two runs are the same as long as the rows kept are; the model's own sampling is the provider's (give the
    chat model a temperature and a seed of its own where it takes one).
    """

    def __init__(self, llm: BaseChatModel, *, seed: int = 0, batch: int = 10) -> None:
        self.llm = llm
        self.seed = seed
        self._batch = batch

    @property
    def batch(self) -> int:
        """Drafts per answer."""
        return self._batch

    def for_tool(self, spec: ToolSpec, number: int, kept: Sequence[str]) -> list[Draft]:
        """As in `Writer`."""
        parameters = {key: value for key, value in spec.json_schema.items() if key not in ("$defs", "definitions")}
        definitions = {key: value for key, value in spec.json_schema.items() if key in ("$defs", "definitions")}
        rng = Random(f"{self.seed} {spec.name} {number}")
        prompt = (
            "Write training examples for an assistant that can call a tool.\n\n"
            f"Tool: {spec.signature}\n{spec.description}\n\n"
            f"Write {self.batch} requests that a user might make and that one call of this tool answers. Every "
            "argument's value must stand in the request, as a person would write it; leave optional arguments out "
            "unless the request asks for them. Do not name the tool. For each give:\n"
            "- request: what the user says;\n"
            f"- answer: the assistant's, one sentence with {RESULT} where the tool's result stands, such as "
            f'"There are 12*7={RESULT} pens in the boxes." or "{RESULT}"; the result itself must not be in it;\n'
            "- arguments: the call's.\n\n"
            f"Vary the subjects. Write these as {rng.choice(_MANNERS)}; numbers, if there are any, "
            f"{rng.choice(_SIZES)}.{_unlike(kept)}"
        )
        fields = {"request": {"type": "string"}, "answer": {"type": "string"}, "arguments": parameters}
        return self._drafts(prompt, _list_schema("examples", fields, definitions))

    def without_tool(self, specs: Sequence[ToolSpec], number: int, kept: Sequence[str]) -> list[Draft]:
        """As in `Writer`."""
        rng = Random(f"{self.seed} no tool {number}")
        prompt = (
            "Write training examples for an assistant that has these tools:\n"
            + "\n".join(f"- {spec.signature}: {spec.summary}" for spec in specs)
            + f"\n\nWrite {self.batch} requests that a user might make and for which it needs none of them: small "
            "talk, questions of knowledge or opinion, some that are near the tools' subject (asking what a word "
            "means, say) and still need no call. For each give the request and the assistant's whole answer, of one or "
            f"two sentences, without calling a tool.\n\nVary the subjects. Write these as {rng.choice(_MANNERS)}."
            f"{_unlike(kept)}"
        )
        return self._drafts(
            prompt, _list_schema("examples", {"request": {"type": "string"}, "answer": {"type": "string"}}, {})
        )

    def choose(self, requests: Sequence[str], specs: Sequence[ToolSpec]) -> list[str | None]:
        """As in `Writer`; None also where the model gives no usable choice."""
        listed = "\n".join(f"- {spec.signature}: {spec.summary}" for spec in specs)
        asked = "\n".join(f"{number}. {' '.join(request.split())}" for number, request in enumerate(requests, start=1))
        prompt = (
            f"An assistant has these tools:\n{listed}\n\nWhich one does it need for each of these requests, "
            f'"{_NONE}" if it needs none of them?\n{asked}\n\nGive {len(requests)} choices, in order.'
        )
        names = [spec.name for spec in specs]
        choices = self._ask(prompt, _list_schema("choices", {"tool": {"type": "string", "enum": [*names, _NONE]}}, {}))
        picked = [item.get("tool") if isinstance(item, Mapping) else None for item in choices]
        picked += [None] * (len(requests) - len(picked))
        return [name if name in names else None for name in picked[: len(requests)]]

    def _drafts(self, prompt: str, schema: dict[str, Any]) -> list[Draft]:
        drafts = [_draft(item, schema) for item in self._ask(prompt, schema)][: self.batch]
        missing = Draft("", fault="the generator wrote fewer examples than it was asked for")
        return drafts + [missing] * (self.batch - len(drafts))

    def _ask(self, prompt: str, schema: dict[str, Any]) -> list[Any]:
        """The items of the list that the model answers with; none if its answer can't be read."""
        (name,) = schema["properties"]
        try:
            try:
                answer = self.llm.with_structured_output(schema).invoke(prompt)
            except NotImplementedError:
                form = json.dumps(schema, ensure_ascii=False)
                written = self.llm.invoke(f"{prompt}\n\nAnswer with JSON alone, of this schema:\n{form}")
                answer = parse_json_markdown(written.text)
        except (OutputParserException, ValidationError, json.JSONDecodeError):
            return []
        items = answer.get(name) if isinstance(answer, Mapping) else None
        return items if isinstance(items, list) else []


_NONE = "none"


def _list_schema(name: str, fields: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    item = {"type": "object", "properties": fields, "required": list(fields)}
    return {
        "title": name,
        "description": f"The {name} that were asked for.",
        "type": "object",
        "properties": {name: {"type": "array", "items": item}},
        "required": [name],
        **definitions,
    }


def _draft(item: object, schema: dict[str, Any]) -> Draft:
    with_call = "arguments" in schema["properties"]["examples"]["items"]["properties"]
    if not isinstance(item, Mapping):
        return Draft("", fault="the generator's example is no object")
    request, answer, arguments = item.get("request"), item.get("answer", ""), item.get("arguments")
    if not isinstance(request, str) or not isinstance(answer, str):
        return Draft("", fault="the generator's example has no request, or an answer that is no text")
    if not with_call:
        return Draft(request, answer)
    if not isinstance(arguments, Mapping):
        return Draft(request, answer, fault="the generator's example has no arguments")
    return Draft(request, answer, dict(arguments))


def _unlike(kept: Sequence[str]) -> str:
    if not kept:
        return ""
    return "\n\nThese are there already; write others:\n" + "\n".join(f"- {request}" for request in kept[-_SHOWN:])


# --- the local LM ----------------------------------------------------------------------------------------------------

_LETTERS = re.compile(r"[^\W\d_]{2}")
_SENTENCES = re.compile(r".*[.?!](?=\s|$)", re.DOTALL)  # of a text that was cut off: its whole sentences
_RECKONED = re.compile(r"=\s?([-+]?[$€£]?\d[\d,]*(?:\.\d+)?)")


class LocalWriter:
    """The LM that is to get the toolkens writes the requests itself, as it will meet them.

    A request is sampled behind the tool's card; its arguments are then decoded as ToolkenChat does it: greedily, behind
    the card, under the tool's grammar, so they always keep to the schema. Where the LM's own answer writes an equation
    with the call's numbers, the call stands behind its "=", as in the papers' data; otherwise the answer begins with
    it. Everything is a function of the seed.

    chat: the LM is asked in words, through its chat template. completion: it continues a document ("Tool: …
    Description: … Q:"). Toy LMs can't do this: of nano's drafts for 13 operations 5% passed the checks, and those were
    noise; an instruct LM or a hosted chat model is what this wants.
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
        try:
            self._marker: int | None = call_layout(engine.tokenizer).marker_id if self.style == "chat" else None
        except ValueError:  # it writes no calls; `choose` then asks it for a name
            self._marker = None

    @property
    def batch(self) -> int:
        """Drafts that are decoded together."""
        return self._batch

    def for_tool(self, spec: ToolSpec, number: int, kept: Sequence[str]) -> list[Draft]:
        """As in `Writer`; `kept` is not looked at, so that a batch is the same whatever was kept."""
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
        """As in `Writer`; the answers are the LM's own, greedy."""
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
        """As in `Writer`: what the LM itself calls when the tools are described in its prompt.

        An LM without a way to write calls is made to write a name, or "none", behind a list of the tools.
        """
        tokenizer, names = self.engine.tokenizer, [spec.name for spec in specs]
        if self._marker is None:
            listed = "\n".join(f"- {spec.signature}: {spec.summary}" for spec in specs)
            texts = [f"Tools:\n{listed}\n- {_NONE}\n\nQ: {request}\nTool: " for request in requests]
            prompts = [[*bos_ids(tokenizer), *encode_content(tokenizer, text)] for text in texts]
            return [name if name in names else None for name in self._names(prompts, [*names, _NONE])]
        prompts = [render(tokenizer, [HumanMessage(request)], self._format, specs) for request in requests]
        first = Sampling(max_tokens=64)  # words before a call; who has said so much has answered
        reasonings = self.engine.reason(prompts, DecodingRequest(first, markers=frozenset({self._marker})))
        calling = [place for place, reasoning in enumerate(reasonings) if reasoning.marker is not None]
        lead = encode_content(tokenizer, call_layout(tokenizer).lead, continued=True)
        begun = [[*prompts[p], *reasonings[p].token_ids, self._marker, *lead] for p in calling]
        called = dict(zip(calling, self._names(begun, names), strict=True))
        return [called.get(place) for place in range(len(requests))]

    def _names(self, prompts: Sequence[Sequence[int]], names: Sequence[str]) -> list[str | None]:
        """One of `names` behind each prompt, greedily, as {"name": …}."""
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
    """`answer` with `RESULT` in place of what the LM reckoned behind its "="; "" if no equation has all the numbers."""
    wanted = {number for value in arguments.values() for number in numbers_in(json.dumps(value))}
    for match in _RECKONED.finditer(answer):
        if wanted and wanted <= numbers_in(answer[: match.start()]):
            return f"{answer[: match.start(1)]}{RESULT}{answer[match.end() :]}"
    return ""


def _unusable(request: str) -> str:
    if not request:
        return "the request is empty or was cut off"
    if len(_LETTERS.findall(request)) < 2:
        return "the request has no words"
    return ""


def writer_for(
    generator: BaseChatModel | str | None, engine: Engine | None, *, style: Style | None = None, seed: int = 0
) -> Writer:
    """The writer that a user asks for.

    generator: a chat model; "provider:model", which LangChain's `init_chat_model` makes one of; None for the LM of
    `engine` itself.

    Raises:
        SynthesisError: LangChain, or the provider's package, is missing; the provider is not known; there is neither a
            generator nor an engine.
    """
    if generator is None:
        if engine is None:
            raise SynthesisError('nobody is there to write requests: give a generator ("provider:model") or an LM')
        return LocalWriter(engine, style, seed=seed)
    if isinstance(generator, BaseChatModel):
        return ChatModelWriter(generator, seed=seed)
    try:
        from langchain.chat_models import init_chat_model
    except ImportError as error:
        raise SynthesisError(
            f"the generator {generator!r} needs the package langchain ({error}): "
            "pip install 'langchain-toolken[synthesis]', and the provider's own package, such as langchain-openai"
        ) from error
    try:
        return ChatModelWriter(init_chat_model(generator), seed=seed)
    except Exception as error:  # a missing package, an unknown provider, a missing key: each of its own type
        raise SynthesisError(f"the generator {generator!r} can't be made: {error}") from error
