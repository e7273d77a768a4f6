"""Messages as turns: who said what, with each call's result put back (`join_result`, `turns_of`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, HumanMessage, SystemMessage, ToolMessage

from langchain_toolken.prompts.format import Reinjection
from langchain_toolken.prompts.thoughts import OPEN_KEY, thought_of

_THOUGHTS = ("reasoning", "thinking", "redacted_thinking")
_CHAT_ROLES = ("system", "developer", "user", "assistant", "tool")
_OPENERS = tuple("([{$€£\"'")


@dataclass(frozen=True)
class Turn:
    """What one role says before another one does.

    Attributes:
        role: Who says it.
        text: What is said. With inline re-injection it includes the tools' results.
        tool_calls: The calls that follow the text; empty with inline re-injection.
        tool_call_id: The call that a tool's turn answers.
        tool_name: That call's tool.
        thought: What an assistant thought before the text.
        thought_open: Whether the thought has not ended, so that the turn continues inside it.
    """

    role: str
    text: str
    tool_calls: tuple[dict[str, Any], ...] = ()
    tool_call_id: str | None = None
    tool_name: str | None = None
    thought: str = ""
    thought_open: bool = False


def _text_of(message: BaseMessage) -> str:
    if isinstance(message.content, str):
        return message.content
    texts = []
    for block in message.content:
        if isinstance(block, str):
            texts.append(block)
        elif block.get("type") == "text":
            texts.append(str(block["text"]))
        elif block.get("type") in _THOUGHTS and isinstance(message, AIMessage):
            continue  # kept separately: the chat template decides which thoughts the LM reads again
        elif block.get("type") not in ("tool_use", "tool_call", "tool_call_chunk"):  # repeated in message.tool_calls
            raise ValueError(
                f"A {message.type} message holds a content block of type {block.get('type')!r}; this LM reads text "
                "only. Leave the block out, or describe it in words."
            )
    return "".join(texts)


def _role_of(message: BaseMessage) -> str:
    if isinstance(message, SystemMessage):
        return "system"
    if isinstance(message, HumanMessage):
        return "user"
    if isinstance(message, AIMessage):
        return "assistant"
    if isinstance(message, ToolMessage):
        return "tool"
    if isinstance(message, ChatMessage):
        if message.role in _CHAT_ROLES and message.role != "tool":
            return message.role
        raise ValueError(f"A ChatMessage has the role {message.role!r}; known roles: {', '.join(_CHAT_ROLES[:-1])}.")
    raise ValueError(f"Messages of type {type(message).__name__} can't be put into a prompt; use ToolMessage.")


def _joined(turn: Turn, more: Turn) -> Turn:
    """Continue an assistant's turn with another message. A thought after text is dropped, since none can be there."""
    if turn.text:
        return replace(turn, text=turn.text + more.text, tool_calls=more.tool_calls)
    return replace(more, thought=turn.thought + more.thought)


def join_result(text: str, result: str) -> str:
    """Append a tool's `result` to `text`, with a space between them where prose has one.

    There is no space at the start, after whitespace, after an opening bracket, quote or currency sign, and after an "="
    without a space before it ("4096*27=" but "4096 * 27 = ").
    """
    close_equals = text.endswith("=") and not text[:-1].endswith((" ", "\t", "\n"))
    if not text or text[-1].isspace() or text.endswith(_OPENERS) or close_equals:
        return text + result
    return f"{text} {result}"


def turns_of(messages: Sequence[BaseMessage], reinjection: Reinjection) -> list[Turn]:
    """Group messages into turns.

    Args:
        messages: The history, at least one message.
        reinjection: "inline" joins results into the assistant's text, which stays one turn; "turn" gives each result a
            turn.

    Raises:
        ValueError: There are no messages, content other than text, an unknown role, a ToolMessage without its call, or
            a call without its result.
    """
    if not messages:
        raise ValueError("There are no messages to answer: give at least one.")
    turns: list[Turn] = []
    open_calls: dict[str, str] = {}  # id -> tool name, of the current assistant turn's calls without a result
    for message in messages:
        role, text = _role_of(message), _text_of(message)
        if isinstance(message, ToolMessage):
            if message.tool_call_id not in open_calls:
                raise ValueError(
                    f"A tool message answers the call {message.tool_call_id!r}, but no assistant message just before "
                    "it makes a call of that id. Keep each ToolMessage after the AIMessage with its tool call."
                )
            name = open_calls.pop(message.tool_call_id)
            if reinjection == "inline" and turns[-1].thought_open:
                turns[-1] = replace(turns[-1], thought=join_result(turns[-1].thought, text))
            elif reinjection == "inline":
                turns[-1] = replace(turns[-1], text=join_result(turns[-1].text, text))
            else:
                turns.append(Turn("tool", text, tool_call_id=message.tool_call_id, tool_name=name))
            continue
        if isinstance(message, AIMessage):
            calls: tuple[dict[str, Any], ...] = tuple(
                {"id": call["id"] or "", "name": call["name"], "args": call["args"]} for call in message.tool_calls
            )
            open_calls = {**open_calls, **{str(call["id"]): str(call["name"]) for call in calls}}
            goes_on = bool(turns) and turns[-1].role == "assistant"
            said = Turn(
                "assistant",
                text,
                calls if reinjection == "turn" else (),
                thought=thought_of(message),
                thought_open=bool(message.additional_kwargs.get(OPEN_KEY)) and not text,
            )
            if goes_on and (reinjection == "inline" or not turns[-1].tool_calls):
                turns[-1] = _joined(turns[-1], said)
            else:
                turns.append(said)
            continue
        open_calls = {}
        if role == "system" and turns and turns[-1].role == "system":
            # Most templates have a place for one system message, and drop or refuse a second.
            turns[-1] = Turn(role, f"{turns[-1].text}\n\n{text}")
        else:
            turns.append(Turn(role, text))
    if open_calls:
        call_id, name = next(iter(open_calls.items()))
        raise ValueError(
            f"The last assistant message calls the tool {name!r} ({call_id!r}) and no result follows. "
            "Run the tool and add its ToolMessage first."
        )
    return turns
