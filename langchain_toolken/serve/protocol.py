"""What OpenAI's chat completions API takes and returns, as far as this server speaks it.

Fields that are not named here are ignored, since clients send many that change nothing (`user`, `metadata`, `store`).
Those that would change an answer and are not supported are refused, so that nobody takes another answer for theirs.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator

from langchain_toolken.decoding.engine import MOST_TOP_LOGPROBS

ErrorKind = Literal["invalid_request_error", "authentication_error", "rate_limit_error", "server_error"]


class _Received(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class _Sent(BaseModel):
    model_config = ConfigDict(frozen=True)


class FunctionCall(_Received):
    """The function and the arguments of a call, which are JSON in a string."""

    name: str
    arguments: str = "{}"


class ToolCall(_Received):
    """A call that the assistant made."""

    id: str
    type: Literal["function"] = "function"
    function: FunctionCall


class Message(_Received):
    """One message of a conversation.

    Attributes:
        reasoning_content: The assistant's thought, as the answer had it; send it back, and the thought goes on after a
            tool's result.
        reasoning_open: Whether that thought was not closed.
    """

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[dict[str, JsonValue]] | None = None
    name: str | None = None
    tool_call_id: str | None = None
    tool_calls: list[ToolCall] | None = None
    reasoning_content: str | None = None
    reasoning_open: bool | None = None


class Function(_Received):
    """A tool that may be called.

    Attributes:
        description: What it does; None takes the toolken set's.
        parameters: The JSON schema of its arguments; None takes the toolken set's.
    """

    name: str = Field(min_length=1)
    description: str | None = None
    parameters: dict[str, JsonValue] | None = None


class Tool(_Received):
    """A tool in OpenAI's form."""

    type: Literal["function"]
    function: Function


class StreamOptions(_Received):
    """What a stream has in addition to the answer."""

    include_usage: bool = False


class ChatRequest(_Received):
    """The body of a request to /v1/chat/completions.

    Settings that are None are the server's own. `top_k` is not in OpenAI's API; other servers take it too.
    """

    model: str
    messages: list[Message] = Field(min_length=1)
    tools: list[Tool] | None = None
    tool_choice: str | dict[str, JsonValue] | None = None
    parallel_tool_calls: bool | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=0)
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    stop: str | Annotated[list[str], Field(max_length=16)] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=MOST_TOP_LOGPROBS)
    response_format: dict[str, JsonValue] | None = None
    n: Literal[1] | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    functions: list[JsonValue] | None = None
    function_call: JsonValue = None

    @field_validator("presence_penalty", "frequency_penalty", "logit_bias")
    @classmethod
    def _without_effect(cls, value: object) -> object:
        if value:
            raise ValueError("is not supported: leave it out")
        return value

    @field_validator("stop")
    @classmethod
    def _with_words(cls, value: str | list[str] | None) -> str | list[str] | None:
        if value == "" or (isinstance(value, list) and "" in value):
            raise ValueError("a stop string is empty, which would end every answer at once")
        return value

    @field_validator("functions", "function_call")
    @classmethod
    def _replaced(cls, value: object) -> object:
        if value:
            raise ValueError("is of an older API: give tools and tool_choice")
        return value


class Usage(_Sent):
    """How many tokens a completion took."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: dict[str, int] | None = None
    completion_tokens_details: dict[str, int] | None = None


class Choice(_Sent):
    """The answer. `toolken` says what fired, how likely it was, and what else might have."""

    index: int = 0
    message: dict[str, Any]
    finish_reason: str
    logprobs: dict[str, Any] | None = None
    toolken: dict[str, Any] | None = None


class ChatCompletion(_Sent):
    """A whole answer."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage | None = None


class ChunkChoice(_Sent):
    """A piece of the answer."""

    index: int = 0
    delta: dict[str, Any]
    finish_reason: str | None = None
    logprobs: dict[str, Any] | None = None
    toolken: dict[str, Any] | None = None


class ChatCompletionChunk(_Sent):
    """One event of a stream."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: Usage | None = None


class Model(_Sent):
    """A model that can be named in a request."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "langchain-toolken"


class ModelList(_Sent):
    """The answer of /v1/models."""

    object: Literal["list"] = "list"
    data: list[Model]


class ErrorBody(_Sent):
    """An error, as OpenAI's clients read it.

    Attributes:
        param: The field at fault.
        code: A short name that programs can tell it by.
    """

    message: str
    type: ErrorKind
    param: str | None = None
    code: str | None = None


class ErrorAnswer(_Sent):
    """The body of every answer that is an error."""

    error: ErrorBody
