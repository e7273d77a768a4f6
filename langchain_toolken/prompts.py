"""Messages to token ids: prompt styles, re-injection of results, the tool card (DESIGN §3).

Everything that came from outside (a user, a tool, the LM itself) is *content* and goes through `encode_content`, which
never yields a special token. Only a chat template's own text may: it is rendered with private-use characters standing
in for every content, so no content can break out of its place. A base LM's completion style has no template and so no
special tokens at all besides the ones the tokenizer puts in front.

Contents are kept character for character. A template that trims what it is given trims only the stand-in, because a
sentence that stops at "4096*27= " has to go on from exactly there.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakKeyDictionary

from jinja2 import TemplateError
from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, HumanMessage, SystemMessage, ToolMessage

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from langchain_toolken.tools import ToolSpec

Style = Literal["completion", "chat"]
Reinjection = Literal["inline", "turn"]

ANSWER = "\nA:"
"""What parts question and answer in completion style, in prompts and in demonstrations."""

_SURROGATES = re.compile("[\ud800-\udfff]")
_PRIVATE_USE = range(0xF0000, 0xFFFFE)  # Supplementary Private Use Area-A: no tokenizer or template gives it a meaning
_OPENERS = tuple("([{$€£\"'")
_CHAT_ROLES = ("system", "developer", "user", "assistant", "tool")


# --------------------------------------------------------------------------------------------------------------------
# Content


@dataclass(frozen=True)
class _ContentRules:
    """What `encode_content` must know of one tokenizer; made once per tokenizer and vocabulary size."""

    size: int
    markers: dict[str, tuple[str, ...]]  # added tokens of two characters or more, by first character
    first: re.Pattern[str] | None  # any character that a marker begins with
    forbidden: frozenset[int]  # ids that content must never contain
    lead: tuple[int, ...] | None  # ids of "\n", for tokenizers that put a space of their own in front of a text


_RULES: WeakKeyDictionary[PreTrainedTokenizerBase, _ContentRules] = WeakKeyDictionary()


def _rules(tokenizer: PreTrainedTokenizerBase) -> _ContentRules:
    size = len(tokenizer)
    known = _RULES.get(tokenizer)
    if known is not None and known.size == size:
        return known
    added: dict[str, int] = dict(tokenizer.get_added_vocab())
    for special in tokenizer.all_special_tokens:
        added.setdefault(special, _as_ints(tokenizer.convert_tokens_to_ids([special]))[0])
    # Some tokenizers (Gemma, GPT-NeoX) list runs of spaces and newlines among their added tokens: ordinary text.
    added = {text: index for text, index in added.items() if text.strip()}
    markers: defaultdict[str, list[str]] = defaultdict(list)
    for text in added:
        if len(text) > 1:
            markers[text[0]].append(text)
    lead = tuple(_tokenize(tokenizer, "\n"))
    marked = tuple(_tokenize(tokenizer, "\na"))
    adds_space = marked[: len(lead)] == lead and marked[len(lead) :] != tuple(_tokenize(tokenizer, "a"))
    rules = _ContentRules(
        size=size,
        markers={character: tuple(texts) for character, texts in markers.items()},
        first=re.compile("[" + re.escape("".join(sorted(markers))) + "]") if markers else None,
        forbidden=frozenset(added.values()),
        lead=lead if adds_space else None,
    )
    _RULES[tokenizer] = rules
    return rules


def _as_ints(ids: object) -> list[int]:
    return [int(index) for index in ids] if isinstance(ids, list | tuple) else []


def _tokenize(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return _as_ints(tokenizer(text, add_special_tokens=False)["input_ids"])


def encode_content(tokenizer: PreTrainedTokenizerBase, text: str, *, continued: bool = False) -> list[int]:
    """Token ids of `text` in which special and added tokens stay text.

    continued: the ids will stand behind others; a tokenizer that opens every text with a space of its own
        (SentencePiece, as in Llama 2) then leaves it out.

    Each occurrence of an added token's string is cut after its first character and the pieces are encoded apart, so
    "<|im_end|>" in a user's message is eight or so ordinary tokens. Added tokens of nothing but whitespace are
    ordinary text and stay whole. Lone surrogates, which no tokenizer takes, become U+FFFD.

    Raises:
        ValueError: a special token of a single character stands in the text, which therefore can't be cut.
    """
    return [index for index, _ in _encode_pieces(tokenizer, text, continued=continued)]


def _encode_pieces(
    tokenizer: PreTrainedTokenizerBase, text: str, *, continued: bool, offsets: bool = False
) -> list[tuple[int, int]]:
    """`encode_content` as (id, end of the token in `text`); ends are right only with `offsets`.

    continued: other text stands before this one, so a tokenizer's own leading space would be a character too many.
    """
    rules = _rules(tokenizer)
    text = _SURROGATES.sub("\ufffd", text)
    cuts = [0]
    if rules.first is not None:
        for match in rules.first.finditer(text):
            if text.startswith(rules.markers[match.group()], match.start()):
                cuts.append(match.start() + 1)
    cuts.append(len(text))
    encoded: list[tuple[int, int]] = []
    for start, end in pairwise(cuts):
        if start == end:
            continue
        piece = _encode_piece(tokenizer, rules, text[start:end], continued or start > 0, offsets)
        if any(index in rules.forbidden for index, _ in piece):
            # A tokenizer that normalises text first (full-width forms, case) can find a marker that is not spelled so.
            piece = []
            for i, character in enumerate(text[start:end]):
                one = _encode_piece(tokenizer, rules, character, continued or start + i > 0, offsets)
                if any(index in rules.forbidden for index, _ in one):
                    raise ValueError(
                        f"The character {character!r} is itself a special token of this tokenizer and can't be "
                        "written as text. Remove it from the message."
                    )
                piece.extend((index, i + stop) for index, stop in one)
        encoded.extend((index, start + stop) for index, stop in piece)
    return encoded


def _encode_piece(
    tokenizer: PreTrainedTokenizerBase, rules: _ContentRules, text: str, continued: bool, offsets: bool
) -> list[tuple[int, int]]:
    if not continued or rules.lead is None:
        return _with_ends(tokenizer, text, offsets)
    encoded = _with_ends(tokenizer, "\n" + text, offsets)
    if tuple(index for index, _ in encoded[: len(rules.lead)]) != rules.lead:
        return _with_ends(tokenizer, text, offsets)
    return [(index, end - 1) for index, end in encoded[len(rules.lead) :]]


def _with_ends(tokenizer: PreTrainedTokenizerBase, text: str, offsets: bool) -> list[tuple[int, int]]:
    if not offsets:
        return [(index, 0) for index in _tokenize(tokenizer, text)]
    if not tokenizer.is_fast:
        raise ValueError(
            f"{type(tokenizer).__name__} can't tell where its tokens stand in a text. Training needs a tokenizer "
            "that can: load the model's tokenizer.json (a 'fast' tokenizer)."
        )
    encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids, spans = _as_ints(encoding["input_ids"]), encoding["offset_mapping"]
    return [(index, int(span[1])) for index, span in zip(ids, spans, strict=True)]


def bos_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The ids that the tokenizer puts in front of a text by itself (most often one or none); never those behind it."""
    plain, whole = _tokenize(tokenizer, "a"), _as_ints(tokenizer("a")["input_ids"])
    for start in range(len(whole) - len(plain) + 1):
        if whole[start : start + len(plain)] == plain:
            return whole[:start]
    return []


# --------------------------------------------------------------------------------------------------------------------
# Prompt formats


@dataclass(frozen=True)
class PromptFormat:
    """How messages are laid out.

    style: "completion" ("Q: …\\nA: …", for base LMs) or "chat" (the tokenizer's chat template).
    reinjection: "inline" puts a tool's result into the assistant's sentence, as in the papers (the default: it is what
        demonstrations look like); "turn" gives it as a tool-role message through the chat template.
    few_shot: completion style only: text put first, such as "Q: …\\nA: …\\n\\n".
    """

    style: Style
    reinjection: Reinjection = "inline"
    few_shot: str = ""

    def __post_init__(self) -> None:
        if self.style == "completion" and self.reinjection == "turn":
            raise ValueError(
                "reinjection='turn' needs a chat template's tool role; the completion style has no turns. "
                "Use reinjection='inline' or style='chat'."
            )
        if self.style == "chat" and self.few_shot:
            raise ValueError("few_shot is text for the completion style. In chat style, give the examples as messages.")

    @property
    def stop(self) -> tuple[str, ...]:
        """Strings that end an answer: a base LM goes on with a question of its own."""
        return ("\nQ:",) if self.style == "completion" else ()


def join_result(text: str, result: str) -> str:
    """`text` with a tool's `result` put behind it, with a space between where prose has one.

    No space at the start, after whitespace, after an opening bracket, quote or currency sign, and after an "=" that
    is written close ("4096*27=" but "4096 * 27 = ").
    """
    close_equals = text.endswith("=") and not text[:-1].endswith((" ", "\t", "\n"))
    if not text or text[-1].isspace() or text.endswith(_OPENERS) or close_equals:
        return text + result
    return f"{text} {result}"


def tool_card(spec: ToolSpec) -> str:
    """The just-in-time card: the one tool that was called, after the trigger; its arguments' JSON follows."""
    return f"\nTool: {spec.signature}\n{spec.summary}\nArguments: "


# --------------------------------------------------------------------------------------------------------------------
# Messages to turns


@dataclass(frozen=True)
class _Turn:
    role: str
    text: str
    tool_calls: tuple[dict[str, Any], ...] = ()
    tool_call_id: str | None = None
    tool_name: str | None = None


def _text_of(message: BaseMessage) -> str:
    if isinstance(message.content, str):
        return message.content
    texts = []
    for block in message.content:
        if isinstance(block, str):
            texts.append(block)
        elif block.get("type") == "text":
            texts.append(str(block["text"]))
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


def _turns(messages: Sequence[BaseMessage], reinjection: Reinjection) -> list[_Turn]:
    """The messages as turns. inline: results are joined into the assistant's text, which stays one turn."""
    if not messages:
        raise ValueError("There are no messages to answer: give at least one.")
    turns: list[_Turn] = []
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
            if reinjection == "inline":
                turns[-1] = _Turn("assistant", join_result(turns[-1].text, text))
            else:
                turns.append(_Turn("tool", text, tool_call_id=message.tool_call_id, tool_name=name))
            continue
        if isinstance(message, AIMessage):
            calls: tuple[dict[str, Any], ...] = tuple(
                {"id": call["id"] or "", "name": call["name"], "args": call["args"]} for call in message.tool_calls
            )
            open_calls = {**open_calls, **{str(call["id"]): str(call["name"]) for call in calls}}
            goes_on = bool(turns) and turns[-1].role == "assistant"
            if goes_on and (reinjection == "inline" or not turns[-1].tool_calls):
                turns[-1] = _Turn("assistant", turns[-1].text + text, calls if reinjection == "turn" else ())
            else:
                turns.append(_Turn("assistant", text, calls if reinjection == "turn" else ()))
            continue
        open_calls = {}
        turns.append(_Turn(role, text))
    if open_calls:
        call_id, name = next(iter(open_calls.items()))
        raise ValueError(
            f"The last assistant message calls the tool {name!r} ({call_id!r}) and no result follows. "
            "Run the tool and add its ToolMessage first."
        )
    return turns


def render(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[BaseMessage], prompt_format: PromptFormat
) -> list[int]:
    """Token ids of the prompt for `messages`; the LM goes on where they end.

    A history that ends in an assistant message or in tool results (inline) leaves the assistant's turn open, after
    exactly the text that stands there. completion: "A:" ends an open question, and the LM writes the space itself.

    Raises:
        ValueError: no messages; content other than text; a ToolMessage without its call; a call without its result;
            a chat template that is missing, or that refuses or drops a role (the error names the role).
    """
    turns = _turns(messages, prompt_format.reinjection)
    if prompt_format.style == "completion":
        return bos_ids(tokenizer) + encode_content(tokenizer, prompt_format.few_shot + _completion_text(turns))
    return [index for index, _, _ in _encode_segments(tokenizer, _chat_segments(tokenizer, turns))]


def answer_so_far(messages: Sequence[BaseMessage], reinjection: Reinjection) -> str | None:
    """The text of the assistant's turn that `render` leaves open; None where the LM begins a new answer."""
    last = _turns(messages, reinjection)[-1]
    return last.text if last.role == "assistant" else None


def _completion_text(turns: Sequence[_Turn]) -> str:
    paragraphs: list[str] = []
    previous = ""
    for turn in turns:
        if turn.role in ("system", "developer"):
            paragraphs.append(turn.text)
        elif turn.role == "user" and previous == "user":
            paragraphs[-1] = paragraphs[-1].removesuffix(ANSWER) + f"\n{turn.text}{ANSWER}"
        elif turn.role == "user":
            paragraphs.append(f"Q: {turn.text}{ANSWER}")
        else:
            if previous != "user":
                paragraphs.append(ANSWER.lstrip())
            if turn.text:
                paragraphs[-1] += f" {turn.text}"
        previous = turn.role
    if previous not in ("user", "assistant"):
        raise ValueError(f"The last message has the role {previous!r}: there is nothing to answer. Add a user message.")
    return "\n\n".join(paragraphs)


# --------------------------------------------------------------------------------------------------------------------
# Chat templates


@dataclass(frozen=True)
class _Segment:
    text: str
    content: bool  # content is encoded by encode_content, the template's own text with its special tokens


def _encode_segments(
    tokenizer: PreTrainedTokenizerBase, segments: Sequence[_Segment], *, offsets: bool = False
) -> list[tuple[int, int | None, int]]:
    """(id, end within its content or None for template text, number of its segment) for each token.

    A space that the template puts before a content is encoded with it: LMs know " Hello" as one token.
    """
    encoded: list[tuple[int, int | None, int]] = []
    carried = ""
    for number, segment in enumerate(segments):
        started = number > 0
        if segment.content:
            pieces = _encode_pieces(tokenizer, carried + segment.text, continued=started, offsets=offsets)
            encoded.extend((index, end - len(carried), number) for index, end in pieces)
            carried = ""
            continue
        text = segment.text
        follows = segments[number + 1] if number + 1 < len(segments) else None
        if follows is not None and follows.content and follows.text and text.endswith(" "):
            text, carried = text[:-1], " "
        if text:
            rules = _rules(tokenizer)
            encoded.extend((index, None, number) for index, _ in _encode_piece(tokenizer, rules, text, started, False))
    return encoded


class _StandIns:
    """Hands out private-use characters that stand for contents while a template is rendered."""

    def __init__(self, taken: str) -> None:
        self.contents: dict[str, str] = {}
        self._in_arguments: set[str] = set()
        used = set(taken)
        self._free: Iterator[str] = (chr(point) for point in _PRIVATE_USE if chr(point) not in used)

    def stand_in(self, content: str) -> str:
        character = next(self._free, None)
        if character is None:
            raise ValueError("The messages hold more texts than there are private-use characters to stand for them.")
        self.contents[character] = content
        return character

    def hide(self, value: object) -> object:
        """`value` (a call's arguments) with every string in it replaced, keys included."""
        if isinstance(value, str):
            character = self.stand_in(value)
            self._in_arguments.add(character)
            return character
        if isinstance(value, dict):
            return {str(self.hide(str(key))): self.hide(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.hide(item) for item in value]
        return value

    def cut(self, rendered: str) -> list[_Segment]:
        segments: list[_Segment] = []
        start = 0
        for i, character in enumerate(rendered):
            if character not in self.contents:
                continue
            content = self.contents[character]
            quoted = rendered[i - 1 : i] == '"' and rendered[i + 1 : i + 2] == '"'
            if quoted and character in self._in_arguments:  # the template wrote the arguments as JSON
                content = json.dumps(content, ensure_ascii=False)[1:-1]
            if i > start:
                segments.append(_Segment(rendered[start:i], content=False))
            segments.append(_Segment(content, content=True))
            start = i + 1
        if start < len(rendered):
            segments.append(_Segment(rendered[start:], content=False))
        return segments


def _apply_template(
    tokenizer: PreTrainedTokenizerBase, turns: Sequence[_Turn], *, add_generation_prompt: bool
) -> list[_Segment]:
    """The template's rendering of `turns`, cut at their contents."""
    stand_ins = _StandIns("".join(turn.text + repr(turn.tool_calls) for turn in turns) + str(tokenizer.chat_template))
    chat: list[dict[str, Any]] = []
    texts: list[str] = []
    for turn in turns:
        # Templates ask whether an assistant turn with calls has any text, so an empty one stays empty.
        text = stand_ins.stand_in(turn.text) if turn.text or not turn.tool_calls else ""
        texts.append(text)
        message: dict[str, Any] = {"role": turn.role, "content": text}
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
    rendered = _render_template(tokenizer, chat, add_generation_prompt)
    for turn, text in zip(turns, texts, strict=True):
        if text not in rendered:
            raise ValueError(
                f"The chat template of {tokenizer.name_or_path or 'this tokenizer'} leaves out the message of role "
                f"{turn.role!r} ({turn.text[:40]!r}). " + _advice(turn.role)
            )
    return stand_ins.cut(rendered)


def _short_id(call_id: str) -> str:
    """Nine letters and digits for a tool call's id: what Mistral's templates insist on, and nothing that can forge."""
    return hashlib.sha256(call_id.encode("utf-8", "replace")).hexdigest()[:9]


def _advice(role: str) -> str:
    if role in ("system", "developer"):
        return "This LM knows no such role: put the text into the first user message."
    if role == "tool":
        return "Use reinjection='inline', which needs no tool role."
    return "Check the order of the messages: most templates want user and assistant in turn."


def _render_template(
    tokenizer: PreTrainedTokenizerBase, chat: Sequence[dict[str, Any]], add_generation_prompt: bool
) -> str:
    if tokenizer.chat_template is None:
        raise ValueError(
            f"The tokenizer of {tokenizer.name_or_path or 'this model'} has no chat template, which style='chat' "
            "needs. Use style='completion', or set tokenizer.chat_template."
        )
    try:
        return str(
            tokenizer.apply_chat_template(list(chat), tokenize=False, add_generation_prompt=add_generation_prompt)
        )
    except (TemplateError, TypeError, ValueError) as error:
        role = _refused_role(tokenizer, chat)
        raise ValueError(
            f"The chat template of {tokenizer.name_or_path or 'this tokenizer'} refuses the message of role {role!r} "
            f"in the order {' '.join(message['role'] for message in chat)}: {error}. " + _advice(role)
        ) from error


def _refused_role(tokenizer: PreTrainedTokenizerBase, chat: Sequence[dict[str, Any]]) -> str:
    """The role of the message that ends the shortest prefix of `chat` that the template refuses."""
    for count in range(1, len(chat)):
        try:
            tokenizer.apply_chat_template(list(chat[:count]), tokenize=False, add_generation_prompt=False)
        except (TemplateError, TypeError, ValueError):
            return str(chat[count - 1]["role"])
    return str(chat[-1]["role"])


def _chat_segments(tokenizer: PreTrainedTokenizerBase, turns: Sequence[_Turn]) -> list[_Segment]:
    if turns[-1].role == "assistant" and not turns[-1].text and len(turns) > 1:
        turns = turns[:-1]  # nothing written yet: the LM begins the answer
    if turns[-1].role != "assistant":
        return _apply_template(tokenizer, turns, add_generation_prompt=True)
    # An open answer stands behind the very prompt that it was generated from. The template's own rendering of an
    # assistant message is not always that: Qwen3's puts an empty <think> block before it.
    return [*_before_answer(tokenizer, turns[:-1]), _Segment(turns[-1].text, content=True)]


def _before_answer(tokenizer: PreTrainedTokenizerBase, turns: Sequence[_Turn]) -> list[_Segment]:
    if turns:
        segments = _apply_template(tokenizer, turns, add_generation_prompt=True)
    else:
        stand_in = chr(_PRIVATE_USE[0])
        rendered = _render_template(tokenizer, [{"role": "assistant", "content": stand_in}], False)
        segments = [_Segment(rendered.partition(stand_in)[0], content=False)]
    lead = answer_lead(tokenizer, PromptFormat("chat")) if turns else ""
    return [*segments, _Segment(lead, content=False)] if lead else segments


def answer_lead(tokenizer: PreTrainedTokenizerBase, prompt_format: PromptFormat) -> str:
    """The whitespace that stands between a prompt and an answer, and that the LM therefore writes itself.

    completion: one space ("A: …"). chat: what the template puts between its generation prompt and an assistant's
    content, if that is whitespace (" " after Mistral's "[/INST]"; most have none). A chat model takes this off what
    an answer begins with; `render` puts it back.
    """
    if prompt_format.style == "completion":
        return " "
    return _template_ends(tokenizer)[0]


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
    """(whitespace before an answer, text behind it) in the tokenizer's chat template."""
    return _ends_of(tokenizer, str(tokenizer.chat_template))


# --------------------------------------------------------------------------------------------------------------------
# Demonstrations


@dataclass(frozen=True)
class RenderedDemonstration:
    """One demonstration as the LM will see it.

    ids: token ids, with what stands in front (bos, template).
    ends: for each token the character of the demonstration's text at which it ends; None for the template's tokens
        and the bos.
    call_positions: for each call the index of the last token that ends at or before the call's start (the position
        whose next token is the toolken); None if the call lies outside what is supervised.
    first_supervised: index of the first position whose next token belongs to the answer.
    """

    ids: tuple[int, ...]
    ends: tuple[int | None, ...]
    call_positions: tuple[int | None, ...]
    first_supervised: int


def render_demonstration(
    tokenizer: PreTrainedTokenizerBase, text: str, calls_starts: Sequence[int], style: Style
) -> RenderedDemonstration:
    """A demonstration's ids and the positions of its calls, laid out as `render` lays out the same words.

    "Q: …\\nA: …" is parted at the first "\\nA:". completion: the text as it is, with the bos in front, supervised
    after "A:". chat: the question as a user message and the answer as the assistant's, with the template's end of
    turn behind it, so that "no call at the end" is learnt too. Any other text is supervised whole; in chat style it
    is an assistant message without a question.

    Raises:
        ValueError: the tokenizer has no chat template (chat style) or no character offsets.
    """
    question, parted, answer = text.partition(ANSWER)
    has_question = bool(parted) and question.startswith("Q:")
    answer_start = len(question) + len(parted) if has_question else 0
    if style == "completion":
        bos = bos_ids(tokenizer)
        pieces = _encode_pieces(tokenizer, text, continued=False, offsets=True)
        ids = [*bos, *(index for index, _ in pieces)]
        ends: list[int | None] = [*(None for _ in bos), *(end for _, end in pieces)]
        text_start = len(bos)
        first = _last_ending_at(ends, text_start, answer_start)
    else:
        # The space after "A:" belongs to the completion style; a template brings its own (see answer_lead).
        content = answer.removeprefix(" ") if has_question else text
        turns = [_Turn("user", question.removeprefix("Q:").removeprefix(" "))] if has_question else []
        base = len(text) - len(content)
        before = _before_answer(tokenizer, turns)
        segments = [
            *before,
            _Segment(content, content=True),
            _Segment(_template_ends(tokenizer)[1], content=False),
        ]
        encoded = _encode_segments(tokenizer, segments, offsets=True)
        ids = [index for index, _, _ in encoded]
        ends = [base + end if end is not None and number == len(before) else None for _, end, number in encoded]
        text_start = sum(number < len(before) for _, _, number in encoded)
        first = max(text_start - 1, 0)
    calls = tuple(
        max(_last_ending_at(ends, text_start, start), first) if answer_start <= start <= len(text) else None
        for start in calls_starts
    )
    return RenderedDemonstration(tuple(ids), tuple(ends), calls, first)


def _last_ending_at(ends: Sequence[int | None], text_start: int, character: int) -> int:
    """Index of the last token that ends at or before `character`, else of the one in front of the text; at least 0."""
    position = text_start - 1
    for index in range(text_start, len(ends)):
        end = ends[index]
        if end is None or end > character:
            break
        position = index
    return max(position, 0)
