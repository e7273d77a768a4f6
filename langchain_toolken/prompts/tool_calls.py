"""How an LM writes a tool call as text: a marker token, then JSON.

Only the marker *token*, chosen by the LM, begins a call. The same string in a message or a tool's result is tokenised
as ordinary text (see `content`) and never becomes that token.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from langchain_toolken.prompts.template_rendering import REFUSALS, run_template

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MARKERS = ("<tool_call>", "[TOOL_CALLS]", "<|tool_call|>")
"""Known marker tokens, in order: nano, Qwen 2.5 and 3, Hermes and SmolLM3; Mistral; Granite and Phi-4."""

_NAME, _KEY, _VALUE = "\U000f0001", "\U000f0002", "\U000f0003"
_BEFORE_NAME = re.compile(r'\s*\[?\s*\{\s*"name"\s*:\s*"')
_AFTER_NAME = re.compile(r'"\s*,\s*"arguments"\s*:\s*')


@dataclass(frozen=True)
class CallLayout:
    """How one tokenizer's LM writes a call: marker, `before_name`, the tool's name, `after_name`, the arguments' JSON.

    Attributes:
        marker: The token that begins a call, as text.
        marker_id: Its id.
        before_name: The chat template's text before the name, with its spaces and line breaks, because the LM was
            trained to write exactly that.
        after_name: The chat template's text between the name and the arguments.
    """

    marker: str
    marker_id: int
    before_name: str
    after_name: str

    @property
    def lead(self) -> str:
        """The text between the marker and the call's JSON object."""
        return self.before_name[: self.before_name.index("{")]

    def head(self, name: str) -> str:
        """Return the text between the marker and the arguments of a call of the tool `name`."""
        return f"{self.before_name}{json.dumps(name, ensure_ascii=False)[1:-1]}{self.after_name}"


def call_layout(tokenizer: PreTrainedTokenizerBase) -> CallLayout:
    """Return how this tokenizer's LM writes calls, as its chat template or else its vocabulary shows.

    Raises:
        ValueError: The tokenizer has none of `MARKERS` as an added token, or its template does not write calls as JSON
            with "name" and "arguments".
    """
    return _layout_of(tokenizer, str(tokenizer.chat_template))


@lru_cache(maxsize=8)
def _layout_of(tokenizer: PreTrainedTokenizerBase, chat_template: str) -> CallLayout:
    added: dict[str, int] = dict(tokenizer.get_added_vocab())
    known = [marker for marker in MARKERS if marker in added]
    model = tokenizer.name_or_path or "this model"
    if not known:
        raise ValueError(
            f"The tokenizer of {model} has no token that begins a tool call (known: {', '.join(MARKERS)}), so calls "
            "can't be told from text. Use tool_mode='toolken'."
        )
    rendered = _example(tokenizer)
    if _NAME not in rendered:  # the template does not support calls: compact JSON, as for all arguments
        return CallLayout(known[0], added[known[0]], '{"name":"', '","arguments":')
    before, _, rest = rendered.partition(_NAME)
    marker = max(known, key=before.rfind)
    head = before[before.rfind(marker) + len(marker) :] if marker in before else before
    after = rest.partition("{")[0]
    if not _BEFORE_NAME.fullmatch(head) or not _AFTER_NAME.fullmatch(after):
        raise ValueError(
            f"The chat template of {model} writes calls as {(before[-30:] + 'NAME' + rest[:30])!r}, not as a JSON "
            'object {"name": ..., "arguments": ...} after a marker. Use tool_mode=\'toolken\'.'
        )
    return CallLayout(marker, added[marker], head, after)


def _example(tokenizer: PreTrainedTokenizerBase) -> str:
    """Render a chat with one call, or return "" if the tokenizer has no template or the template takes no calls."""
    if tokenizer.chat_template is None:
        return ""
    call = {"id": "000000000", "type": "function", "function": {"name": _NAME, "arguments": {_KEY: _VALUE}}}
    chat: list[dict[str, Any]] = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
    ]
    try:
        return run_template(tokenizer, chat, generate=False)
    except REFUSALS:  # it takes no calls, or not with such arguments
        return ""
