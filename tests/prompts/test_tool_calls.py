"""prompts.tool_calls: each tokenizer's own way to write a call, and an error where there is none."""

from __future__ import annotations

import pytest

from langchain_toolken.prompts.tool_calls import call_layout
from tests.support.tiny import make_tokenizer

QWEN = (
    "{% for m in messages %}{{ m.content }}{% for c in m.tool_calls or [] %}<tool_call>\n"
    '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}\n</tool_call>{% endfor %}'
    "{% endfor %}"
)
MISTRAL = (
    "{% for m in messages %}{% if m.tool_calls %}[TOOL_CALLS] [{% for c in m.tool_calls %}"
    "{{ c.function | tojson }}{% endfor %}]{% else %}{{ m.content }}{% endif %}{% endfor %}"
)
LLAMA = '{% for m in messages %}{% for c in m.tool_calls %}{"name": "{{ c.function.name }}", "parameters": 1}{% endfor %}{% endfor %}'  # noqa: E501


def test_a_chat_template_says_how_calls_are_written() -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = QWEN
    layout = call_layout(tokenizer)
    assert (layout.marker, layout.marker_id) == ("<tool_call>", tokenizer.convert_tokens_to_ids("<tool_call>"))
    assert layout.lead == "\n"
    assert layout.head('say "hi"') == '\n{"name": "say \\"hi\\"", "arguments": '


def test_mistrals_calls_stand_in_a_list() -> None:
    tokenizer = make_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["[TOOL_CALLS]"]})
    tokenizer.chat_template = MISTRAL
    layout = call_layout(tokenizer)
    assert (layout.marker, layout.lead) == ("[TOOL_CALLS]", " [")


def test_without_a_template_that_knows_calls_they_are_compact_json() -> None:
    assert call_layout(make_tokenizer(chat=False)).head("add") == '{"name":"add","arguments":'


def test_a_tokenizer_without_a_marker_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"no token that begins a tool call \(known: <tool_call>, \[TOOL_CALLS\]"):
        call_layout(make_tokenizer(extra=()))


def test_a_template_that_writes_calls_otherwise_is_refused() -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = LLAMA
    with pytest.raises(ValueError, match="parameters"):
        call_layout(tokenizer)
