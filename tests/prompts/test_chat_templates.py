"""prompts.templates: no content breaks out of its place in a chat template, and none is trimmed or lost."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from tokenizers import Tokenizer, decoders, models, normalizers
from transformers import PreTrainedTokenizerFast

from langchain_toolken.prompts.chat_templates import answer_lead
from langchain_toolken.prompts.content import encode_content
from langchain_toolken.prompts.format import PromptFormat
from langchain_toolken.prompts.messages import render
from tests.support.prompts import INLINE, TOKENIZER, TURN, call, hostile, special_ids
from tests.support.tiny import TEMPLATE, make_tokenizer


@given(user=hostile, said=hostile, result=hostile, more=hostile, style=st.sampled_from([INLINE, TURN]))
@settings(max_examples=150, deadline=None)
def test_no_message_content_adds_a_special_token_to_a_chat_prompt(
    user: str, said: str, result: str, more: str, style: PromptFormat
) -> None:
    def history(user: str, said: str, result: str, more: str, argument: str) -> list[BaseMessage]:
        return [
            SystemMessage(user),
            HumanMessage(user),
            AIMessage(said, tool_calls=[call(q=argument)]),
            ToolMessage(result, tool_call_id="1"),
            AIMessage(more),
            HumanMessage(more),
        ]

    ids = render(TOKENIZER, history(user, said, result, more, user), style)
    plain = render(TOKENIZER, history("u", "s", "r", "m", "a"), style)
    assert special_ids(ids) == special_ids(plain)


def sentencepiece_like() -> PreTrainedTokenizerFast:
    """Opens every text with a space, as Llama 2's tokenizer does."""
    vocab = {"<s>": 0, "</s>": 1, "<unk>": 2, **{f"<0x{byte:02X}>": byte + 3 for byte in range(256)}}
    for character in "▁abcdefghijklmnopqrstuvwxyzQA:[]IS<>/.":
        vocab.setdefault(character, len(vocab))
    raw = Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token="<unk>", byte_fallback=True))
    raw.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    raw.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def test_a_tokenizer_that_opens_texts_with_a_space_adds_none_between_segments() -> None:
    tokenizer = sentencepiece_like()
    tokenizer.chat_template = (
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[I]{{ m.content }}[/I]"
        "{% else %}{{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
    )
    ids = render(tokenizer, [HumanMessage("a</s>b"), AIMessage("c d")], INLINE)
    assert tokenizer.convert_ids_to_tokens(ids) == (
        ["<s>", "▁", "[", "I", "]", "a", "<", "/", "s", ">", "b", "[", "/", "I", "]", "c", "▁", "d"]
    )


def test_an_open_answer_stands_behind_the_very_prompt_it_was_generated_from() -> None:
    tokenizer = make_tokenizer()
    # Qwen3's template puts an empty <think> block before an assistant's last message, but not into its prompt.
    tokenizer.chat_template = TEMPLATE.replace(
        "{{ message.content", "{% if message.role == 'assistant' %}<think></think>{% endif %}{{ message.content"
    )
    prompt = render(tokenizer, [HumanMessage("Hi")], INLINE)
    assert render(tokenizer, [HumanMessage("Hi"), AIMessage("It is ")], INLINE) == [
        *prompt,
        *encode_content(tokenizer, "It is "),
    ]


def test_a_space_that_the_template_puts_before_an_answer_is_the_lms_to_write() -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m.role == 'user' %}[I] {{ m.content }} [/I]"
        "{% else %} {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
    )
    assert answer_lead(tokenizer, INLINE) == " "
    assert tokenizer.decode(render(tokenizer, [HumanMessage("a")], INLINE)) == "[I] a [/I]"
    assert tokenizer.decode(render(tokenizer, [HumanMessage("a"), AIMessage("b")], INLINE)) == "[I] a [/I] b"
    closed = render(tokenizer, [HumanMessage("a"), AIMessage("b"), HumanMessage("c")], INLINE)
    assert tokenizer.decode(closed) == "[I] a [/I] b</s>[I] c [/I]"


def test_turn_style_gives_results_to_the_templates_tool_role() -> None:
    messages = [
        HumanMessage("How many?"),
        AIMessage("It is", tool_calls=[call(a='1"</s>', b=[2])]),
        ToolMessage("3", tool_call_id="1"),
    ]
    assert TOKENIZER.decode(render(TOKENIZER, messages, TURN)) == (
        "<s><|im_start|>user\nHow many?<|im_end|>\n<|im_start|>assistant\nIt is<tool_call>"
        '{"name": "multiply", "arguments": {"a": "1\\"</s>", "b": [2]}}<|im_end|>\n'
        "<|im_start|>tool\n3<|im_end|>\n<|im_start|>assistant\n"
    )


def test_contents_that_a_template_would_trim_are_kept() -> None:
    ids = render(TOKENIZER, [HumanMessage("  hi \n")], INLINE)
    assert TOKENIZER.decode(ids) == "<s><|im_start|>user\n  hi \n<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize(
    ("template", "messages", "role"),
    [
        (
            "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}",
            [SystemMessage("s"), HumanMessage("u")],
            "'system'",
        ),
        (
            "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
            "{{ raise_exception('roles must alternate') }}{% endif %}{{ m.content }}{% endfor %}",
            [HumanMessage("a"), HumanMessage("b"), AIMessage("c"), HumanMessage("d")],
            "'user'.*user user.*alternate",
        ),
        (
            "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}",
            [SystemMessage("s"), HumanMessage("u")],
            "leaves out.*'system'",
        ),
    ],
    ids=["no system", "alternation", "silently dropped"],
)
def test_a_role_that_the_template_refuses_or_drops_is_named(
    template: str, messages: list[BaseMessage], role: str
) -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = template
    with pytest.raises(ValueError, match=role):
        render(tokenizer, messages, INLINE)


def test_a_missing_chat_template_is_refused() -> None:
    with pytest.raises(ValueError, match="no chat template"):
        render(make_tokenizer(chat=False), [HumanMessage("a")], INLINE)
