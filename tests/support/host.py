"""A chat model that plays back messages and keeps which tools it was given: the host of a selector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import BaseTool
from pydantic import Field


class Host(BaseChatModel):
    """Says each of `script` in turn: a text, or the names of tools to call with {"x": 1}, or whole tool calls.

    Attributes:
        script: What it says.
        bound: The names of the tools that it was given, a list for each call.
        given: The tools themselves.
    """

    script: list[Any]
    bound: list[list[str]] = Field(default_factory=list)
    given: list[list[Any]] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "host"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Any:
        names = [tool.name if isinstance(tool, BaseTool) else tool.get("type", "?") for tool in tools]
        return self.bind(names=names, tools=list(tools))

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        self.bound.append(kwargs.get("names", []))
        self.given.append(kwargs.get("tools", []))
        said = self.script[len(self.bound) - 1]
        if isinstance(said, str):
            return ChatResult(generations=[ChatGeneration(message=AIMessage(said))])
        calls = [
            {"name": each if isinstance(each, str) else each[0], "args": {"x": 1} if isinstance(each, str) else each[1]}
            for each in said
        ]
        turn = len(self.bound)
        made = [{**call, "id": f"{turn}-{i}", "type": "tool_call"} for i, call in enumerate(calls)]
        return ChatResult(generations=[ChatGeneration(message=AIMessage("", tool_calls=made))])
