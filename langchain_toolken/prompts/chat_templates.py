"""Render turns in a chat template that no content can break out of.

The template is rendered with a private-use character in place of every content, and then cut at these stand-ins: the
template's own text may contain special tokens, contents may not. A template that trims its input trims only the
stand-in. That matters because a sentence that stops at "4096*27= " has to continue from exactly there.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError

from langchain_toolken.prompts.content import encode_template_text, encode_with_ends
from langchain_toolken.prompts.format import PromptFormat
from langchain_toolken.prompts.thoughts import THOUGHT_KEY, thought_layout
from langchain_toolken.prompts.tool_calls import call_layout
from langchain_toolken.prompts.tool_cards import hidden_tool, tool_list, with_tool_list
from langchain_toolken.prompts.turns import Turn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from langchain_toolken.tools.spec import ToolSpec

_PRIVATE_USE = range(0xF0000, 0xFFFFE)  # Supplementary Private Use Area-A: no tokenizer or template gives it a meaning
# The same characters as Python's repr and JSON in ASCII write them, which some templates print lists and schemas with.
_ESCAPED = re.compile(r"\\U000f[0-9a-f]{4}|\\udb[89ab][0-9a-f]\\ud[c-f][0-9a-f]{2}")


def encode_chat(tokenizer: PreTrainedTokenizerBase, turns: Sequence[Turn], tools: Sequence[ToolSpec] = ()) -> list[int]:
    """Tokenise `turns` in the tokenizer's chat template, up to where the LM continues.

    Args:
        tokenizer: The LM's tokenizer.
        turns: The conversation, at least one turn.
        tools: Tools to describe in the prompt. A template that supports tools describes them itself. Otherwise they are
            listed in the system message, or in the first user message if the template has no system message either.

    Raises:
        ValueError: The template is missing, or it refuses or drops a role (the error names the role). Also if there are
            tools and the tokenizer has no marker token for calls.
    """
    segments = _chat_segments(tokenizer, turns, tools)
    return [index for index, _, _ in _encode_segments(tokenizer, segments, offsets=False)]


def content_spans(
    tokenizer: PreTrainedTokenizerBase, turns: Sequence[Turn], tools: Sequence[ToolSpec] = ()
) -> list[tuple[str, int, int]]:
    """Find the contents in the ids of `encode_chat`: each text, and where its tokens start and stop."""
    segments = _chat_segments(tokenizer, turns, tools)
    numbers = [number for _, _, number in _encode_segments(tokenizer, segments, offsets=False)]
    return [
        (segment.text, numbers.index(place), len(numbers) - numbers[::-1].index(place))
        for place, segment in enumerate(segments)
        if segment.content and place in numbers
    ]


@dataclass(frozen=True)
class AnsweredChat:
    """The token ids of a chat that ends in a complete answer.

    Attributes:
        before: The ids in front of the answer, as `encode_chat` lays them out.
        answer: An (id, end of the token in the answer's text) pair for each token of the answer.
        after: The ids of the template's end of turn.
    """

    before: tuple[int, ...]
    answer: tuple[tuple[int, int], ...]
    after: tuple[int, ...]


def encode_answered_chat(tokenizer: PreTrainedTokenizerBase, turns: Sequence[Turn], answer: str) -> AnsweredChat:
    """Tokenise `turns`, which may be empty, followed by the assistant's `answer`.

    Raises:
        ValueError: See `encode_chat`. Also if the tokenizer can't give offsets.
    """
    before = _before_answer(tokenizer, turns)
    segments = [*before, _Segment(answer, content=True), _Segment(_template_ends(tokenizer)[1], content=False)]
    encoded = _encode_segments(tokenizer, segments, offsets=True)
    return AnsweredChat(
        before=tuple(index for index, _, number in encoded if number < len(before)),
        answer=tuple((index, end) for index, end, number in encoded if number == len(before) and end is not None),
        after=tuple(index for index, _, number in encoded if number > len(before)),
    )


def answer_lead(tokenizer: PreTrainedTokenizerBase, prompt_format: PromptFormat) -> str:
    """Return the whitespace between a prompt and an answer, which the LM writes itself.

    In completion style this is one space ("A: …"). In chat style it is the whitespace that the template puts between
    its generation prompt and an assistant's content: " " after Mistral's "[/INST]", none in most templates. A chat
    model strips it from its answers, and `messages.render` puts it back.
    """
    if prompt_format.style == "completion":
        return " "
    return _template_ends(tokenizer)[0]


@dataclass(frozen=True)
class _Segment:
    text: str
    content: bool  # content is encoded by encode_content, the template's own text with its special tokens


def _encode_segments(
    tokenizer: PreTrainedTokenizerBase, segments: Sequence[_Segment], *, offsets: bool
) -> list[tuple[int, int | None, int]]:
    """Tokenise the segments.

    A space that the template puts before a content is encoded together with it: LMs know " Hello" as one token.

    Returns:
        For each token its id, its end within its content (None for template text), and the number of its segment.
    """
    encoded: list[tuple[int, int | None, int]] = []
    carried = ""
    for number, segment in enumerate(segments):
        started = number > 0
        if segment.content:
            pieces = encode_with_ends(tokenizer, carried + segment.text, continued=started, offsets=offsets)
            encoded.extend((index, end - len(carried), number) for index, end in pieces)
            carried = ""
            continue
        text = segment.text
        follows = segments[number + 1] if number + 1 < len(segments) else None
        if follows is not None and follows.content and follows.text and text.endswith(" "):
            text, carried = text[:-1], " "
        if text:
            ids = encode_template_text(tokenizer, text, continued=started)
            encoded.extend((index, None, number) for index in ids)
    return encoded


def _unescaped(match: re.Match[str]) -> str:
    digits = match.group().replace("\\U", "").replace("\\u", "")
    if digits.startswith("000f"):
        return chr(int(digits, 16))
    return bytes.fromhex(digits).decode("utf-16-be")


class _StandIns:
    """Replaces contents by private-use characters while a template is rendered."""

    def __init__(self, taken: str) -> None:
        self.contents: dict[str, str] = {}
        self._in_arguments: set[str] = set()
        self._in_tools: dict[str, str] = {}  # text -> its stand-in
        used = set(taken)
        self._free: Iterator[str] = (chr(point) for point in _PRIVATE_USE if chr(point) not in used)

    def stand_in(self, content: str) -> str:
        character = next(self._free, None)
        if character is None:
            raise ValueError("The messages hold more texts than there are private-use characters to replace them with.")
        self.contents[character] = content
        return character

    def hide(self, value: object) -> object:
        """Replace every string in a call's arguments, keys included."""
        if isinstance(value, str):
            character = self.stand_in(value)
            self._in_arguments.add(character)
            return character
        if isinstance(value, dict):
            return {str(self.hide(str(key))): self.hide(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.hide(item) for item in value]
        return value

    def of_tool(self, text: str) -> str:
        """Return the stand-in for a line of a tool's description, always the same one for the same text."""
        if text not in self._in_tools:
            self._in_tools[text] = self.stand_in(text)
        return self._in_tools[text]

    def cut(self, rendered: str) -> list[_Segment]:
        segments: list[_Segment] = []
        in_tools = set(self._in_tools.values())
        start = 0
        for i, character in enumerate(rendered):
            if character not in self.contents:
                continue
            content = self.contents[character]
            quoted = rendered[i - 1 : i] == '"' and rendered[i + 1 : i + 2] == '"'
            if character in in_tools:  # a line of a text: its neighbours may be line breaks, as JSON writes them
                before, rest = rendered[max(i - 2, 0) : i], rendered[i + 1 : i + 3]
                quoted = before.endswith(('"', "\\n")) and rest.startswith(('"', "\\n"))
            if quoted and (character in self._in_arguments or character in in_tools):  # the template wrote JSON
                content = json.dumps(content, ensure_ascii=False)[1:-1]
            if i > start:
                segments.append(_Segment(rendered[start:i], content=False))
            segments.append(_Segment(content, content=True))
            start = i + 1
        if start < len(rendered):
            segments.append(_Segment(rendered[start:], content=False))
        return segments


def _apply_template(
    tokenizer: PreTrainedTokenizerBase,
    turns: Sequence[Turn],
    tools: Sequence[ToolSpec] = (),
    *,
    add_generation_prompt: bool,
) -> list[_Segment]:
    """Render `turns` and `tools` in the template and cut the result at their contents."""
    taken = [turn.text + turn.thought + repr(turn.tool_calls) for turn in turns]
    taken += [spec.name + spec.description + str(spec.json_schema) for spec in tools]
    stand_ins = _StandIns("".join(taken) + str(tokenizer.chat_template))
    chat: list[dict[str, Any]] = []
    texts: list[str] = []
    for turn in turns:
        # Templates ask whether an assistant turn with calls has any text, so an empty one stays empty.
        text = stand_ins.stand_in(turn.text) if turn.text or not turn.tool_calls else ""
        texts.append(text)
        message: dict[str, Any] = {"role": turn.role, "content": text}
        if turn.thought:  # the template decides whether the LM sees it again
            message[THOUGHT_KEY] = stand_ins.stand_in(turn.thought)
        if turn.tool_calls:
            message["tool_calls"] = [
                {
                    "id": _short_id(call["id"]),
                    "type": "function",
                    "function": {"name": stand_ins.stand_in(call["name"]), "arguments": stand_ins.hide(call["args"])},
                }
                for call in turn.tool_calls
            ]
        if turn.tool_call_id is not None:
            message["tool_call_id"] = _short_id(turn.tool_call_id)
            message["name"] = stand_ins.stand_in(turn.tool_name or "")
        chat.append(message)
    described = [hidden_tool(spec, stand_ins.of_tool) for spec in tools]
    rendered = _render_template(tokenizer, chat, add_generation_prompt, described)
    for turn, text in zip(turns, texts, strict=True):
        if text not in rendered:
            raise ValueError(
                f"The chat template of {tokenizer.name_or_path or 'this tokenizer'} leaves out the message of role "
                f"{turn.role!r} ({turn.text[:40]!r}). " + _advice(turn.role)
            )
    return stand_ins.cut(rendered)


def _short_id(call_id: str) -> str:
    """Hash a call's id to nine letters and digits, which Mistral's templates insist on and which can forge nothing."""
    return hashlib.sha256(call_id.encode("utf-8", "replace")).hexdigest()[:9]


def _advice(role: str) -> str:
    if role in ("system", "developer"):
        return "This LM has no such role: put the text into the first user message."
    if role == "tool":
        return "Use reinjection='inline', which needs no tool role."
    return "Check the order of the messages: most templates want user and assistant in turn."


def _render_template(
    tokenizer: PreTrainedTokenizerBase,
    chat: Sequence[dict[str, Any]],
    add_generation_prompt: bool,
    tools: Sequence[dict[str, Any]] = (),
) -> str:
    if tokenizer.chat_template is None:
        raise ValueError(
            f"The tokenizer of {tokenizer.name_or_path or 'this model'} has no chat template, which style='chat' "
            "needs. Use style='completion', or set tokenizer.chat_template."
        )
    try:
        rendered = tokenizer.apply_chat_template(
            list(chat), tools=list(tools) or None, tokenize=False, add_generation_prompt=add_generation_prompt
        )
    except (TemplateError, TypeError, ValueError) as error:
        role = _refused_role(tokenizer, chat)
        raise ValueError(
            f"The chat template of {tokenizer.name_or_path or 'this tokenizer'} refuses the message of role {role!r} "
            f"in the order {' '.join(message['role'] for message in chat)}: {error}. " + _advice(role)
        ) from error
    return _ESCAPED.sub(_unescaped, str(rendered))


def _refused_role(tokenizer: PreTrainedTokenizerBase, chat: Sequence[dict[str, Any]]) -> str:
    """Return the role of the last message in the shortest prefix of `chat` that the template refuses."""
    for count in range(1, len(chat)):
        try:
            tokenizer.apply_chat_template(list(chat[:count]), tokenize=False, add_generation_prompt=False)
        except (TemplateError, TypeError, ValueError):
            return str(chat[count - 1]["role"])
    return str(chat[-1]["role"])


def _chat_segments(
    tokenizer: PreTrainedTokenizerBase, turns: Sequence[Turn], tools: Sequence[ToolSpec]
) -> list[_Segment]:
    if tools:
        knows = _knowledge(tokenizer, str(tokenizer.chat_template))
        if not knows.tools or turns[0].role == "assistant":
            turns = with_tool_list(turns, tool_list(tools, call_layout(tokenizer)), system=knows.system)
            tools = ()
    last = turns[-1]
    if last.role == "assistant" and not (last.text or last.thought or last.thought_open) and len(turns) > 1:
        turns = turns[:-1]  # nothing written yet: the LM begins the answer
    if turns[-1].role != "assistant":
        return _apply_template(tokenizer, turns, tools, add_generation_prompt=True)
    # An open answer must follow exactly the prompt that it was generated from. The template's own rendering of an
    # assistant message can differ: Qwen3's puts an empty <think> block before it.
    return [*_before_answer(tokenizer, turns[:-1], tools), *_open_answer(tokenizer, last, first=len(turns) == 1)]


def _open_answer(tokenizer: PreTrainedTokenizerBase, turn: Turn, *, first: bool) -> list[_Segment]:
    """Return an answer as the LM has written it so far, with its thought.

    Args:
        tokenizer: The LM's tokenizer.
        turn: The assistant's turn.
        first: Whether no prompt precedes it that could have opened the thought.
    """
    layout = thought_layout(tokenizer)
    text = _Segment(turn.text, content=True)
    if layout is None:
        return [text]
    opened = layout.opened and not first
    begin, end = _Segment(layout.begin, content=False), _Segment(layout.end, content=False)
    if turn.thought or turn.thought_open:
        thought = [*([] if opened else [begin]), _Segment(turn.thought, content=True)]
        return thought if turn.thought_open else [*thought, end, text]
    return [end, text] if opened else [text]


def _before_answer(
    tokenizer: PreTrainedTokenizerBase, turns: Sequence[Turn], tools: Sequence[ToolSpec] = ()
) -> list[_Segment]:
    if turns:
        segments = _apply_template(tokenizer, turns, tools, add_generation_prompt=True)
    else:
        stand_in = chr(_PRIVATE_USE[0])
        rendered = _render_template(tokenizer, [{"role": "assistant", "content": stand_in}], False)
        segments = [_Segment(rendered.partition(stand_in)[0], content=False)]
    lead = answer_lead(tokenizer, PromptFormat("chat")) if turns else ""
    return [*segments, _Segment(lead, content=False)] if lead else segments


@dataclass(frozen=True)
class _Knowledge:
    """What a chat template supports."""

    tools: bool
    system: bool


@lru_cache(maxsize=8)
def _knowledge(tokenizer: PreTrainedTokenizerBase, chat_template: str) -> _Knowledge:
    probe, other = chr(_PRIVATE_USE[0]), chr(_PRIVATE_USE[1])
    user = {"role": "user", "content": other}
    parameters = {"type": "object", "properties": {}}
    tool = {"type": "function", "function": {"name": probe, "description": other, "parameters": parameters}}

    def renders(chat: list[dict[str, Any]], tools: Sequence[dict[str, Any]]) -> bool:
        try:
            return probe in _render_template(tokenizer, chat, True, tools)
        except ValueError:
            return False

    return _Knowledge(tools=renders([user], [tool]), system=renders([{"role": "system", "content": probe}, user], []))


@lru_cache(maxsize=8)
def _ends_of(tokenizer: PreTrainedTokenizerBase, chat_template: str) -> tuple[str, str]:
    question, answer = chr(_PRIVATE_USE[0]), chr(_PRIVATE_USE[1])
    user = {"role": "user", "content": question}
    prompt = _render_template(tokenizer, [user], True)
    whole = _render_template(tokenizer, [user, {"role": "assistant", "content": answer}], False)
    before, _, tail = whole.partition(answer)
    lead = before.removeprefix(prompt) if before.startswith(prompt) else ""
    return ("" if lead.strip() else lead), tail


def _template_ends(tokenizer: PreTrainedTokenizerBase) -> tuple[str, str]:
    """Return the whitespace before an answer and the text after it in the tokenizer's chat template."""
    return _ends_of(tokenizer, str(tokenizer.chat_template))
