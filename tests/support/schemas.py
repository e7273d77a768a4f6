"""Arguments under a tool's grammar: whether it accepts them, and some that it lets a random LM write."""

from __future__ import annotations

import json
import random
from typing import Any

from llguidance import LLMatcher, LLTokenizer

from langchain_toolken.decoding.local.grammar import ArgumentGrammars
from langchain_toolken.tools.spec import ToolSpec, argument_grammar, tool_spec
from tests.support.tiny import PADDED_ROWS, make_tokenizer

_TOKENIZER = make_tokenizer()
_GRAMMARS = ArgumentGrammars(_TOKENIZER, len(_TOKENIZER) + PADDED_ROWS, {1})
_CLOSING = [token for text, token in _TOKENIZER.get_vocab().items() if text and text[-1] in '"}],0']
_LONGEST = 400


def read(schema: dict[str, Any], name: str = "f") -> ToolSpec:
    """A tool of these arguments, read as an MCP tool is."""
    return tool_spec({"name": name, "description": "Do it.", "parameters": schema})


def accepts(spec: ToolSpec, arguments: Any) -> bool:
    """Whether the tool's grammar lets an LM write these arguments."""
    tokens = list(json.dumps(arguments, separators=(",", ":")).encode())
    matcher = LLMatcher(LLTokenizer("byte"), argument_grammar(spec))
    return matcher.try_consume_tokens(tokens) == len(tokens) and bool(matcher.is_accepting())


def written(spec: ToolSpec, seed: int) -> dict[str, Any] | None:
    """What an LM writes that chooses at random among what the grammar allows; None if it is cut off."""
    choice = random.Random(seed)
    matcher = _GRAMMARS.matcher(spec)
    matcher.force()
    while not matcher.done and len(matcher.ids) < _LONGEST:
        allowed = matcher.mask().nonzero().flatten().tolist()
        ending = [token for token in allowed if token in _CLOSING] if len(matcher.ids) > _LONGEST // 8 else []
        matcher.consume(choice.choice(ending or allowed))
        matcher.force()
    return matcher.arguments()
