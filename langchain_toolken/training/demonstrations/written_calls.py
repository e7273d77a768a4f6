"""Read calls that an assistant message writes in its text, as chat templates and fine-tuning data do.

Read are, one call or several:

- `<tool_call>{"name": …, "arguments": {…}}</tool_call>` (Hermes, Qwen) and the same in `<functioncall>`,
  `<function_call>` and `<|tool_call|>`;
- `<function=NAME>{…}</function>` (Llama) and `<function=NAME><parameter=KEY>VALUE</parameter></function>` (Qwen coder);
- `[TOOL_CALLS][{"name": …, "arguments": {…}}]` and `[TOOL_CALLS]NAME[ARGS]{…}` (Mistral);
- `<|python_tag|>{"name": …, "parameters": {…}}` and `<|python_tag|>NAME.call(key="value")` (Llama);
- a message that is nothing but such JSON, or ends with it, or is `[NAME(key="value"), …]` with a tool's name.

Text with one of the marks that can't be read as a call is an error: taken as it is, it would teach that nothing is
called.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_toolken.training.demonstrations.call_syntax import read_arguments, read_value

# What begins a call in one format or another, those that are not read included.
_MARK = re.compile(
    r"</?tool_calls?\b|\[TOOL_CALLS\]|<\|python_tag\|>|<function=|</?function_?calls?>|</?\|tool_calls?|<tool_use>|"
    r"<invoke\b|<start_function_call>|<｜tool▁|<\|channel\|>\w+ to=|<tool_code>|(?m:^Action: ?\S.*\n+Action Input:)"
)
_OPENING = re.compile(
    r"\s*(?:<tool_calls?>|<function_?call>|<\|tool_call\|>|\[TOOL_CALLS\]|<\|python_tag\|>)\s*", re.IGNORECASE
)
_CLOSING = re.compile(
    r"\s*(?:</tool_calls?>|</function_?call>|<\|/tool_call\|>|</s>|<\|(?:im_end|eom_id|eot_id|endoftext)\|>|[;,])\s*",
    re.IGNORECASE,
)
_FUNCTION = re.compile(r"<function=([^<>\s]+?)>\s*")
_PARAMETER = re.compile(r"\s*<parameter=([^<>\s]+?)>\n?(.*?)\n?</parameter>\s*", re.DOTALL)
_END_OF_FUNCTION = re.compile(r"\s*</function>")
_NAMED_JSON = re.compile(r"([\w.-]+)(?:\[CALL_ID\]\w+)?(?:\[ARGS\])?\s*(?=\{)")
_PYTHON = re.compile(r"([^\W\d][\w.-]*?)(?:\.call)?(?=\()")
_BARE = re.compile(r'(?:```(?:json)?\s*)?[\[{]\s*(?:\{\s*)?"(?:name|function|type|tool|id)"\s*:')
_FENCE_END = re.compile(r"\s*(?:```)?\s*")
_RESPONSE = re.compile(r"\s*<tool_response>\s*(.*?)\s*</tool_response>\s*", re.DOTALL)


@dataclass(frozen=True)
class WrittenCall:
    """A call that was written as text.

    Attributes:
        tool: The tool's name.
        args: The arguments by name.
    """

    tool: str
    args: dict[str, Any]


@dataclass(frozen=True)
class WrittenCalls:
    """A message's text up to its first written call, and the calls."""

    text: str
    calls: tuple[WrittenCall, ...]


def mark_of_a_call(text: str) -> str | None:
    """Return what in a text looks like the beginning of a written call; None if nothing does."""
    found = _MARK.search(text)
    return None if found is None else found[0].split("\n")[0]


def written_calls(text: str, tools: Mapping[str, Sequence[str] | None]) -> WrittenCalls | None:
    """Read the calls that a message writes in its text; None if it has none.

    Args:
        text: The message's text.
        tools: Each tool's argument names in order, None if unknown, by tool name.

    Raises:
        ValueError: There is the mark of a call, and it can't be read, or text follows it.
    """
    mark = _MARK.search(text)
    if mark is None:
        return _bare_calls(text, tools)
    at, calls = mark.start(), []
    try:
        while at < len(text):
            if opening := _OPENING.match(text, at):
                at = opening.end()
            read, at = _payload(text, at, tools)
            calls += read
            while closing := _CLOSING.match(text, at):
                at = closing.end()
            if at < len(text) and _MARK.match(text, at) is None and text[at] not in "{[":
                raise ValueError(f"text follows it: {text[at : at + 30]!r}. A message ends with its calls")
    except ValueError as error:
        raise ValueError(f"{mark[0].split(chr(10))[0]!r} begins a call that can't be read: {error}") from error
    return WrittenCalls(text[: mark.start()].rstrip(), tuple(calls))


def written_results(text: str) -> list[str]:
    """Split `<tool_response>` blocks into their results; a text without any is one result.

    Hermes-style data writes {"name": …, "content": …} in them, of which the content is the result.
    """
    results, at = [], 0
    while found := _RESPONSE.match(text, at):
        results.append(_content_of(found[1]))
        at = found.end()
    return results if results and at == len(text) else [text]


def is_written_result(text: str) -> bool:
    """Return whether a message holds nothing but `<tool_response>` blocks."""
    return _RESPONSE.match(text) is not None and written_results(text) != [text]


def _content_of(result: str) -> str:
    try:
        read = json.loads(result)
    except (ValueError, RecursionError):
        return result
    if not isinstance(read, dict) or "content" not in read or not {*read} <= {"name", "content", "tool_call_id"}:
        return result
    content = read["content"]
    return content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)


def _payload(text: str, at: int, tools: Mapping[str, Sequence[str] | None]) -> tuple[list[WrittenCall], int]:
    """Read what is between the marks at `at`: JSON, a function element, or a call as in code."""
    if function := _FUNCTION.match(text, at):
        return _function(text, function)
    if text[at : at + 1] in ("{", "["):
        if text[at] == "[" and _PYTHON.match(text, at + 1):
            return _python_list(text, at, tools)
        value, end = _json(text, at)
        return [_call(item) for item in (value if isinstance(value, list) else [value])], end
    if named := _NAMED_JSON.match(text, at):
        value, end = _json(text, named.end())
        return [WrittenCall(named[1], _arguments(value))], end
    if _PYTHON.match(text, at):
        call, end = _python(text, at, tools)
        return [call], end
    raise ValueError(f"neither JSON nor a tool's name follows, but {text[at : at + 30]!r}")


def _function(text: str, function: re.Match[str]) -> tuple[list[WrittenCall], int]:
    at, args = function.end(), {}
    if text[at : at + 1] == "{":
        value, at = _json(text, at)
        args = _arguments(value)
    else:
        while parameter := _PARAMETER.match(text, at):
            args[parameter[1]] = _parameter_value(parameter[2])
            at = parameter.end()
    end = _END_OF_FUNCTION.match(text, at)
    if end is None:
        if text[at:].strip():
            raise ValueError(f"</function> is missing before {text[at : at + 30]!r}")
        return [WrittenCall(function[1], args)], len(text)
    return [WrittenCall(function[1], args)], end.end()


def _parameter_value(text: str) -> Any:
    """Read a parameter's value: JSON for what can't be text. A numeral is read by the tool's schema, later."""
    if text.strip()[:1] in ("{", "[") or text.strip() in ("true", "false", "null"):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text
    return text


def _json(text: str, at: int) -> tuple[Any, int]:
    """Read JSON, or what Python prints of the same values."""
    try:
        return json.JSONDecoder().raw_decode(text, at)
    except (ValueError, RecursionError):
        return read_value(text, at)


def _call(value: Any) -> WrittenCall:
    call = _as_call(value)
    if call is None:
        shown = json.dumps(value, ensure_ascii=False)
        raise ValueError(f'{shown[:60]} is no call: {{"name": …, "arguments": {{…}}}}')
    return call


def _as_call(value: Any) -> WrittenCall | None:
    """Read a call from JSON, in any of the ways to name its parts; None if it is other JSON."""
    if not isinstance(value, Mapping):
        return None
    if isinstance(value.get("function"), Mapping):
        return _as_call(value["function"])
    names = [value[key] for key in ("name", "function", "tool") if isinstance(value.get(key), str)]
    given = [value[key] for key in ("arguments", "parameters", "args", "input") if key in value]
    known = {"name", "function", "tool", "arguments", "parameters", "args", "input", "id", "type"}
    if len(names) != 1 or len(given) > 1 or not {*value} <= known or (not given and {*value} - {"name"}):
        return None
    return WrittenCall(names[0], _arguments(given[0] if given else {}))


def _arguments(value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.strip() else {}
        except (ValueError, RecursionError) as error:
            raise ValueError(f"its arguments are not a JSON object: {value[:60]!r}") from error
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ValueError(f"its arguments are not an object: {json.dumps(value, ensure_ascii=False)[:60]}")
    return dict(value)


def _python(text: str, at: int, tools: Mapping[str, Sequence[str] | None]) -> tuple[WrittenCall, int]:
    name = _PYTHON.match(text, at)
    if name is None:
        raise ValueError(f"a tool's name is missing before {text[at : at + 30]!r}")
    written = read_arguments(text, name.end())
    properties = tools.get(name[1])
    args = written.bound(properties)
    if isinstance(args, list):
        if args and (properties is None or len(args) > len(properties)):
            raise ValueError(f"the arguments of '{name[1]}' have no names")
        args = dict(zip(properties or (), args, strict=False))
    return WrittenCall(name[1], args), written.end


def _python_list(text: str, at: int, tools: Mapping[str, Sequence[str] | None]) -> tuple[list[WrittenCall], int]:
    calls = []
    while text[at] in "[,":
        call, at = _python(text, re.compile(r"\s*").match(text, at + 1).end(), tools)  # type: ignore[union-attr]
        calls.append(call)
        at += len(text[at:]) - len(text[at:].lstrip())
        if text[at : at + 1] not in ("]", ","):
            raise ValueError("the list of calls doesn't close")
    return calls, at + 1


def _bare_calls(text: str, tools: Mapping[str, Sequence[str] | None]) -> WrittenCalls | None:
    """Read calls without a mark: JSON at the end of the message, or the whole message as calls in code."""
    whole = text.strip()
    code = _PYTHON.match(whole.removeprefix("["))
    if code is not None and code[1] in tools:
        try:
            calls, end = _python_list(whole, 0, tools) if whole[0] == "[" else _one(_python(whole, 0, tools))
        except ValueError:
            return None
        return WrittenCalls("", tuple(calls)) if end == len(whole) else None
    for start in _BARE.finditer(text):
        at = start.start() + re.search(r"[\[{]", start[0]).start()  # type: ignore[union-attr]
        try:
            value, end = json.JSONDecoder().raw_decode(text, at)
        except (ValueError, RecursionError):
            continue
        items = value if isinstance(value, list) else [value]
        read = [call for call in map(_as_call, items) if call is not None]
        said, after = text[: start.start()].rstrip(), text[end:]
        # In the middle of a text, JSON is a call only if it names one of the tools.
        if not read or len(read) < len(items) or (said and not all(call.tool in tools for call in read)):
            continue
        if _FENCE_END.fullmatch(after) is None:
            if all(call.tool in tools for call in read):
                raise ValueError(f"text follows the call of '{read[0].tool}' that is written as JSON: {after[:30]!r}")
            continue
        return WrittenCalls(said, tuple(read))
    return None


def _one(read: tuple[WrittenCall, int]) -> tuple[list[WrittenCall], int]:
    return [read[0]], read[1]
