"""prompts.template_rendering: a template gets each message's content in the form that it reads."""

from __future__ import annotations

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from langchain_toolken.prompts.messages import render
from langchain_toolken.prompts.thoughts import thought_layout
from langchain_toolken.prompts.tool_calls import call_layout
from tests.support.prompts import INLINE, TOKENIZER, TURN, call
from tests.support.tiny import TEMPLATE, make_tokenizer

CONTENT = "{{ message.content | trim }}"
PARTS = "{% for part in message.content %}{% if part.type == 'text' %}{{ part.text }}{% endif %}{% endfor %}"
FORMS = {
    "parts": PARTS,
    "either": "{% if message.content is string %}" + CONTENT + "{% else %}" + PARTS + "{% endif %}",
    "parts by key": "{% for part in message['content'] %}{{ part['text'] }}{% endfor %}",
    "the first part": "{% if message.content %}{{ message.content[0].text }}{% endif %}",
    "the user's in parts": "{% if message.role == 'user' %}" + PARTS + "{% else %}" + CONTENT + "{% endif %}",
    "all but the tool's in parts": "{% if message.role == 'tool' %}" + CONTENT + "{% else %}" + PARTS + "{% endif %}",
}
HISTORY: list[BaseMessage] = [
    SystemMessage("Be brief."),
    HumanMessage("How many?"),
    AIMessage("", tool_calls=[call()]),
    ToolMessage("5", tool_call_id="1"),
    AIMessage(" pens."),
    HumanMessage("And?"),
]


@pytest.mark.parametrize("form", list(FORMS))
def test_contents_reach_a_template_in_the_form_that_it_reads(form: str) -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = TEMPLATE.replace(CONTENT, FORMS[form])
    for style in (INLINE, TURN):
        for count in (2, 4, 5, 6):
            assert render(tokenizer, HISTORY[:count], style) == render(TOKENIZER, HISTORY[:count], style)
    assert call_layout(tokenizer) == call_layout(TOKENIZER)


def test_thoughts_are_found_in_a_template_of_parts() -> None:
    thinking = TEMPLATE.replace(CONTENT, "{% if message.reasoning_content %}<think>\n{{ message.reasoning_content }}\n</think>\n\n{% endif %}" + CONTENT)  # fmt: skip  # noqa: E501
    plain, parts = make_tokenizer(), make_tokenizer()
    plain.chat_template, parts.chat_template = thinking, thinking.replace(CONTENT, PARTS)
    assert thought_layout(parts) == thought_layout(plain)
    assert thought_layout(parts) is not None


@pytest.mark.parametrize("shown", ["{{ message.words }}", "{{ raise_exception('no words') }}"])
def test_a_template_that_shows_content_in_neither_form_says_so(shown: str) -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = TEMPLATE.replace(CONTENT, shown)
    with pytest.raises(ValueError, match="neither .* string nor as parts"):
        render(tokenizer, [HumanMessage("Hi")], INLINE)
