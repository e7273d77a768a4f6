"""How an LM writes a tool call as text: a marker, then JSON.

Where the tokenizer has a token for it, only that *token*, chosen by the LM, begins a call. The same string in a message
or a tool's result is tokenised as ordinary text (see `content`) and never becomes that token.

Other tokenizers get a marker of plain text. Only what the LM writes begins a call there, and content never holds the
marker: it gets a space before its last character (`unmarked`), so that it neither looks like a call that was made nor
can be repeated word for word into one.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from langchain_toolken.prompts.content import encode_content
from langchain_toolken.prompts.quoting import with_broken_markers
from langchain_toolken.prompts.template_rendering import REFUSALS, run_template
from langchain_toolken.prompts.turns import Turn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MARKERS = ("<tool_call>", "[TOOL_CALLS]", "<|tool_call|>")
"""Known marker tokens, in order: nano, Qwen 2.5 and 3, Hermes and SmolLM3; Mistral; Granite and Phi-4."""

TEXT_MARKER = MARKERS[0]
"""What begins a call where the tokenizer has no token for it, or the chat template writes calls in another form. The
commonest of the known markers: an LM without the token may still have read it."""

_NAME, _KEY, _VALUE = "\U000f0001", "\U000f0002", "\U000f0003"
_BEFORE_NAME = re.compile(r'\s*\[?\s*\{\s*"name"\s*:\s*"')
_AFTER_NAME = re.compile(r'"\s*,\s*"arguments"\s*:\s*')


@dataclass(frozen=True)
class CallLayout:
    """How one tokenizer's LM writes a call: marker, `before_name`, the tool's name, `after_name`, the arguments' JSON.

    Attributes:
        marker: What begins a call: a token as text, or plain text.
        marker_id: Its id; None if calls begin with plain text.
        before_name: The chat template's text before the name, with its spaces and line breaks, because the LM was
            trained to write exactly that.
        after_name: The chat template's text between the name and the arguments.
    """

    marker: str
    marker_id: int | None
    before_name: str
    after_name: str

    @property
    def lead(self) -> str:
        """The text between the marker and the call's JSON object."""
        return self.before_name[: self.before_name.index("{")]

    def head(self, name: str) -> str:
        """Return the text between the marker and the arguments of a call of the tool `name`."""
        return f"{self.before_name}{json.dumps(name, ensure_ascii=False)[1:-1]}{self.after_name}"


_COMPACT = '{"name":"', '","arguments":'
_PLAIN = CallLayout(TEXT_MARKER, None, *_COMPACT)


def call_layout(tokenizer: PreTrainedTokenizerBase) -> CallLayout:
    """Return how this tokenizer's LM writes calls, as its chat template or else its vocabulary shows.

    If the tokenizer has none of `MARKERS` as an added token, or its template does not write calls as JSON with "name"
    and "arguments", calls begin with `TEXT_MARKER` as plain text, and our own list of tools explains that to the LM.
    """
    return _layout_of(tokenizer, str(tokenizer.chat_template))


@lru_cache(maxsize=8)
def _layout_of(tokenizer: PreTrainedTokenizerBase, chat_template: str) -> CallLayout:
    added: dict[str, int] = dict(tokenizer.get_added_vocab())
    known = [marker for marker in MARKERS if marker in added]
    if not known:
        return _PLAIN
    rendered = _example(tokenizer)
    if _NAME not in rendered:  # the template does not support calls: compact JSON, as for all arguments
        return CallLayout(known[0], added[known[0]], *_COMPACT)
    before, _, rest = rendered.partition(_NAME)
    marker = max(known, key=before.rfind)
    head = before[before.rfind(marker) + len(marker) :] if marker in before else before
    after = rest.partition("{")[0]
    if not _BEFORE_NAME.fullmatch(head) or not _AFTER_NAME.fullmatch(after):
        return _PLAIN
    return CallLayout(marker, added[marker], head, after)


def marker_ids(tokenizer: PreTrainedTokenizerBase, layout: CallLayout) -> tuple[int, ...]:
    """Return the ids of the marker, as the LM writes it."""
    if layout.marker_id is not None:
        return (layout.marker_id,)
    return tuple(encode_content(tokenizer, layout.marker, continued=True))


def unmarked(text: str, layout: CallLayout) -> str:
    """Return content as a prompt holds it that describes tools: without a marker of plain text."""
    return text if layout.marker_id is not None else with_broken_markers(text, (layout.marker,))


def in_plain_text(turn: Turn, layout: CallLayout) -> Turn:
    """Write a turn's calls into its text, as the LM wrote them after a marker of plain text."""
    calls = [
        f"{layout.marker}{unmarked(layout.head(call['name']) + json.dumps(call['args'], ensure_ascii=False), layout)}}}"
        for call in turn.tool_calls
    ]
    return replace(
        turn,
        text=unmarked(turn.text, layout) + "\n".join(calls),
        thought=unmarked(turn.thought, layout),
        tool_calls=(),
    )


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
