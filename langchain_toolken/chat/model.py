"""ToolkenChat: a local LM with toolkens as a LangChain chat model.

The class only translates between LangChain and `chat.turn`, which decodes.
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
from langchain_core.tools import BaseTool
from pydantic import Field, InstanceOf, PrivateAttr, field_validator

from langchain_toolken.chat import turn, whole_turns
from langchain_toolken.chat.given_tools import binding, tools_to_rank
from langchain_toolken.chat.growing_toolkens import GrowingToolkens
from langchain_toolken.chat.loaded_engine import (
    LOADED_BY,
    LoadedEngine,
    LoadingSettings,
    engine_in_memory,
    load_engine,
)
from langchain_toolken.chat.profile import identifying_params, langsmith_params, text_model_profile
from langchain_toolken.chat.prompt_layout import prompt_layout, warn_if_overruled
from langchain_toolken.chat.prompt_length import prompt_length
from langchain_toolken.chat.settings import (
    OF_HOSTED_MODELS,
    CallOptions,
    GenerationSettings,
    ToolMode,
    changed_settings,
    read_call_options,
    warn_of_unknown,
    with_concurrency,
)
from langchain_toolken.chat.structured_output import structured_call, with_parsing
from langchain_toolken.chat.turn import DecodingSetup
from langchain_toolken.decoding.cancellation import in_thread, iterate_in_thread
from langchain_toolken.decoding.engine import DEFAULT_BATCH_SIZE, Candidate, Engine, Reasoning
from langchain_toolken.lm.identity import LMIdentity
from langchain_toolken.prompts.content import encode_content
from langchain_toolken.prompts.format import PromptFormat, Reinjection, Style
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.tools.spec import ToolSpec, tool_specs


class ToolkenChat(BaseChatModel, LoadingSettings, GenerationSettings):
    """A local LM that calls tools through toolkens. Without bound tools it is a plain local chat model.

    The LM calls only tools that are bound (`bind_tools`, which `create_agent` and `create_toolken_agent` use). Binding
    costs no prompt tokens. A bound tool without a toolken gets a prior toolken, made from its name, and a warning. If
    nothing was fitted, requests are also matched with the words of descriptions.

    The LM is loaded at first use and shared by all instances with the same model, device and dtype.

    Not supported: images and other content that is not text, and `reasoning_effort` (how long an LM thinks is not a
    setting of local LMs; a chat template that can turn thinking off is used as it is). More than one call in a message
    only where the set's fit found that it pays, or with `parallel_tool_calls`; else the LM continues after the result.

    Further arguments are the fields of `LoadingSettings` (model, dtype, device, …) and of `GenerationSettings`
    (temperature, max_tokens, stop, …). A single call can change the latter: `llm.invoke(messages, temperature=0.7)`.

    Args:
        toolkens: A ToolkenSet, a folder that one was saved to, or None.
        tool_mode: "toolken" (the default): tools cost no prompt tokens. "prompt": the prompt describes the tools and
            the LM writes its calls, after a marker token or, where its tokenizer has none, after a marker of text
            (`prompts.tool_calls`).
            "hybrid": toolkens for the tools that have one in `toolkens`, the prompt for the others.
        style: "chat" or "completion". None takes the style that the toolkens were fitted in, else "chat" if the
            tokenizer has a chat template, else "completion".
        reinjection: "inline" (a result continues the sentence, as in the papers) or "turn" (a tool message). None takes
            what the toolkens were fitted for, else "inline"; in chat style with tool_mode="prompt" it is "turn".
        few_shot: Text put before everything else; completion style only.
        max_batch_size: Most sequences that run through the LM together, over all instances that share it; the last one
            that sets it decides. None leaves it at 16. `batch` starts this many calls at a time unless its config has
            a max_concurrency.

    Raises:
        ToolkenSetError: The toolkens' folder can't be read, or (at the first call) the toolkens were made for another
            LM.
    """

    toolkens: InstanceOf[ToolkenSet] | str | Path | None = None
    tool_mode: ToolMode = "toolken"
    style: Style | None = None
    reinjection: Reinjection | None = None
    few_shot: str = ""
    max_batch_size: int | None = Field(default=None, ge=1)

    _loaded: LoadedEngine | None = PrivateAttr(default=None)
    _named_by: LMIdentity | None = PrivateAttr(default=None)  # the toolkens' LM, if they say what `model` is
    _toolkens: GrowingToolkens = PrivateAttr()

    @field_validator("toolkens", mode="before")
    @classmethod
    def _folder_as_text(cls, value: object) -> object:
        return str(value) if isinstance(value, Path) else value

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        loaded, model = None, kwargs.get("model")
        if model is None:
            kwargs.pop("model", None)
        elif not isinstance(model, str | Path):
            loaded = engine_in_memory(model, kwargs.get("model_kwargs"))
            kwargs["model"] = loaded.engine.model_id
        super().__init__(*args, **kwargs)
        known = {*type(self).model_fields, *OF_HOSTED_MODELS}
        warn_of_unknown(kwargs, known, "arguments of AutoModelForCausalLM.from_pretrained go into model_kwargs")
        # Not in a validator: pydantic would hide a ToolkenSetError behind a ValidationError.
        self._toolkens = GrowingToolkens(self.toolkens)
        warn_if_overruled(self.style, self.reinjection, self.tool_mode, self._toolkens.given)
        if model is None and self._toolkens.given is not None:
            self._named_by = self._toolkens.given.made_for
            self.model = self._named_by.model_id
            self.revision = self.revision or self._named_by.revision
        if loaded is not None:
            self._take(loaded)

    @classmethod
    def from_engine(cls, engine: Engine, toolkens: ToolkenSet | str | Path | None = None, **fields: Any) -> Self:
        """Create a ToolkenChat on a loaded engine. `fields` are further arguments of the constructor."""
        chat = cls(model=engine.model_id, toolkens=toolkens, **fields)
        chat._take(LoadedEngine(engine, by_name=False))
        return chat

    @property
    def engine(self) -> Engine:
        """The engine, which is loaded at first use."""
        if self._loaded is not None:
            return self._loaded.engine
        return self._take(load_engine(self, self.max_batch_size, self._named_by))

    def _take(self, loaded: LoadedEngine) -> Engine:
        self._loaded = loaded
        self.profile = ModelProfile(**{"max_input_tokens": loaded.engine.context_length, **(self.profile or {})})
        return loaded.engine

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Copy the model, with other settings.

        The copy shares the loaded LM and the toolkens unless `update` changes them. Weights are never copied, not by
        `copy.deepcopy` either.

        Args:
            update: Settings of the copy, which are not validated.
            deep: Whether the settings' values are copied too.
        """
        update = {field: str(value) if isinstance(value, Path) else value for field, value in (update or {}).items()}
        copied = super().model_copy(update=update, deep=deep)
        changed = {field for field, value in update.items() if value != getattr(self, field, None)}
        if not changed.isdisjoint(LOADED_BY):
            copied._loaded = None
            copied._named_by = None if "model" in changed else self._named_by
            if copied.profile is not None and "profile" not in update:
                copied.profile = {**copied.profile}
                copied.profile.pop("max_input_tokens", None)  # that of the other LM
        if not changed.isdisjoint({"toolkens", *LOADED_BY}):
            # Toolkens made for further tools belong to the LM and the set that they were made with.
            copied._toolkens = GrowingToolkens(copied.toolkens if "toolkens" in changed else self._toolkens.given)
        return copied

    def _resolve_model_profile(self) -> ModelProfile:
        return text_model_profile()  # the context's length is added when the LM is loaded

    @property
    def prompt_format(self) -> PromptFormat:
        """How this model lays out its prompts. Loads the engine if that depends on the tokenizer."""
        return prompt_layout(
            *(self.style, self.reinjection, self.few_shot, self.tool_mode, self._toolkens.given),
            has_template=lambda: self.engine.tokenizer.chat_template is not None,
        )

    def reason(
        self,
        messages: Sequence[BaseMessage],
        *,
        tools: Sequence[ToolSpec] = (),
        stop: Sequence[str] | None = None,
        forced: bool = False,
        **changes: Any,
    ) -> Reasoning:
        """Decode from `messages` until the answer ends or the LM calls one of the `tools`.

        Args:
            messages: The history, rendered as `prompts.messages.render` describes.
            tools: The tools that may be called.
            stop: Strings that end the answer; None takes the instance's.
            forced: Whether to call one of the tools at once.
            **changes: Fields of `GenerationSettings` that differ from the instance's.
        """
        return turn.reason(self.decoding_setup(stop, **changes).lay_out(messages, tools), forced=forced)

    def rank_tools(
        self, messages: LanguageModelInput, k: int = 5, *, tools: Sequence[Any] | None = None
    ) -> list[Candidate]:
        """Return the k tools that the LM would call next, likeliest first.

        Their probabilities are over [words ; toolkens]. It takes one forward pass; nothing is generated.

        Args:
            messages: The chat model's input.
            k: How many tools to return.
            tools: The tools to choose from, as `bind_tools` takes them; None for all that have a toolken.

        Raises:
            ValueError: k is less than 1, or there are no tools.
        """
        return self.batch_rank_tools([messages], k, tools=tools)[0]

    async def arank_tools(
        self, messages: LanguageModelInput, k: int = 5, *, tools: Sequence[Any] | None = None
    ) -> list[Candidate]:
        """Do what `rank_tools` does, in a thread, where it joins the batch of other callers."""
        return await in_thread(partial(self.rank_tools, messages, k, tools=tools))

    def batch_rank_tools(
        self, inputs: Sequence[LanguageModelInput], k: int = 5, *, tools: Sequence[Any] | None = None
    ) -> list[list[Candidate]]:
        """Do what `rank_tools` does for each of `inputs`, which run through the LM in batches."""
        specs = tools_to_rank(tools, self._toolkens.given, k)
        setup = self.decoding_setup()
        histories = [setup.after_worked_answers(self._convert_input(each).to_messages(), specs) for each in inputs]
        return [list(ranking[:k]) for ranking in turn.rank(setup, histories, specs)]

    def decoding_setup(self, stop: Sequence[str] | None = None, **changes: Any) -> DecodingSetup:
        """Return what `chat.turn` decodes a turn with: this model's settings and a call's changes to them.

        Args:
            stop: Strings that end an answer; None takes the instance's.
            **changes: Fields of `GenerationSettings`.

        Raises:
            InvalidRequestError: A change has the wrong type or is outside its range.
        """
        return DecodingSetup(
            engine=self.engine,
            prompt_format=self.prompt_format,
            tool_mode=self.tool_mode,
            toolkens=self._toolkens,
            generation=changed_settings(self, {**changes, "stop": stop}),
        )

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        message = whole_turns.message_of_turn(*self._requested(stop, kwargs), messages)
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for message in whole_turns.stream_turn(*self._requested(stop, kwargs), messages):
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
        # Decoding blocks. In its own thread it joins the batch, and stops when this task is cancelled.
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
        """Answer several inputs, which run through the LM in batches of up to `max_batch_size`."""
        configs = with_concurrency(config, len(inputs), self.max_batch_size or DEFAULT_BATCH_SIZE)
        return super().batch(inputs, configs, return_exceptions=return_exceptions, **kwargs)

    def _requested(self, stop: Sequence[str] | None, kwargs: Mapping[str, Any]) -> tuple[DecodingSetup, CallOptions]:
        """Return what a call is decoded with (perhaps another LM), and its options."""
        options, model = read_call_options(kwargs), str(kwargs.get("model") or self.model)
        chat = self if model == self.model else self.model_copy(update={"model": model})
        return chat.decoding_setup(stop, **options.changes), options

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | dict[str, Any] | bool | None = None,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Let the LM call `tools`, and only these.

        Args:
            tools: LangChain tools, typed functions, pydantic models or OpenAI-style dicts. In the toolken mode the
                prompt describes none of them, so their number costs nothing.
            tool_choice: None or "auto": the LM decides. "none": no tool. "any" or "required": it calls one at once,
                before any text. A tool's name, or {"type": "function", "function": {"name": ...}}: it calls that one.
            strict: Accepted for compatibility; arguments always match the tool's schema.
            **kwargs: Further settings of the call, such as temperature.

        Raises:
            ToolError: Something in `tools` is not a tool or has no description, or two tools have the same name.
            InvalidRequestError: tool_choice is not understood, or names a tool that is not in `tools`.
        """
        return self.bind(**binding(tools, tool_choice), **kwargs)

    def with_structured_output(
        self,
        schema: dict[str, Any] | type,
        *,
        include_raw: bool = False,
        method: str = "json_schema",
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """Return a model whose answers match `schema`: they are decoded under its grammar.

        Args:
            schema: A pydantic model (answers are instances of it), or a TypedDict or JSON schema (answers are dicts).
            include_raw: Return {"raw", "parsed", "parsing_error"} instead of raising if an answer is cut off.
            method: "json_schema": the answer's text is JSON of this schema. "function_calling": a forced call of the
                schema as a tool. "json_mode" is treated as "json_schema". In all of them the LM sees the fields on a
                card, and decodes greedily.
            strict: Accepted for compatibility; answers always match the schema.
            **kwargs: Further settings of the call, such as max_tokens.

        Raises:
            ValueError: The method is unknown, or `schema` is not an object schema.
            ToolError: The schema has fields that can't be constrained.
        """
        bound = self.bind(**structured_call(schema, method, strict), **kwargs)
        return with_parsing(bound, schema, include_raw=include_raw)

    def get_token_ids(self, text: str) -> list[int]:
        """Return the token ids of `text` as a message's content, in which special tokens stay text."""
        own = self.custom_get_token_ids
        return encode_content(self.engine.tokenizer, text) if own is None else own(text)

    def get_num_tokens_from_messages(self, messages: list[BaseMessage], tools: Sequence[Any] | None = None) -> int:
        """Return how many tokens the LM reads before it answers `messages` with `tools` bound.

        Messages that make no prompt, such as parts of a history, are counted as `chat.prompt_length` describes.
        """
        return prompt_length(self.decoding_setup(), messages, tool_specs(tools or (), allow_repeats=True))

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Return True: `dumps` writes the settings, without weights, and toolkens only if given as a folder."""
        return True

    def _get_llm_string(self, stop: list[str] | None = None, **kwargs: Any) -> str:
        # LangChain keys cached answers by what `dumps` writes, which does not include the toolkens' contents.
        return f"{super()._get_llm_string(stop, **kwargs)} {self._toolkens.identity}"

    @property
    def _llm_type(self) -> str:
        return "toolken"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return identifying_params(self, self._toolkens.identity)

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        return langsmith_params(self, kwargs, stop or self.stop)
