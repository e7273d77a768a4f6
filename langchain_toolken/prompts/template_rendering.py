"""Run a chat template as the tokenizer does, with each message's content in the form that the template reads.

Most templates take a message's content as a string. Some read it only as parts, [{"type": "text", "text": …}], and show
nothing of a string. Which of the two is found out by rendering a probe for each role.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PRIVATE_USE = range(0xF0000, 0xFFFFE)
"""Supplementary Private Use Area-A: characters to which no tokenizer or template gives a meaning."""

REFUSALS = (TemplateError, TypeError, ValueError)
"""What a template raises that refuses a message."""

# The same characters as Python's repr and JSON in ASCII write them, which some templates print lists and schemas with.
_ESCAPED = re.compile(r"\\U000f[0-9a-f]{4}|\\udb[89ab][0-9a-f]\\ud[c-f][0-9a-f]{2}")


def run_template(
    tokenizer: PreTrainedTokenizerBase,
    chat: Sequence[Mapping[str, Any]],
    *,
    generate: bool,
    tools: Sequence[Mapping[str, Any]] = (),
) -> str:
    """Render `chat` in the tokenizer's template.

    Args:
        tokenizer: The LM's tokenizer, with a template.
        chat: Messages as dicts, each with its content as a string.
        generate: Whether to add the generation prompt.
        tools: Tools to describe, in OpenAI's form.

    Raises:
        TemplateError: The template refuses the chat, as it does with TypeError and ValueError.
    """
    in_parts = _roles_in_parts(tokenizer, str(tokenizer.chat_template))
    return _run(tokenizer, [_in_form(message, message["role"] in in_parts) for message in chat], generate, tools)


def shows_content(tokenizer: PreTrainedTokenizerBase, role: str) -> bool:
    """Return whether the template shows a message of this role, in either form and where it usually comes."""
    template = str(tokenizer.chat_template)
    chat = _probe_chats(_roles_in_parts(tokenizer, template)).get(role)
    return chat is None or any(_shows(tokenizer, chat, parts) for parts in (False, True))


def _run(
    tokenizer: PreTrainedTokenizerBase,
    chat: Sequence[Mapping[str, Any]],
    generate: bool,
    tools: Sequence[Mapping[str, Any]] = (),
) -> str:
    rendered = tokenizer.apply_chat_template(
        [dict(message) for message in chat],
        tools=[dict(tool) for tool in tools] or None,
        tokenize=False,
        add_generation_prompt=generate,
    )
    return _ESCAPED.sub(_unescaped, str(rendered))


def _in_form(message: Mapping[str, Any], parts: bool) -> dict[str, Any]:
    if not parts:
        return dict(message)
    text = message["content"]
    return {**message, "content": [{"type": "text", "text": text}] if text else []}


@lru_cache(maxsize=8)
def _roles_in_parts(tokenizer: PreTrainedTokenizerBase, chat_template: str) -> frozenset[str]:
    """Return the roles whose content the template shows only if it comes in parts."""
    found: set[str] = set()
    for role in ("user", "assistant", "system", "developer", "tool"):  # the others come before or after a user message
        chat = _probe_chats(found)[role]
        if not _shows(tokenizer, chat, parts=False) and _shows(tokenizer, chat, parts=True):
            found.add(role)
    return frozenset(found)


def _probe_chats(in_parts: set[str] | frozenset[str]) -> dict[str, list[dict[str, Any]]]:
    """Return a chat for each role, with the probe as that role's content."""
    call = {"id": "000000000", "type": "function", "function": {"name": "a", "arguments": {}}}
    user = _in_form({"role": "user", "content": "a"}, "user" in in_parts)
    calling = _in_form({"role": "assistant", "content": "", "tool_calls": [call]}, "assistant" in in_parts)
    asked = {"content": chr(PRIVATE_USE[0])}
    return {
        "user": [{"role": "user", **asked}],
        "assistant": [user, {"role": "assistant", **asked}],
        "system": [{"role": "system", **asked}, user],
        "developer": [{"role": "developer", **asked}, user],
        "tool": [user, calling, {"role": "tool", "tool_call_id": "000000000", "name": "a", **asked}],
    }


def _shows(tokenizer: PreTrainedTokenizerBase, chat: Sequence[Mapping[str, Any]], parts: bool) -> bool:
    probe = chr(PRIVATE_USE[0])
    try:
        return probe in _run(tokenizer, [_in_form(m, parts and m["content"] == probe) for m in chat], False)
    except REFUSALS:
        return False


def _unescaped(match: re.Match[str]) -> str:
    digits = match.group().replace("\\U", "").replace("\\u", "")
    if digits.startswith("000f"):
        return chr(int(digits, 16))
    return bytes.fromhex(digits).decode("utf-16-be")
