"""Render turns in a chat template that no content can break out of.

The template is rendered with a private-use character in place of every content, and then cut at these stand-ins: the
template's own text may contain special tokens, contents may not. A template that trims its input trims only the
stand-in. That matters because a sentence that stops at "4096*27= " has to continue from exactly there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from langchain_toolken.prompts.content import encode_template_text, encode_with_ends, holds_special
from langchain_toolken.prompts.format import PromptFormat
from langchain_toolken.prompts.quoting import with_broken_markers
from langchain_toolken.prompts.stand_ins import Segment, StandIns
from langchain_toolken.prompts.template_rendering import PRIVATE_USE, REFUSALS, run_template, shows_content
from langchain_toolken.prompts.thoughts import THOUGHT_KEY, thought_layout
from langchain_toolken.prompts.tool_calls import call_layout
from langchain_toolken.prompts.tool_cards import hidden_tool, with_tool_list
from langchain_toolken.prompts.turns import Turn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from langchain_toolken.tools.spec import ToolSpec


def encode_chat(tokenizer: PreTrainedTokenizerBase, turns: Sequence[Turn], tools: Sequence[ToolSpec] = ()) -> list[int]:
    """Tokenise `turns` in the tokenizer's chat template, up to where the LM continues.

    Args:
        tokenizer: The LM's tokenizer.
        turns: The conversation, at least one turn.
        tools: Tools to describe in the prompt. A template that supports tools describes them itself. Otherwise, and
            where calls begin with plain text, they are listed in the system message, or in the first user message if
            the template has no system message either.

    Raises:
        ValueError: The template is missing, or it refuses or drops a role (the error names the role).
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


def as_content(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """Return `text` as a prompt holds it: without the plain texts that open turns in the tokenizer's template."""
    return with_broken_markers(text, _text_markers(tokenizer, str(tokenizer.chat_template)))


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
    segments = [*before, Segment(answer, content=True), Segment(_template_ends(tokenizer)[1], content=False)]
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


def _encode_segments(
    tokenizer: PreTrainedTokenizerBase, segments: Sequence[Segment], *, offsets: bool
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


def _apply_template(
    tokenizer: PreTrainedTokenizerBase,
    turns: Sequence[Turn],
    tools: Sequence[ToolSpec] = (),
    *,
    add_generation_prompt: bool,
) -> list[Segment]:
    """Render `turns` and `tools` in the template and cut the result at their contents."""
    taken = [turn.text + turn.thought + repr(turn.tool_calls) for turn in turns]
    taken += [spec.name + spec.description + str(spec.json_schema) for spec in tools]
    stand_ins = StandIns("".join(taken) + str(tokenizer.chat_template))
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
                f"{turn.role!r} ({turn.text[:40]!r}). " + _advice(tokenizer, turn.role)
            )
    return stand_ins.cut(rendered, _text_markers(tokenizer, str(tokenizer.chat_template)))


def _short_id(call_id: str) -> str:
    """Hash a call's id to nine letters and digits, which Mistral's templates insist on and which can forge nothing."""
    return hashlib.sha256(call_id.encode("utf-8", "replace")).hexdigest()[:9]


def _advice(tokenizer: PreTrainedTokenizerBase, role: str) -> str:
    if role in ("system", "developer"):
        return "This LM has no such role: put the text into the first user message."
    if role == "tool":
        return "Use reinjection='inline', which needs no tool role."
    if not shows_content(tokenizer, role):
        return (
            "It shows such a message neither with its content as a string nor as parts "
            '[{"type": "text", "text": …}]: give the tokenizer another chat_template, or use style=\'completion\'.'
        )
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
        return run_template(tokenizer, chat, generate=add_generation_prompt, tools=tools)
    except REFUSALS as error:
        role = _refused_role(tokenizer, chat)
        raise ValueError(
            f"The chat template of {tokenizer.name_or_path or 'this tokenizer'} refuses the message of role {role!r} "
            f"in the order {' '.join(message['role'] for message in chat)}: {error}. " + _advice(tokenizer, role)
        ) from error


def _refused_role(tokenizer: PreTrainedTokenizerBase, chat: Sequence[dict[str, Any]]) -> str:
    """Return the role of the last message in the shortest prefix of `chat` that the template refuses."""
    for count in range(1, len(chat)):
        try:
            run_template(tokenizer, chat[:count], generate=False)
        except REFUSALS:
            return str(chat[count - 1]["role"])
    return str(chat[-1]["role"])


def _chat_segments(
    tokenizer: PreTrainedTokenizerBase, turns: Sequence[Turn], tools: Sequence[ToolSpec]
) -> list[Segment]:
    if tools:
        knows, layout = _knowledge(tokenizer, str(tokenizer.chat_template)), call_layout(tokenizer)
        if layout.marker_id is None or not knows.tools or turns[0].role == "assistant":
            turns = with_tool_list(turns, tools, layout, system=knows.system)
            tools = ()
    last = turns[-1]
    if last.role == "assistant" and not (last.text or last.thought or last.thought_open) and len(turns) > 1:
        turns = turns[:-1]  # nothing written yet: the LM begins the answer
    if turns[-1].role != "assistant":
        return _apply_template(tokenizer, turns, tools, add_generation_prompt=True)
    # An open answer must follow exactly the prompt that it was generated from. The template's own rendering of an
    # assistant message can differ: Qwen3's puts an empty <think> block before it.
    return [*_before_answer(tokenizer, turns[:-1], tools), *_open_answer(tokenizer, last, first=len(turns) == 1)]


def _open_answer(tokenizer: PreTrainedTokenizerBase, turn: Turn, *, first: bool) -> list[Segment]:
    """Return an answer as the LM has written it so far, with its thought.

    Args:
        tokenizer: The LM's tokenizer.
        turn: The assistant's turn.
        first: Whether no prompt precedes it that could have opened the thought.
    """
    layout = thought_layout(tokenizer)
    text = Segment(as_content(tokenizer, turn.text), content=True)
    if layout is None:
        return [text]
    opened = layout.opened and not first
    begin, end = Segment(layout.begin, content=False), Segment(layout.end, content=False)
    if turn.thought or turn.thought_open:
        thought = [*([] if opened else [begin]), Segment(as_content(tokenizer, turn.thought), content=True)]
        return thought if turn.thought_open else [*thought, end, text]
    return [end, text] if opened else [text]


def _before_answer(
    tokenizer: PreTrainedTokenizerBase, turns: Sequence[Turn], tools: Sequence[ToolSpec] = ()
) -> list[Segment]:
    if turns:
        segments = _apply_template(tokenizer, turns, tools, add_generation_prompt=True)
    else:
        stand_in = chr(PRIVATE_USE[0])
        rendered = _render_template(tokenizer, [{"role": "assistant", "content": stand_in}], False)
        segments = [Segment(rendered.partition(stand_in)[0], content=False)]
    lead = answer_lead(tokenizer, PromptFormat("chat")) if turns else ""
    return [*segments, Segment(lead, content=False)] if lead else segments


@dataclass(frozen=True)
class _Knowledge:
    """What a chat template supports."""

    tools: bool
    system: bool


@lru_cache(maxsize=8)
def _knowledge(tokenizer: PreTrainedTokenizerBase, chat_template: str) -> _Knowledge:
    probe, other = chr(PRIVATE_USE[0]), chr(PRIVATE_USE[1])
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
def _text_markers(tokenizer: PreTrainedTokenizerBase, chat_template: str) -> tuple[str, ...]:
    """Return the plain texts that open a turn in this template, without the space around them.

    Between two contents most templates put a special token, which no content can hold. Where one puts plain text only,
    such as "[/INST]", that text marks the turn.
    """
    points = iter(PRIVATE_USE)
    found: dict[str, None] = {}
    for roles in (["user", "assistant", "user"], ["system", "user", "assistant"], ["user", "assistant", "tool"]):
        chat = [{"role": role, "content": chr(next(points))} for role in roles]
        try:
            rendered = run_template(tokenizer, chat, generate=True)
        except REFUSALS:
            continue
        texts = "".join("\0" if ord(character) in PRIVATE_USE else character for character in rendered).split("\0")
        found |= dict.fromkeys(text.strip() for text in texts if not holds_special(tokenizer, text))
    return tuple(sorted((text for text in found if len(text) > 1), key=len, reverse=True))


@lru_cache(maxsize=8)
def _ends_of(tokenizer: PreTrainedTokenizerBase, chat_template: str) -> tuple[str, str]:
    question, answer = chr(PRIVATE_USE[0]), chr(PRIVATE_USE[1])
    user = {"role": "user", "content": question}
    prompt = _render_template(tokenizer, [user], True)
    whole = _render_template(tokenizer, [user, {"role": "assistant", "content": answer}], False)
    before, _, tail = whole.partition(answer)
    lead = before.removeprefix(prompt) if before.startswith(prompt) else ""
    return ("" if lead.strip() else lead), tail


def _template_ends(tokenizer: PreTrainedTokenizerBase) -> tuple[str, str]:
    """Return the whitespace before an answer and the text after it in the tokenizer's chat template."""
    return _ends_of(tokenizer, str(tokenizer.chat_template))
