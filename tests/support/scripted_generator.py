"""A chat model that plays a generator: it answers each kind of prompt by a rule, and keeps the prompts."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import Field

Example = dict[str, Any]


class ScriptedGenerator(BaseChatModel):
    """Gives `examples(tool, how often it was asked before)`, and chooses by `choose(request)`.

    tool is "" where requests without a tool are asked for.
    """

    examples: Callable[[str, int], list[Example]]
    choose: Callable[[str], str]
    prompts: list[str] = Field(default_factory=list)
    asked: dict[str, int] = Field(default_factory=dict)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        prompt = messages[-1].text
        self.prompts.append(prompt)
        return ChatResult(generations=[ChatGeneration(message=AIMessage(self._answer(prompt)))])

    def _answer(self, prompt: str) -> str:
        if "Which one does it need" in prompt:
            requests = re.findall(r"^\d+\. (.*)$", prompt, re.MULTILINE)
            return json.dumps({"choices": [{"tool": self.choose(request)} for request in requests]})
        named = re.search(r"^Tool: (\w+)\(", prompt, re.MULTILINE)
        tool = named[1] if named else ""
        before = self.asked.get(tool, 0)
        self.asked[tool] = before + 1
        written = json.dumps({"examples": self.examples(tool, before)}, ensure_ascii=False)
        return f"Here they are:\n```json\n{written}\n```"

    @property
    def _llm_type(self) -> str:
        return "scripted"


class ScriptedToolCaller(ScriptedGenerator):
    """The same for a model that is given a schema as a tool, as `with_structured_output` does it."""

    schemas: list[dict[str, Any]] = Field(default_factory=list)

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        self.schemas.append(tools[0])
        return self.bind(schema_name=tools[0]["title"])

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        prompt = messages[-1].text
        self.prompts.append(prompt)
        args_given = json.loads(self._answer(prompt).removeprefix("Here they are:\n```json\n").removesuffix("\n```"))
        call = {"name": kwargs["schema_name"], "args": args_given, "id": "1", "type": "tool_call"}
        return ChatResult(generations=[ChatGeneration(message=AIMessage("", tool_calls=[call]))])
