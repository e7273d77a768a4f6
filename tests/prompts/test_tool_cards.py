"""prompts.tool_lists: tools are described in the prompt, and no text of theirs breaks out of its place."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from transformers import PreTrainedTokenizerFast

from langchain_toolken.prompts.format import PromptFormat
from langchain_toolken.prompts.messages import render
from langchain_toolken.prompts.tool_cards import tool_card
from langchain_toolken.tools.spec import ToolSpec, tool_spec
from tests.support.prompts import COMPLETION, INLINE, SPECIAL_IDS, TURN, call, hostile
from tests.support.tiny import TEMPLATE, make_tokenizer

# Qwen's and Hermes' way, and nano's: as JSON, and as signatures put together piece by piece.
AS_JSON = "{% if tools %}<|im_start|>system\n{% for t in tools %}{{ t | tojson }}\n{% endfor %}<|im_end|>\n{% endif %}"
AS_ASCII = AS_JSON.replace("tojson", "tojson(ensure_ascii=True)")
AS_LINES = (
    "{% if tools %}<|im_start|>system\n{% for t in tools %}- {{ t.function.name }}("
    "{% for name, schema in t.function.parameters.properties.items() %}{{ name }}"
    "{{ '?' if name not in t.function.parameters.required }}: {{ schema.type }} {{ schema.enum }}{% endfor %}): "
    "{{ t.function.description.split('\n')[0] }}{% endfor %}<|im_end|>\n{% endif %}"
)


def tokenizer_with(tools_template: str) -> PreTrainedTokenizerFast:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = tools_template + TEMPLATE
    return tokenizer


TEMPLATES = {"json": AS_JSON, "ascii": AS_ASCII, "lines": AS_LINES, "none": ""}
TOKENIZERS = {name: tokenizer_with(text) for name, text in TEMPLATES.items()}
QUESTION = [HumanMessage("Turn it on.")]


def tool(name: str = "lamp", text: str = "Turn it.", field: str = "state", value: str = "on") -> ToolSpec:
    fields = {
        field: {"type": "string", "enum": [value, "off"], "description": text, text: text},
        "level": {"type": "integer", "default": 3},
    }
    schema = {"type": "object", "properties": fields, "required": [field]}
    return ToolSpec(name=name, description=text, json_schema=schema)


def special_ids(ids: list[int]) -> list[int]:
    return [index for index in ids if index in SPECIAL_IDS]


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize("style", [COMPLETION, INLINE, TURN], ids=["completion", "inline", "turn"])
@given(text=hostile, name=hostile.filter(bool), field=hostile, user=hostile, result=hostile)
@settings(max_examples=40, deadline=None)
def test_no_text_of_a_tool_a_user_or_a_result_adds_a_special_token(
    kind: str, style: PromptFormat, text: str, name: str, field: str, user: str, result: str
) -> None:
    def history(user: str, result: str, name: str) -> list[BaseMessage]:
        return [
            SystemMessage(user),
            HumanMessage(user),
            AIMessage(user, tool_calls=[call(name=name, q=user)]),
            ToolMessage(result, tool_call_id="1"),
            HumanMessage(user),
        ]

    hostile_tool = tool(name, text, field or "f", text)
    ids = render(TOKENIZERS[kind], history(user, result, name), style, [hostile_tool])
    plain = render(TOKENIZERS[kind], history("u", "r", "n"), style, [tool()])
    assert special_ids(ids) == special_ids(plain)


@pytest.mark.parametrize("kind", ["json", "ascii"])
@given(text=st.text(min_size=1, max_size=8).filter(str.strip))
@settings(max_examples=50, deadline=None)
def test_a_template_that_writes_json_gets_json_whatever_a_description_says(kind: str, text: str) -> None:
    described = TOKENIZERS[kind].decode(render(TOKENIZERS[kind], QUESTION, INLINE, [tool(text=f"a\n{text}")]))
    line = described.split("<|im_start|>system\n")[1].split("\n<|im_end|>")[0]
    assert json.loads(line)["function"]["description"] == f"a\n{text}"


def test_a_template_shows_its_own_signatures_and_the_first_line() -> None:
    prompt = TOKENIZERS["lines"].decode(render(TOKENIZERS["lines"], QUESTION, INLINE, [tool(text="Turn it.\nNow.")]))
    assert "- lamp(state: string ['on', 'off']level?: integer ): Turn it.<|im_end|>" in prompt


def test_a_template_without_a_place_for_tools_gets_a_list_in_the_system_message() -> None:
    tokenizer = TOKENIZERS["none"]
    prompt = tokenizer.decode(render(tokenizer, [SystemMessage("Be brief."), *QUESTION], INLINE, [tool()]))
    assert prompt.startswith("<s><|im_start|>system\nBe brief.\n\nYou can call these tools.")
    assert "- lamp(state: 'on' | 'off', level?: integer): Turn it.<|im_end|>" in prompt


def test_a_template_without_a_place_for_system_messages_gets_it_in_the_users() -> None:
    tokenizer = make_tokenizer()
    refusal = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    tokenizer.chat_template = refusal + TEMPLATE
    prompt = tokenizer.decode(render(tokenizer, QUESTION, INLINE, [tool()]))
    assert prompt.startswith("<s><|im_start|>user\nYou can call these tools.")
    assert prompt.endswith("Turn it.\n\nTurn it on.<|im_end|>\n<|im_start|>assistant\n")


def test_the_completion_style_opens_with_the_list() -> None:
    tokenizer = make_tokenizer(chat=False)
    prompt = tokenizer.decode(render(tokenizer, QUESTION, COMPLETION, [tool()]))
    assert prompt.startswith("You can call these tools.")
    assert prompt.endswith("\n\nQ: Turn it on.\nA:")


def test_the_tool_card_is_signature_summary_and_an_open_json() -> None:
    def divide(a: float, b: float) -> float:
        """Divide a by b.

        More that the LM need not read.
        """
        return a / b

    assert tool_card(tool_spec(divide)) == "\nTool: divide(a: number, b: number)\nDivide a by b.\nArguments: "
