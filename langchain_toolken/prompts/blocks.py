"""A message's content as the text that an LM reads: images, files and data become words in their place.

An LM of text can't see an image, but it can know that there was one. Only a new user message that holds one is refused
(`turns.turns_of`), because its answer would be a guess.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage

_IN_TOOL_CALLS = frozenset(
    {"tool_call", "tool_call_chunk", "invalid_tool_call", "tool_use", "input_json_delta", "function_call"}
)
"""Blocks of an assistant's message that repeat `tool_calls` or `invalid_tool_calls`."""

_THOUGHTS = frozenset({"reasoning", "thinking", "redacted_thinking"})

_MEDIA = {
    **dict.fromkeys(("image", "image_url", "input_image"), "image"),
    **dict.fromkeys(("audio", "input_audio", "audio_url"), "audio"),
    **dict.fromkeys(("video", "video_url", "input_video"), "video"),
    **dict.fromkeys(("file", "input_file", "document", "container_upload", "media"), "file"),
}
"""The word for each type of block that is no text: LangChain's own, and those of OpenAI, Anthropic, Google, Bedrock."""

_NAMES = ("name", "filename", "file_name", "title")
_NAME_LENGTH = 80  # characters; the name is a hint, not the content
_BINARY = re.compile(r"data:[^,\s]{0,200},|[A-Za-z0-9+/_=-]{200}")  # a data URL, or base64 of over 200 characters


def message_text(message: BaseMessage) -> str:
    """Return the text that an LM reads of a message's content.

    Blocks of text are joined as they are. Other blocks are set apart by spaces: "[image]", "[audio]", "[video]",
    "[file]" with the file's name if it has one, and JSON for data. An assistant's thoughts and calls are left out,
    because they are kept elsewhere in the message.
    """
    if isinstance(message.content, str):
        return message.content
    text, apart = "", False
    for block in message.content:
        piece = block if isinstance(block, str) else _block_text(block, by_assistant=isinstance(message, AIMessage))
        if not piece:
            continue
        alone = not is_text(block)
        if text and (alone or apart) and not text[-1].isspace() and not piece[0].isspace():
            text += " "
        text, apart = text + piece, alone
    return text


def is_text(block: str | Mapping[str, Any]) -> bool:
    """Return whether a content block is text as it is."""
    return isinstance(block, str) or (block.get("type", "text") in ("text", "text-plain") and "text" in block)


def unreadable_block(message: BaseMessage) -> str | None:
    """Return the type of the first block that is neither text nor JSON; None if an LM of text can read them all."""
    blocks = [] if isinstance(message.content, str) else message.content
    for block in blocks:
        if not is_text(block) and isinstance(block, dict) and block.get("type") not in ("json", "text"):
            return str(block.get("type"))
    return None


def _block_text(block: Mapping[str, Any], *, by_assistant: bool) -> str:
    kind = block.get("type")
    if is_text(block):
        return str(block["text"] or "")
    if by_assistant and (kind in _IN_TOOL_CALLS or kind in _THOUGHTS):
        return ""
    if kind == "refusal":
        return str(block.get("refusal") or "")
    if kind in _THOUGHTS:
        return str(block.get("reasoning") or block.get("thinking") or "")
    if kind == "json" and len(content := [block[key] for key in ("json", "data", "value") if key in block]) == 1:
        return _json(content[0])
    if kind == "document" and isinstance(source := block.get("source"), Mapping) and source.get("type") == "text":
        return str(source.get("data") or "")
    if kind == "resource" and isinstance(resource := block.get("resource"), Mapping) and "text" in resource:
        return str(resource["text"])
    if kind == "non_standard" and isinstance(value := block.get("value"), Mapping):
        return _block_text(value, by_assistant=by_assistant) if value.get("type") != kind else _json(value)
    word = _MEDIA.get(str(kind)) or _word_of_data(block)
    if word is None:
        return "" if kind in ("text", "text-plain") and set(block) <= {"type", "id", "index"} else _json(block)
    name = _name_of(block)
    return f"[{word} {name}]" if name else f"[{word}]"


def _word_of_data(block: Mapping[str, Any]) -> str | None:
    """Return the word for a block that names no known type but holds data: plain text in a file, Bedrock's blocks."""
    for key in ("image", "audio", "video", "document"):
        if isinstance(block.get(key), Mapping) and "type" not in block:
            return _MEDIA[key]
    return "file" if block.get("type") == "text-plain" and {*block} & {"base64", "url", "file_id"} else None


def _name_of(block: Mapping[str, Any]) -> str:
    """Return a file's name, on one line and without brackets, which could end the word that stands for the file."""
    places = [block, *(value for key, value in block.items() if isinstance(value, Mapping) and key != "cache_control")]
    found = [place[key] for place in places for key in _NAMES if isinstance(place.get(key), str)]
    return " ".join(re.sub(r"[\[\]]", " ", found[0]).split())[:_NAME_LENGTH] if found else ""


def _json(value: Any) -> str:
    """Return the value as JSON, without the bytes of images and files, which would fill the context."""
    try:
        return json.dumps(_without_bytes(value), ensure_ascii=False, default=_described)
    except RecursionError:  # nested deeper than Python can walk
        return "[data]"


def _described(value: object) -> str:
    return "[data]" if isinstance(value, bytes | bytearray | memoryview) else str(value)


def _without_bytes(value: Any) -> Any:
    if isinstance(value, str):
        return "[data]" if _BINARY.match(value) else value
    if isinstance(value, Mapping):
        return {str(key): _without_bytes(item) for key, item in value.items()}
    return [_without_bytes(item) for item in value] if isinstance(value, list | tuple) else value
