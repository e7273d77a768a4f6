"""ToolkenChat: a local LM with toolkens behind LangChain's chat model interface (DESIGN §3).

The class is thin: it reads what LangChain hands it, and `chat_turn` decodes the turn.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any, Self

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput, ModelProfile
from langchain_core.language_models.base import LangSmithParams
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import get_config_list
from langchain_core.tools import BaseTool
from pydantic import Field, InstanceOf, PrivateAttr, field_validator

from langchain_toolken.chat import settings as call_settings
from langchain_toolken.chat import turn as chat_turn
from langchain_toolken.chat.backtracing import validators_of
from langchain_toolken.chat.growing_toolkens import GrowingToolkens
from langchain_toolken.chat.loaded_engine import LOADED_BY, LoadedEngine
from langchain_toolken.chat.profile import langsmith_params, text_model_profile
from langchain_toolken.chat.reranking import DEFAULT_MARGIN, MOST_CANDIDATES, Reranking, RerankMethod
from langchain_toolken.chat.structured_output import structured_call, with_parsing
from langchain_toolken.chat.turn import TurnSettings
from langchain_toolken.decoding.cancellation import in_thread, iterate_in_thread
from langchain_toolken.decoding.engine import DEFAULT_BATCH_SIZE, MOST_TOP_LOGPROBS, Candidate, Engine, Reasoning
from langchain_toolken.decoding.local.shared import shared_engine
from langchain_toolken.prompts.content import encode_content
from langchain_toolken.prompts.format import PromptFormat, Reinjection, Style
from langchain_toolken.prompts.tool_cards import openai_tool
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.tools.spec import ToolSpec, tool_specs


class ToolkenChat(BaseChatModel):
    """A local LM that calls tools through toolkens; a plain local chat model where none are bound.

    As in all of LangChain the LM calls only tools that are bound (`bind_tools`, which `create_agent` and
    `create_toolken_agent` do): binding limits which toolkens are active, and costs no prompt. A bound tool without a
    toolken gets its prior toolken, made from its name, and a warning that says so.

    The LM is loaded at first use and shared by all instances of the same model, device and dtype.

    Args:
        model: "nano" (the LM in this package), a folder, or a Hugging Face Hub id.
        toolkens: a ToolkenSet or a folder that one was saved to; None: no tool has a fitted toolken.
        tool_mode: "toolken" (the default: tools cost no prompt); "prompt": the tools are described in the prompt, and
            the LM writes its calls, which its tokenizer needs a marker token for (`prompts.tool_calls.MARKERS`);
            "hybrid": toolkens for the tools that have one in `toolkens`, the prompt for the others.
        style: None takes the style the toolkens were fitted in, else "chat" if the tokenizer has a chat template, else
            "completion".
        reinjection: "inline" (a result continues the sentence, as in the papers) or "turn" (a tool-role message). None
            takes "turn" in the chat style of tool_mode="prompt", since LMs that write calls were trained so, else
            "inline".
        few_shot: completion style only: text put before everything else.
        temperature: 0 is greedy, the papers' setting.
        max_tokens: most tokens of an answer, words and the call at its end together.
        max_argument_tokens: most tokens of one call's arguments, within those. A call that either cuts off is reported
            in `invalid_tool_calls`, with finish_reason "length".
        stop: strings that end an answer, besides the prompt style's own.
        logprobs: report the words' log-probabilities in `response_metadata`, in OpenAI's form.
        top_logprobs: and those of so many likeliest words at each place.
        rerank: a second look at calls that the toolkens are not sure of, by the frozen LM: "docs" (it reads the
            likeliest tools' cards and may reject the call) or "frozen" (it reads none and names one of them); None
            (default) none: it costs LM tokens, which `response_metadata["rerank"]` and the usage count.
        rerank_margin: how far the trigger's probability must lead the runner-up's to be sure. 0.5: what leads by more
            is likelier to be right than all else together.
        rerank_k: how many tools are weighed, at most.
        backtrace: how many runners-up are tried, one after the other, where a call's arguments are cut off or do not
            pass the tool's own pydantic model. 0 (default): the failed call is reported and no other tool is called,
            since that one might do something that nobody wanted.
        max_batch_size: most sequences that run through the LM together, of all instances that share it: the last one
            that sets it decides. None leaves it at 16. `batch` starts as many calls at a time, unless its config has a
            max_concurrency.
        model_kwargs: further arguments of `AutoModelForCausalLM.from_pretrained`, such as a quantization_config.

    Raises:
        ToolkenSetError: the toolkens' folder can't be read (here), or they were made for another LM (when the first
            call binds them).
    """

    model: str = "nano"
    toolkens: InstanceOf[ToolkenSet] | str | Path | None = None
    tool_mode: call_settings.ToolMode = "toolken"
    style: Style | None = None
    reinjection: Reinjection | None = None
    few_shot: str = ""
    temperature: float = Field(default=0.0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    top_k: int = Field(default=0, ge=0)
    seed: int | None = None
    max_tokens: int = Field(default=256, ge=1)
    max_argument_tokens: int = Field(default=256, ge=1)
    stop: list[str] | None = None
    logprobs: bool = False
    top_logprobs: int | None = Field(default=None, ge=0, le=MOST_TOP_LOGPROBS)
    rerank: RerankMethod | None = None
    rerank_margin: float = Field(default=DEFAULT_MARGIN, ge=0, le=1)
    rerank_k: int = Field(default=MOST_CANDIDATES, ge=2, le=MOST_CANDIDATES)
    backtrace: int = Field(default=0, ge=0, lt=MOST_CANDIDATES)
    revision: str | None = None
    dtype: str | None = None
    device: str | None = None
    device_map: str | dict[str, Any] | None = None
    trust_remote_code: bool = False
    max_batch_size: int | None = Field(default=None, ge=1)
    model_kwargs: dict[str, Any] = Field(default_factory=dict)

    _loaded: LoadedEngine | None = PrivateAttr(default=None)
    _toolkens: GrowingToolkens = PrivateAttr()

    @field_validator("model", "toolkens", mode="before")
    @classmethod
    def _path_as_text(cls, value: object) -> object:
        return str(value) if isinstance(value, Path) else value

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        known = {*type(self).model_fields, *call_settings.OF_HOSTED_MODELS}
        call_settings.warn_of_unknown(
            kwargs, known, "what AutoModelForCausalLM.from_pretrained takes goes into model_kwargs"
        )
        # Not in a validator: pydantic would hide a ToolkenSetError behind a ValidationError.
        self._toolkens = GrowingToolkens(self.toolkens)

    @classmethod
    def from_engine(cls, engine: Engine, toolkens: ToolkenSet | str | Path | None = None, **fields: Any) -> Self:
        """A ToolkenChat on an engine that is loaded already; `fields` are the constructor's others."""
        chat = cls(model=engine.model_id, toolkens=toolkens, **fields)
        chat._take(LoadedEngine(engine, by_name=False))
        return chat

    @property
    def engine(self) -> Engine:
        """The engine, loaded if it is not yet."""
        if self._loaded is not None:
            return self._loaded.engine
        settings: dict[str, Any] = {field: getattr(self, field) for field in LOADED_BY}
        settings |= settings.pop("model_kwargs")
        return self._take(LoadedEngine(shared_engine(max_batch_size=self.max_batch_size, **settings), by_name=True))

    def _take(self, loaded: LoadedEngine) -> Engine:
        self._loaded = loaded
        self.profile = ModelProfile(**{"max_input_tokens": loaded.engine.context_length, **(self.profile or {})})
        return loaded.engine

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with the settings in `update`, which are not checked; deep: what the settings hold is copied as well.

        A copy has the same loaded LM and toolkens, unless it is given others: weights are never copied, and
        `copy.deepcopy` doesn't copy them either.
        """
        update = {field: self._path_as_text(value) for field, value in (update or {}).items()}
        copied = super().model_copy(update=update, deep=deep)
        changed = {field for field, value in update.items() if value != getattr(self, field, None)}
        if not changed.isdisjoint(LOADED_BY):
            copied._loaded = None
            if copied.profile is not None and "profile" not in update:
                copied.profile = {**copied.profile}
                copied.profile.pop("max_input_tokens", None)  # it was the other LM's
        if not changed.isdisjoint({"toolkens", *LOADED_BY}):
            # What was made for other tools belongs to the LM and the set that it was made with.
            copied._toolkens = GrowingToolkens(copied.toolkens if "toolkens" in changed else self._toolkens.given)
        return copied

    def _resolve_model_profile(self) -> ModelProfile:
        return text_model_profile()  # the context's length comes with the LM, which is not loaded for being asked

    @property
    def prompt_format(self) -> PromptFormat:
        """How this model lays out its prompts; loads the engine where the tokenizer has to say."""
        style, given = self.style, self._toolkens.given
        if style is None and given is not None and self.tool_mode != "prompt":
            style = given.provenance.style
        if style is None:
            style = "completion" if self.engine.tokenizer.chat_template is None else "chat"
        turns = self.tool_mode == "prompt" and style == "chat"
        return PromptFormat(style, self.reinjection or ("turn" if turns else "inline"), self.few_shot)

    def reason(
        self,
        messages: Sequence[BaseMessage],
        *,
        tools: Sequence[ToolSpec] = (),
        stop: Sequence[str] | None = None,
        forced: bool = False,
        **sampling: Any,
    ) -> Reasoning:
        """Decode from `messages` until the answer ends or the LM calls one of the `tools`.

        Args:
            messages: the history; its rendering is described at `prompts.messages.render`.
            tools: the tools that may be called; none: a plain LM.
            stop: besides the format's; None takes the instance's.
            forced: call one of the tools at once.
            **sampling: fields of `call_settings.SAMPLING_FIELDS` that differ from the instance's.
        """
        return chat_turn.reason(self.turn(stop, **sampling), messages, tools, forced=forced)

    def rank_tools(
        self, messages: LanguageModelInput, k: int = 5, *, tools: Sequence[Any] | None = None
    ) -> list[Candidate]:
        """The k tools that the LM would call next, likeliest first, with their probabilities over [words ; toolkens].

        One forward pass; nothing is generated.

        Args:
            tools: those to choose among, as `bind_tools` takes them; None for all that have a toolken.

        Raises:
            ValueError: k is less than 1, or there are no tools.
        """
        given = self._toolkens.given
        specs = given.specs if tools is None and given is not None else tool_specs(tools or (), allow_repeats=True)
        if k < 1 or not specs:
            raise ValueError(f"k must be 1 or more, not {k}." if k < 1 else "There are no tools to rank: give tools=….")
        return list(chat_turn.rank(self.turn(), self._convert_input(messages).to_messages(), specs)[:k])

    def turn(self, stop: Sequence[str] | None = None, **changed: Any) -> TurnSettings:
        """How a turn is decoded, for `chat_turn`'s functions: this model's settings, and those that a call changes.

        Args:
            stop: strings that end an answer; None takes the instance's.
            **changed: fields of `call_settings.SAMPLING_FIELDS`.

        Raises:
            ValueError: one of them is of another type, or outside its range.
        """
        current = {field: getattr(self, field) for field in (*call_settings.SAMPLING_FIELDS, "stop")}
        values = call_settings.changed_fields(type(self), current, {**changed, "stop": stop})
        return TurnSettings(
            engine=self.engine,
            prompt_format=self.prompt_format,
            tool_mode=self.tool_mode,
            toolkens=self._toolkens,
            sampling=call_settings.sampling_of(values),
            stop=tuple(values["stop"] or ()),
            second_look=Reranking(values["rerank"], values["rerank_margin"], values["rerank_k"]),
            max_argument_tokens=values["max_argument_tokens"],
            backtrace=values["backtrace"],
        )

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        settings, asked = self._asked(stop, kwargs)
        message = chat_turn.message_of_turn(settings, messages, asked)
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        settings, asked = self._asked(stop, kwargs)
        for message in chat_turn.stream_turn(settings, messages, asked):
            chunk = ChatGenerationChunk(message=message)
            if run_manager is not None:
                run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        # Decoding blocks; in a thread of its own it joins the batch, and stops when this task is cancelled.
        manager = run_manager.get_sync() if run_manager else None
        return await in_thread(partial(self._generate, messages, stop, manager, **kwargs))

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        async with aclosing(iterate_in_thread(partial(self._stream, messages, stop, **kwargs))) as chunks:
            async for chunk in chunks:
                if run_manager is not None:
                    await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                yield chunk

    def batch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[AIMessage]:
        """Answer several inputs together: they run through the LM as one batch, of up to `max_batch_size` at a time."""
        configs = get_config_list(config, len(inputs))
        for each in configs:
            # Without it LangChain takes as many threads as there are CPUs and 4.
            if each.get("max_concurrency") is None:
                each["max_concurrency"] = self.max_batch_size or DEFAULT_BATCH_SIZE
        return super().batch(inputs, configs, return_exceptions=return_exceptions, **kwargs)

    def _asked(
        self, stop: Sequence[str] | None, kwargs: Mapping[str, Any]
    ) -> tuple[TurnSettings, call_settings.CallSettings]:
        """How a call's turn is decoded, perhaps by another LM, and what is asked of it."""
        asked, model = call_settings.call_settings(kwargs), str(kwargs.get("model") or self.model)
        chat = self if model == self.model else self.model_copy(update={"model": model})
        return chat.turn(stop, **asked.sampling), asked

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | dict[str, Any] | bool | None = None,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Let the LM call `tools` and no others.

        Args:
            tools: LangChain tools, typed functions, pydantic models or OpenAI-style dicts. In the toolken mode no
                description of them is put into the prompt, so their number costs nothing.
            tool_choice: None or "auto": the LM decides; "none": no tool; "any" or "required": it calls one at once,
                before any word; a tool's name, or {"type": "function", "function": {"name": ...}}: it calls that one.
            strict: accepted for code that gives it; arguments always keep to the tool's schema.
            **kwargs: further settings of the call, such as temperature.

        Raises:
            ToolError: something among `tools` is not a tool, or has no description; two tools have one name.
            ValueError: tool_choice is not understood, or names a tool that is not among `tools`.
        """
        specs = tool_specs(tools, allow_repeats=True)
        call_settings.choice_among(tool_choice, [spec.name for spec in specs])
        if tool_choice is not None:
            kwargs["tool_choice"] = tool_choice
        if models := validators_of(tools):
            kwargs["argument_models"] = models
        return self.bind(tools=[openai_tool(spec) for spec in specs], **kwargs)

    def with_structured_output(
        self,
        schema: dict[str, Any] | type,
        *,
        include_raw: bool = False,
        method: str = "json_schema",
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """A model that answers in the form of `schema`, always, since the answer is decoded under its grammar.

        Args:
            schema: a pydantic model (which the answer then is), a TypedDict or a JSON schema (the answer is a dict).
            include_raw: give {"raw", "parsed", "parsing_error"} instead of raising when an answer was cut off.
            method: "json_schema": the answer's text is JSON of this schema; "function_calling": a forced call of the
                schema as a tool. The LM is shown the fields on a card and decodes greedily, as all JSON is, in both.
                "json_mode" is taken for "json_schema", which gives no less.
            strict: accepted for code that gives it; answers always keep to the schema.
            **kwargs: further settings of the call, such as max_tokens.

        Raises:
            ValueError: the method is another one, or `schema` is no schema of an object.
            ToolError: the schema has fields that can't be constrained.
        """
        bound = self.bind(**structured_call(schema, method, strict), **kwargs)
        return with_parsing(bound, schema, include_raw=include_raw)

    def get_token_ids(self, text: str) -> list[int]:
        """The ids of `text` as a message's content: special tokens in it stay text."""
        own = self.custom_get_token_ids
        return encode_content(self.engine.tokenizer, text) if own is None else own(text)

    def get_num_tokens_from_messages(self, messages: list[BaseMessage], tools: Sequence[Any] | None = None) -> int:
        """How many tokens the LM reads before it answers `messages` with `tools` bound; see `chat_turn.prompt_length`
        for messages that nobody could answer."""
        return chat_turn.prompt_length(self.turn(), messages, tool_specs(tools or (), allow_repeats=True))

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """`dumps` writes the settings and no weights; toolkens come along only where they are given as a folder."""
        return True

    def _get_llm_string(self, stop: list[str] | None = None, **kwargs: Any) -> str:
        # LangChain's key of cached answers is what `dumps` writes, which says nothing of what toolkens hold.
        return f"{super()._get_llm_string(stop, **kwargs)} {self._toolkens.identity}"

    @property
    def _llm_type(self) -> str:
        return "toolken"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        """What decides this model's answers: what LangChain's caches and tracers key on."""
        fields = ("model", "revision", "dtype", "tool_mode", "style", "reinjection", "few_shot", "stop")
        params: dict[str, Any] = {field: getattr(self, field) for field in (*fields, *call_settings.SAMPLING_FIELDS)}
        return {**params, "toolkens": self._toolkens.identity}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        return langsmith_params(self, kwargs, stop or self.stop)
