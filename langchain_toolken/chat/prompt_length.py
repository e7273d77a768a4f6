"""How many tokens a prompt has, for code that trims histories."""

from __future__ import annotations

import json
from collections.abc import Sequence

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

from langchain_toolken.chat.turn import DecodingSetup
from langchain_toolken.tools.spec import ToolSpec


def prompt_length(setup: DecodingSetup, messages: Sequence[BaseMessage], tools: Sequence[ToolSpec]) -> int:
    """Return how many tokens the prompt for `messages` and `tools` has.

    Messages that make no prompt (code that trims a history counts parts of it, such as a result without its call) are
    each counted as a question, which is a few tokens too many.

    Raises:
        ValueError: There are tools to describe, and the tokenizer has no way to call them.
    """
    try:
        return len(setup.prompt(messages, tools).ids) if messages else 0
    except ValueError:
        calls = [message.tool_calls if isinstance(message, AIMessage) else [] for message in messages]
        texts = [
            message.text + "".join(f"{call['name']} {json.dumps(call['args'])}" for call in made)
            for message, made in zip(messages, calls, strict=True)
        ]
        rest = [len(setup.prompt([HumanMessage(text)], ()).ids) for text in texts[1:]]
        return len(setup.prompt([HumanMessage(texts[0])], tools).ids) + sum(rest)
