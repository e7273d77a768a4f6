"""Messages as turns: who said what, with each call's result put back (`join_result`, `turns_of`)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.utils.json import parse_partial_json

from langchain_toolken.prompts.blocks import message_text, unreadable_block
from langchain_toolken.prompts.format import Reinjection
from langchain_toolken.prompts.thoughts import OPEN_KEY, thought_of

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
        spent: Inline, the tools that were called at the very end of the turn and whose results added nothing to it.
            Called there again, they would add nothing again, without end.
    """

    role: str
    text: str
    tool_calls: tuple[dict[str, Any], ...] = ()
    tool_call_id: str | None = None
    tool_name: str | None = None
    thought: str = ""
    thought_open: bool = False
    spent: tuple[str, ...] = ()


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
    spent = () if more.text.strip() or more.thought.strip() else turn.spent
    if turn.text:
        return replace(turn, text=turn.text + more.text, tool_calls=more.tool_calls, spent=spent)
    return replace(more, thought=turn.thought + more.thought, spent=spent)


def join_result(text: str, result: str) -> str:
    """Append a tool's `result` to `text`, with a space between them where prose has one.

    There is no space at the start, after whitespace, after an opening bracket, quote or currency sign, and after an "="
    without a space before it ("4096*27=" but "4096 * 27 = "). Whitespace at the result's end is left out, since after a
    line break the LM would take the answer for ended and begin something else. A result of whitespace adds nothing.
    """
    close_equals = text.endswith("=") and not text[:-1].endswith((" ", "\t", "\n"))
    result = result.rstrip()
    if not result:
        return text
    if not text or text[-1].isspace() or text.endswith(_OPENERS) or close_equals:
        return text + result
    return f"{text} {result}"


def turns_of(messages: Sequence[BaseMessage], reinjection: Reinjection) -> list[Turn]:
    """Group messages into turns.

    Content other than text becomes words (`blocks.message_text`). A call that was invalid is a turn's call like others
    if a result answers it: the LM sees what was wrong and can try again.

    Args:
        messages: The history, at least one message.
        reinjection: "inline" joins results into the assistant's text, which stays one turn; "turn" gives each result a
            turn.

    Raises:
        ValueError: There are no messages, the user's message that is to be answered has an image or other content that
            is not text, a role is unknown, a ToolMessage is without its call, or a call without its result.
    """
    if not messages:
        raise ValueError("There are no messages to answer: give at least one.")
    _check_new_message(messages)
    answered = {message.tool_call_id for message in messages if isinstance(message, ToolMessage)}
    turns: list[Turn] = []
    names: dict[str, str] = {}  # id -> tool name, of the current assistant turn's calls
    unanswered: dict[str, str] = {}
    for message in messages:
        role, text = _role_of(message), message_text(message)
        if isinstance(message, ToolMessage):
            if message.tool_call_id not in names:
                raise ValueError(
                    f"A tool message answers the call {message.tool_call_id!r}, but no assistant message just before "
                    "it makes a call of that id. Keep each ToolMessage after the AIMessage with its tool call."
                )
            name = names[message.tool_call_id]
            unanswered.pop(message.tool_call_id, None)
            if reinjection == "inline":
                turns[-1] = _with_result(turns[-1], name, text)
            else:
                turns.append(Turn("tool", text, tool_call_id=message.tool_call_id, tool_name=name))
            continue
        if isinstance(message, AIMessage):
            calls = _calls_of(message, answered)
            made = {call["id"]: call["name"] for call in calls}
            names = {**names, **made}
            unanswered = {**unanswered, **made}
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
        names, unanswered = {}, {}
        if role == "system" and turns and turns[-1].role == "system":
            # Most templates have a place for one system message, and drop or refuse a second.
            turns[-1] = Turn(role, f"{turns[-1].text}\n\n{text}")
        else:
            turns.append(Turn(role, text))
    if unanswered:
        call_id, name = next(iter(unanswered.items()))
        raise ValueError(
            f"The last assistant message calls the tool {name!r} ({call_id!r}) and no result follows. "
            "Run the tool and add its ToolMessage first."
        )
    return turns


def _check_new_message(messages: Sequence[BaseMessage]) -> None:
    """Raise a ValueError if the last message is the user's and has content that an LM of text can't read."""
    last = next((each for each in reversed(messages) if _role_of(each) not in ("system", "developer")), messages[-1])
    kind = unreadable_block(last) if _role_of(last) == "user" else None
    if kind is not None:
        raise ValueError(
            f"The {last.type} message to answer holds a content block of type {kind!r}; this LM reads text only. Leave "
            "the block out, or describe it in words."
        )


def _calls_of(message: AIMessage, answered: Collection[str]) -> tuple[dict[str, Any], ...]:
    """Return the message's calls, and those of its invalid calls that are answered, with what their JSON holds."""
    calls = [{"id": call["id"] or "", "name": call["name"], "args": call["args"]} for call in message.tool_calls]
    for bad in message.invalid_tool_calls:
        if bad["id"] in answered:
            calls.append({"id": str(bad["id"]), "name": bad["name"] or "", "args": _read_arguments(bad["args"])})
    return tuple(calls)


def _read_arguments(text: str | None) -> dict[str, Any]:
    """Return as much of an invalid call's arguments as can be read, because chat templates take an object only."""
    try:
        read = parse_partial_json(text or "")
    except (ValueError, RecursionError):
        return {}
    return read if isinstance(read, dict) else {}


def _with_result(turn: Turn, name: str, result: str) -> Turn:
    """Put a tool's result into the assistant's turn, and note if it adds nothing."""
    spent = () if result.strip() else (*turn.spent, name)
    if turn.thought_open:
        return replace(turn, thought=join_result(turn.thought, result), spent=spent)
    return replace(turn, text=join_result(turn.text, result), spent=spent)
