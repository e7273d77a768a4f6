"""Writers of synthetic requests: any LangChain chat model, or the local LM itself.

A writer drafts a request, the assistant's answer up to the call, and the call's arguments (`Draft`). It also says which
tool a request needs, so that requests for another tool than the one meant can be rejected.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from langchain_core.exceptions import OutputParserException
from langchain_core.language_models import BaseChatModel
from langchain_core.utils.json import parse_json_markdown
from pydantic import ValidationError

from langchain_toolken.decoding.engine import Engine
from langchain_toolken.prompts.format import Style
from langchain_toolken.tools.spec import ToolSpec
from langchain_toolken.training.synthesis.drafts import NO_TOOL_CHOICE, RESULT, Draft, SynthesisError, Writer
from langchain_toolken.training.synthesis.local_writer import LocalWriter

# Drawn for each batch. Without them LMs write one kind of request, and numbers such as 12, 47 and 150.
_MANNERS = (
    *("plain questions", "orders", "short and casual, as typed on a phone", "polite and wordy"),
    *("with a short story before the question", "by somebody who knows the subject", "by a child"),
)
_SIZES = ("of one or two digits", "of three or four digits", "of very different sizes", "with decimals where that fits")
_SHOWN = 12  # earlier requests in a prompt; more cost tokens without visible benefit


class ChatModelWriter:
    """A LangChain chat model as a writer, with one structured answer per batch.

    If the model supports `with_structured_output`, the provider constrains the answer to the tool's schema. Otherwise
    the model is asked for JSON, which is parsed.

    Args:
        llm: The chat model. Its sampling is its own: set a temperature and a seed on it if it has them.
        seed: Draws the prompts' hints about manner and size of numbers. The prompts of two runs are the same as long as
            the rows kept are.
        batch: Drafts per answer.
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
        """As in `Writer`; also None if the model gives no usable choice."""
        listed = "\n".join(f"- {spec.signature}: {spec.summary}" for spec in specs)
        asked = "\n".join(f"{number}. {' '.join(request.split())}" for number, request in enumerate(requests, start=1))
        prompt = (
            f"An assistant has these tools:\n{listed}\n\nWhich one does it need for each of these requests, "
            f'"{NO_TOOL_CHOICE}" if it needs none of them?\n{asked}\n\nGive {len(requests)} choices, in order.'
        )
        names = [spec.name for spec in specs]
        choices = self._ask(
            prompt, _list_schema("choices", {"tool": {"type": "string", "enum": [*names, NO_TOOL_CHOICE]}}, {})
        )
        picked = [item.get("tool") if isinstance(item, Mapping) else None for item in choices]
        picked += [None] * (len(requests) - len(picked))
        return [name if name in names else None for name in picked[: len(requests)]]

    def _drafts(self, prompt: str, schema: dict[str, Any]) -> list[Draft]:
        drafts = [_draft(item, schema) for item in self._ask(prompt, schema)][: self.batch]
        missing = Draft("", fault="the generator wrote fewer examples than it was asked for")
        return drafts + [missing] * (self.batch - len(drafts))

    def _ask(self, prompt: str, schema: dict[str, Any]) -> list[Any]:
        """Return the items of the list that the model answers with; none if the answer can't be read."""
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
        return Draft("", fault="the generator's example is not an object")
    request, answer, arguments = item.get("request"), item.get("answer", ""), item.get("arguments")
    if not isinstance(request, str) or not isinstance(answer, str):
        return Draft("", fault="the generator's example has no request, or an answer that is not text")
    if not with_call:
        return Draft(request, answer)
    if not isinstance(arguments, Mapping):
        return Draft(request, answer, fault="the generator's example has no arguments")
    return Draft(request, answer, dict(arguments))


def _unlike(kept: Sequence[str]) -> str:
    if not kept:
        return ""
    return "\n\nThese are there already; write others:\n" + "\n".join(f"- {request}" for request in kept[-_SHOWN:])


def writer_for(
    generator: BaseChatModel | str | None, engine: Engine | None, *, style: Style | None = None, seed: int = 0
) -> Writer:
    """Return the writer for a generator.

    Args:
        generator: A chat model, "provider:model" for LangChain's `init_chat_model`, or None for the LM of `engine`.
        engine: The local LM.
        style: How the local LM is asked; see `LocalWriter`.
        seed: See the writers.

    Raises:
        SynthesisError: LangChain or the provider's package is missing, the provider is unknown, or there is neither a
            generator nor an engine.
    """
    if generator is None:
        if engine is None:
            raise SynthesisError('nothing can write requests: give a generator ("provider:model") or an LM')
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
    except Exception as error:  # a missing package, an unknown provider, a missing key: all of different types
        raise SynthesisError(f"the generator {generator!r} can't be made: {error}") from error
