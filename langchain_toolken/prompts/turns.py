"""Messages as turns: who said what, each call paired with its result (DESIGN §3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, HumanMessage, SystemMessage, ToolMessage

from langchain_toolken.prompts.format import Reinjection, join_result
from langchain_toolken.prompts.thoughts import OPEN_KEY, thought_of

_THOUGHTS = ("reasoning", "thinking", "redacted_thinking")
_CHAT_ROLES = ("system", "developer", "user", "assistant", "tool")


@dataclass(frozen=True)
class Turn:
    """What one role says in one go; calls and results stay apart from the text only in turn style.

    thought: what an assistant thought before the text. thought_open: and has not ended: the turn goes on within it.
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
            continue  # kept apart: the chat template decides which thoughts an LM reads again
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
    """An assistant's turn that goes on with another message. A thought behind text is dropped: none can stand there."""
    if turn.text:
        return replace(turn, text=turn.text + more.text, tool_calls=more.tool_calls)
    return replace(more, thought=turn.thought + more.thought)


def turns_of(messages: Sequence[BaseMessage], reinjection: Reinjection) -> list[Turn]:
    """The messages as turns. inline: results are joined into the assistant's text, which stays one turn.

    Raises:
        ValueError: no messages; content other than text; an unknown role; a ToolMessage without its call; a call
            without its result.
    """
    if not messages:
        raise ValueError("There are no messages to answer: give at least one.")
    turns: list[Turn] = []
    open_calls: dict[str, str] = {}  # id -> tool name, of the calls in the assistant turn under way
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
