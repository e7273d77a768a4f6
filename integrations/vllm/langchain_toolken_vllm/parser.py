"""`ToolkenParser`: calls in vLLM's own chat API, as OpenAI's clients expect them.

It asks the plugin to let the request's tools be called, and reads calls from the answer's text: the text before the
toolken is the content, what follows its second appearance is the arguments, and the card between them is dropped.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vllm.entrypoints.generate.base.protocol import (
    DeltaFunctionCall,
    DeltaMessage,
    DeltaToolCall,
    ExtractedToolCallInformation,
    FunctionCall,
    ToolCall,
)
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.renderers.chat_utils import make_tool_call_id
from vllm.tool_parsers.abstract_tool_parser import Tool, ToolParser

from langchain_toolken.decoding.engine import Sampling
from langchain_toolken.decoding.export import TOKENS_FILE, read_tokens
from langchain_toolken.decoding.vllm.chat_decoder import MOST_OF_A_CARD
from langchain_toolken.decoding.vllm.wire import XARG, Asked, Chat
from langchain_toolken.tools.spec import ToolError, tool_specs

_TOOLKEN = re.compile(r"<\|toolken [0-9a-f]{12} \d+ [A-Za-z0-9_.-]+\|>")
_MOST_TOKENS = 1 << 20  # vLLM has a limit of its own


@dataclass(frozen=True)
class _Parts:
    """What an answer's text has so far; None for parts that have not begun."""

    content: str
    tool: str | None
    arguments: str | None


class ToolkenParser(ToolParser):
    """A tool parser of vLLM; see the module."""

    supports_required_and_named = False

    def __init__(self, tokenizer: Any, tools: list[Tool] | None = None) -> None:
        super().__init__(tokenizer, tools)
        folder = getattr(tokenizer, "name_or_path", "")
        try:
            self._tool_of = {token.token: token.tool for token in read_tokens(folder)}
        except OSError as error:
            raise ValueError(f"{folder!r} has no {TOKENS_FILE}: serve a folder that toolken export wrote") from error
        self._shown = _Parts("", None, None)
        self._id = make_tool_call_id()

    def adjust_request(self, request: Any) -> Any:
        """Let the plugin call the request's tools."""
        if not isinstance(request, ChatCompletionRequest) or not request.tools or request.tool_choice == "none":
            return request
        try:
            specs = tool_specs([tool.model_dump(exclude_none=True) for tool in request.tools])
        except ToolError as error:
            raise ValueError(str(error)) from error
        known = set(self._tool_of.values())
        if unknown := [spec.name for spec in specs if spec.name not in known]:
            raise ValueError(f"no toolken for {', '.join(map(repr, unknown[:5]))}: fit and export one, or leave it out")
        choice = request.tool_choice
        named = choice if choice in (None, "auto", "required") else choice.function.name
        messages = [_message(each) for each in request.messages]
        last = max((at for at, message in enumerate(messages) if message["role"] == "user"), default=-1)
        most = request.max_completion_tokens or request.max_tokens or _MOST_TOKENS
        task = Chat(
            sampling=Sampling(
                temperature=request.temperature or 0.0,
                top_p=1.0 if request.top_p is None else request.top_p,
                top_k=max(request.top_k or 0, 0),
                seed=request.seed,
                max_tokens=most,
            ),
            tools=tuple(specs),
            choice=named or "auto",
            asked=messages[last]["content"] if last >= 0 else "",
            answered=last + 1 < len(messages),
        )
        xargs = {XARG: Asked(uid=uuid.uuid4().hex, task=task).model_dump_json()}
        request.vllm_xargs = {**(request.vllm_xargs or {}), **xargs}
        request.skip_special_tokens = False
        for limit in ("max_tokens", "max_completion_tokens"):  # of what the client reads; the card comes on top
            if getattr(request, limit) is not None:
                setattr(request, limit, getattr(request, limit) + MOST_OF_A_CARD + 2)
        if request.cache_salt is None:
            # The mean state of the last message is computed where its tokens run. So they come out of vLLM's cache
            # only where the same beginning has run before.
            beginning = json.dumps(messages[: last + 1], ensure_ascii=False)
            request.cache_salt = hashlib.sha256(beginning.encode()).hexdigest()
        return request

    def extract_tool_calls(self, model_output: str, request: Any) -> ExtractedToolCallInformation:
        """Read the call of a whole answer."""
        parts = self._parts(model_output)
        if parts.tool is None:
            return ExtractedToolCallInformation(tools_called=False, tool_calls=[], content=model_output)
        call = ToolCall(id=self._id, function=FunctionCall(name=parts.tool, arguments=parts.arguments or ""))
        return ExtractedToolCallInformation(tools_called=True, tool_calls=[call], content=parts.content or None)

    def extract_tool_calls_streaming(
        self,
        previous_text: str,
        current_text: str,
        delta_text: str,
        previous_token_ids: Sequence[int],
        current_token_ids: Sequence[int],
        delta_token_ids: Sequence[int],
        request: Any,
    ) -> DeltaMessage | None:
        """Read what is new of an answer that grows."""
        parts, shown = self._parts(current_text), self._shown
        self._shown = parts
        content = parts.content[len(shown.content) :]
        calls = []
        if parts.tool is not None and shown.tool is None:
            self.current_tool_id = 0
            self.current_tool_name_sent = True
            self.prev_tool_call_arr = [{"name": parts.tool, "arguments": ""}]
            self.streamed_args_for_tool = [""]
            function = DeltaFunctionCall(name=parts.tool).model_dump(exclude_none=True)
            calls.append(DeltaToolCall(index=0, id=self._id, type="function", function=function))
        if new := (parts.arguments or "")[len(shown.arguments or "") :]:
            self.prev_tool_call_arr[0]["arguments"] = parts.arguments
            self.streamed_args_for_tool[0] = parts.arguments or ""
            function = DeltaFunctionCall(arguments=new).model_dump(exclude_none=True)
            calls.append(DeltaToolCall(index=0, function=function))
        if not content and not calls:
            return None
        return DeltaMessage(**({"content": content} if content else {}), **({"tool_calls": calls} if calls else {}))

    def _parts(self, text: str) -> _Parts:
        # Where the LM wrote the toolken's text in other tokens, it names no tool that was read here.
        found = [match for match in _TOOLKEN.finditer(text) if match[0] in self._tool_of]
        if not found:
            return _Parts(text, None, None)
        arguments = text[found[1].end() :] if len(found) > 1 else None
        return _Parts(text[: found[0].start()], self._tool_of[found[0][0]], arguments)


def _message(message: Any) -> dict[str, Any]:
    """Return a message's role and text."""
    given = message if isinstance(message, dict) else message.model_dump()
    content = given.get("content") or ""
    if not isinstance(content, str):
        content = "\n".join(part.get("text", "") for part in content if isinstance(part, dict))
    return {"role": given.get("role"), "content": content}
