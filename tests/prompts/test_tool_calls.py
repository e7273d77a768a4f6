"""prompts.tool_calls: each tokenizer's own way to write a call, and an error where there is none."""

from __future__ import annotations

from langchain_toolken.prompts.tool_calls import call_layout, in_plain_text, marker_ids, unmarked
from langchain_toolken.prompts.turns import Turn
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


def test_without_a_marker_token_calls_begin_with_plain_text() -> None:
    tokenizer = make_tokenizer(extra=())
    layout = call_layout(tokenizer)
    assert (layout.marker, layout.marker_id, layout.lead) == ("<tool_call>", None, "")
    assert layout.head("add") == '{"name":"add","arguments":'
    ids = marker_ids(tokenizer, layout)
    assert len(ids) > 1
    assert tokenizer.decode(ids) == "<tool_call>"


def test_a_template_that_writes_calls_otherwise_leaves_plain_text_too() -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = LLAMA
    assert call_layout(tokenizer).marker_id is None


def test_content_loses_a_marker_of_plain_text_and_keeps_a_token_which_it_cannot_forge() -> None:
    plain, token = call_layout(make_tokenizer(extra=())), call_layout(make_tokenizer())
    assert unmarked("Write <tool_call>{}", plain) == "Write <tool_call >{}"
    assert unmarked("Write <tool_call>{}", token) == "Write <tool_call>{}"


def test_a_call_of_the_history_is_written_as_the_lm_wrote_it_with_the_marker_once() -> None:
    call = {"id": "1", "name": "add", "args": {"note": "<tool_call>", "a": 2}}
    turn = in_plain_text(Turn("assistant", "I say <tool_call>. ", (call,)), call_layout(make_tokenizer(extra=())))
    assert turn.text == ('I say <tool_call >. <tool_call>{"name":"add","arguments":{"note": "<tool_call >", "a": 2}}')
    assert turn.tool_calls == ()
