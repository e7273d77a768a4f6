"""ToolkenChat: a local LM with toolkens behind LangChain's chat model interface (DESIGN §3).

The class is thin. `prompts` renders messages to ids, an engine decodes, and `responses` turns what comes back into
messages. The two steps of a turn, `reason` and `complete`, are public: `agents` runs them as nodes of a graph.
"""

from __future__ import annotations

import hashlib
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self, cast

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.language_models.base import LangSmithParams
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import Field, InstanceOf, PrivateAttr, field_validator

from langchain_toolken import __version__
from langchain_toolken.decoding.engine import Completion, Engine, Reasoning, Sampling
from langchain_toolken.decoding.priors import PriorConfig, prior_rows
from langchain_toolken.decoding.shared import shared_engine
from langchain_toolken.decoding.transformers_engine import TransformersEngine
from langchain_toolken.prompts.content import encode_content
from langchain_toolken.prompts.format import PromptFormat, Reinjection, Style, tool_card
from langchain_toolken.prompts.messages import answer_so_far, render
from langchain_toolken.prompts.templates import answer_lead
from langchain_toolken.responses import closing_chunks, response
from langchain_toolken.toolkens import Provenance, ToolkenSet
from langchain_toolken.tools import ToolSpec, tool_spec

_SAMPLING_FIELDS = ("temperature", "top_p", "top_k", "seed", "max_tokens")


class ToolkenChat(BaseChatModel):
    """A local LM that calls tools through toolkens; a plain local chat model where none are bound.

    As in all of LangChain the LM calls only tools that are bound (`bind_tools`, which `create_agent` and
    `create_toolken_agent` do): binding limits which toolkens are active, and costs no prompt. A bound tool without a
    toolken gets its prior toolken, made from its name, and a warning that says so.

    The LM is loaded at first use and shared by all instances of the same model, device and dtype.

    Args:
        model: "nano" (the LM in this package), a folder, or a Hugging Face Hub id.
        toolkens: a ToolkenSet or a folder that one was saved to; None: no tool has a fitted toolken.
        style: None takes the style the toolkens were fitted in, else "chat" if the tokenizer has a chat template, else
            "completion".
        reinjection: "inline" (a result continues the sentence, as in the papers) or "turn" (a tool-role message).
        few_shot: completion style only: text put before everything else.
        temperature: 0 is greedy, the papers' setting.
        max_tokens: most words per generation.
        max_argument_tokens: most tokens of one call's arguments. A call that they cut off is reported in
            `invalid_tool_calls`, with finish_reason "length".
        stop: strings that end an answer, besides the prompt style's own.

    Raises:
        ToolkenSetError: the toolkens' folder can't be read (here), or they were made for another LM (when the first
            call binds them).
    """

    model: str = "nano"
    toolkens: InstanceOf[ToolkenSet] | str | Path | None = None
    style: Style | None = None
    reinjection: Reinjection = "inline"
    few_shot: str = ""
    temperature: float = Field(default=0.0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    top_k: int = Field(default=0, ge=0)
    seed: int | None = None
    max_tokens: int = Field(default=256, ge=1)
    max_argument_tokens: int = Field(default=256, ge=1)
    stop: list[str] | None = None
    revision: str | None = None
    dtype: str | None = None
    device: str | None = None
    device_map: str | None = None
    trust_remote_code: bool = False

    _engine: Engine | None = PrivateAttr(default=None)
    _set: ToolkenSet | None = PrivateAttr(default=None)
    _given: ToolkenSet | None = PrivateAttr(default=None)
    _identity: str | None = PrivateAttr(default=None)
    _lock: Any = PrivateAttr(default_factory=threading.RLock)

    @field_validator("model", mode="before")
    @classmethod
    def _model_as_text(cls, value: object) -> object:
        return str(value) if isinstance(value, Path) else value

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Not in a validator: pydantic would hide a ToolkenSetError behind a ValidationError.
        given = self.toolkens
        self._given = self._set = ToolkenSet.load(given) if isinstance(given, str | Path) else given

    @classmethod
    def from_engine(cls, engine: Engine, toolkens: ToolkenSet | str | Path | None = None, **fields: Any) -> Self:
        """A ToolkenChat on an engine that is loaded already; `fields` are the constructor's others."""
        chat = cls(model=engine.model_id, toolkens=toolkens, **fields)
        chat._engine = engine
        return chat

    # ----------------------------------------------------------------------------------------------------------------
    # The two steps of a turn

    @property
    def engine(self) -> Engine:
        """The engine, loaded if it is not yet."""
        with self._lock:
            if self._engine is None:
                self._engine = shared_engine(
                    self.model,
                    revision=self.revision,
                    dtype=self.dtype,
                    device=self.device,
                    device_map=self.device_map,
                    trust_remote_code=self.trust_remote_code,
                )
            return self._engine

    @property
    def prompt_format(self) -> PromptFormat:
        """How this model lays out its prompts; loads the engine where the tokenizer has to say."""
        style = self.style
        if style is None and self._given is not None:
            style = self._given.provenance.style
        if style is None:
            style = "completion" if self.engine.tokenizer.chat_template is None else "chat"
        return PromptFormat(style, self.reinjection, self.few_shot)

    def reason(
        self,
        messages: Sequence[BaseMessage],
        *,
        tools: Sequence[ToolSpec] = (),
        stop: Sequence[str] | None = None,
        **sampling: Any,
    ) -> Reasoning:
        """Decode from `messages` until the answer ends or one of the `tools`' toolkens fires.

        Args:
            messages: the history; its rendering is described at `prompts.messages.render`.
            tools: the tools that may be called; none: a plain LM.
            stop: besides the format's; None takes the instance's.
            **sampling: fields of `Sampling` that differ from the instance's.
        """
        prompt, settings = self._prepare(messages, tools, stop, sampling)
        (reasoning,) = self.engine.reason([prompt], **settings)
        return reasoning

    def stream_reason(
        self,
        messages: Sequence[BaseMessage],
        *,
        tools: Sequence[ToolSpec] = (),
        stop: Sequence[str] | None = None,
        **sampling: Any,
    ) -> Iterator[str | Reasoning]:
        """`reason`, piece by piece: the message's text as it comes (without an answer's leading space), the Reasoning
        last. Closing the iterator stops decoding."""
        prompt, settings = self._prepare(messages, tools, stop, sampling)
        lead = self._lead(messages)
        held = ""
        for piece in self.engine.stream(prompt, **settings):
            if isinstance(piece, Reasoning):
                if held and held != lead:
                    yield held
                yield piece
            elif lead is None:
                yield piece
            else:
                held += piece
                if len(held) >= len(lead):
                    held, lead = held.removeprefix(lead), None
                    if held:
                        yield held
                    held = ""

    def text_of(self, messages: Sequence[BaseMessage], reasoning: Reasoning) -> str:
        """What `reasoning` adds to `messages`: its text, without the space that a new answer begins with."""
        return reasoning.text.removeprefix(self._lead(messages) or "")

    def complete(
        self, messages: Sequence[BaseMessage], reasoning: Reasoning, *, tools: Sequence[ToolSpec] = ()
    ) -> AIMessage:
        """The message that `reasoning` comes to: its text and, if a toolken fired, the call with decoded arguments.

        `messages` and `tools` are those that `reasoning` was made from.
        """
        text = self.text_of(messages, reasoning)
        if reasoning.trigger is None:
            return response(text, reasoning, None, 0, self.engine.model_id)
        completion, card_tokens = self._decode_arguments(messages, reasoning, tools)
        return response(text, reasoning, completion, card_tokens, self.engine.model_id)

    def _decode_arguments(
        self, messages: Sequence[BaseMessage], reasoning: Reasoning, tools: Sequence[ToolSpec]
    ) -> tuple[Completion, int]:
        assert reasoning.trigger is not None
        spec = next((spec for spec in tools if spec.name == reasoning.trigger.tool), None)
        if spec is None:
            raise ValueError(f"The toolken of {reasoning.trigger.tool!r} fired, but that tool is not among the tools.")
        tokenizer = self.engine.tokenizer
        card = encode_content(tokenizer, tool_card(spec), continued=True)
        # The generated ids, not the text encoded anew: the cached prefix stays valid token for token.
        prompt = [*render(tokenizer, messages, self.prompt_format), *reasoning.token_ids, *card]
        (completion,) = self.engine.complete([prompt], [spec], max_tokens=self.max_argument_tokens)
        return completion, len(card) if completion.completion_tokens else 0

    def _prepare(
        self,
        messages: Sequence[BaseMessage],
        tools: Sequence[ToolSpec],
        stop: Sequence[str] | None,
        sampling: dict[str, Any],
    ) -> tuple[list[int], dict[str, Any]]:
        prompt_format = self.prompt_format
        prompt = render(self.engine.tokenizer, messages, prompt_format)
        given = self.stop if stop is None else stop
        settings: dict[str, Any] = {
            "toolkens": self._toolkens_for(tools) if tools else None,
            "active": frozenset(spec.name for spec in tools) if tools else None,
            "sampling": Sampling(**{field: sampling.get(field, getattr(self, field)) for field in _SAMPLING_FIELDS}),
            "stop": (*prompt_format.stop, *(given or ())),
            "after_result": self.reinjection == "inline" and isinstance(messages[-1], ToolMessage),
        }
        return prompt, settings

    def _lead(self, messages: Sequence[BaseMessage]) -> str | None:
        """The whitespace to take off what the LM writes next; None where it goes on with an open answer."""
        if answer_so_far(messages, self.reinjection):
            return None
        return answer_lead(self.engine.tokenizer, self.prompt_format) or None

    def _toolkens_for(self, tools: Sequence[ToolSpec]) -> ToolkenSet:
        """The toolkens with one for each of `tools`; missing ones are made from their prior, once, with a warning."""
        with self._lock:
            known = frozenset(self._set.names if self._set is not None else ())
            missing = [spec for spec in tools if spec.name not in known]
            if missing:
                self._set = self._with_priors(missing)
            assert self._set is not None
            return self._set

    def _with_priors(self, specs: list[ToolSpec]) -> ToolkenSet:
        names = ", ".join(repr(spec.name) for spec in specs[:5]) + (" …" if len(specs) > 5 else "")
        engine = self.engine
        if not isinstance(engine, TransformersEngine):
            raise ValueError(
                f"No toolken for {names}, and this engine holds no weights to make prior toolkens from. Fit toolkens "
                "for these tools, or bind only tools that have one."
            )
        lm, prior = engine.lm, PriorConfig()
        warnings.warn(
            f"No fitted toolken for {names}: using prior toolkens, made from the tools' names alone. They fire less "
            f"surely than fitted ones; fit some with fit_toolkens({self.model!r}, tools=…, demonstrations=…).",
            UserWarning,
            stacklevel=2,
        )
        rows = prior_rows(lm, specs, prior)
        if self._set is not None:
            return self._set.add(specs, rows)
        provenance = Provenance(
            model_id=lm.model_id,
            revision=lm.revision,
            head_fingerprint=lm.head_fingerprint,
            tokenizer_fingerprint=lm.tokenizer_fingerprint,
            style=self.prompt_format.style,
            prior=f"{prior.source}:{prior.text}:{prior.pooling}",
            lam=None,
            demonstrations=0,
            tool_positions=0,
            word_positions=0,
            package_version=__version__,
        )
        return ToolkenSet(specs=tuple(specs), matrix=rows, prior=rows, bias=0.0, provenance=provenance)

    # ----------------------------------------------------------------------------------------------------------------
    # LangChain's interface

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        specs, sampling = _call_settings(kwargs)
        reasoning = self.reason(messages, tools=specs, stop=stop, **sampling)
        return ChatResult(generations=[ChatGeneration(message=self.complete(messages, reasoning, tools=specs))])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        specs, sampling = _call_settings(kwargs)

        def emit(message: AIMessageChunk) -> ChatGenerationChunk:
            chunk = ChatGenerationChunk(message=message)
            if run_manager is not None:
                run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            return chunk

        reasoning: Reasoning | None = None
        for piece in self.stream_reason(messages, tools=specs, stop=stop, **sampling):
            if isinstance(piece, Reasoning):
                reasoning = piece
            else:
                yield emit(AIMessageChunk(content=piece))
        assert reasoning is not None
        for chunk in closing_chunks(self.complete(messages, reasoning, tools=specs)):
            yield emit(chunk)

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Let the LM call `tools` and no others: their toolkens are active in every call.

        Args:
            tools: LangChain tools, typed functions, pydantic models or OpenAI-style dicts. No description of them is
                put into the prompt, so their number costs nothing.
            tool_choice: None or "auto": the LM decides; "none": no tool. Others can be bound (LangChain's
                `with_structured_output` does) but are refused when called: calls can't be forced yet.

        Raises:
            ToolError: something among `tools` is not a tool, or has no description.
        """
        specs = [_spec_of(tool) for tool in tools]
        if tool_choice is not None:
            kwargs["tool_choice"] = tool_choice
        return self.bind(tools=[_openai_tool(spec) for spec in specs], **kwargs)

    @property
    def _llm_type(self) -> str:
        return "toolken"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        """What decides this model's answers: what LangChain's caches and tracers key on."""
        fields = ("model", "revision", "dtype", "style", "reinjection", "few_shot", *_SAMPLING_FIELDS, "stop")
        params: dict[str, Any] = {field: getattr(self, field) for field in fields}
        return {**params, "max_argument_tokens": self.max_argument_tokens, "toolkens": self._toolkens_identity()}

    def _toolkens_identity(self) -> str | None:
        if self._given is not None and self._identity is None:
            digest = hashlib.sha256(
                f"{self._given.names} {self._given.biases.tolist()} {self._given.calibration}".encode()
            )
            digest.update(self._given.matrix.numpy().tobytes())
            self._identity = f"{len(self._given)} tools, sha256 {digest.hexdigest()[:16]}"
        return self._identity

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = LangSmithParams(
            ls_provider="toolken",
            ls_model_name=str(kwargs.get("model", self.model)),
            ls_model_type="chat",
            ls_temperature=kwargs.get("temperature", self.temperature),
            ls_max_tokens=kwargs.get("max_tokens", self.max_tokens),
        )
        if stopping := stop or self.stop:
            params["ls_stop"] = list(stopping)
        return params


def _spec_of(tool: object) -> ToolSpec:
    if isinstance(tool, ToolSpec | BaseTool):
        return tool_spec(tool)
    # LangChain knows more forms than ToolSpec does: TypedDicts, JSON schemas with a title, Anthropic's dicts.
    return tool_spec(convert_to_openai_tool(cast(Any, tool)))


def _openai_tool(spec: ToolSpec) -> dict[str, Any]:
    function = {"name": spec.name, "description": spec.description, "parameters": spec.json_schema}
    return {"type": "function", "function": function}


def _call_settings(kwargs: dict[str, Any]) -> tuple[list[ToolSpec], dict[str, Any]]:
    """The tools and sampling settings among a call's keyword arguments (what `bind` and `bind_tools` put there)."""
    choice = kwargs.get("tool_choice")
    if choice not in (None, "auto", "none"):
        raise ValueError(
            f"tool_choice={choice!r}: a call can't be forced yet. Bind the tools with tool_choice None or 'auto'."
        )
    specs = {} if choice == "none" else {spec.name: spec for spec in map(tool_spec, kwargs.get("tools") or ())}
    return list(specs.values()), {field: kwargs[field] for field in _SAMPLING_FIELDS if field in kwargs}
