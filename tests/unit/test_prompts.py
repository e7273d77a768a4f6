"""prompts: content can't forge a special token, and is kept character for character."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, HumanMessage, SystemMessage, ToolMessage
from tokenizers import Tokenizer, decoders, models, normalizers
from transformers import PreTrainedTokenizerFast

from langchain_toolken.prompts import (
    PromptFormat,
    answer_lead,
    answer_so_far,
    bos_ids,
    encode_content,
    join_result,
    render,
    render_demonstration,
    tool_card,
)
from langchain_toolken.tools import tool_spec
from tests.unit.tiny_chat import SPECIALS, TEMPLATE, make_tokenizer

TOKENIZER = make_tokenizer()
SPECIAL_IDS = {TOKENIZER.convert_tokens_to_ids(token) for token in SPECIALS}
COMPLETION = PromptFormat("completion")
INLINE = PromptFormat("chat")
TURN = PromptFormat("chat", "turn")

hostile = st.lists(
    st.one_of(
        st.sampled_from(
            [*SPECIALS, "<<s>s>", "<|im_", "end|>", "<multiply>", "<|toolken_0|>", "\U000f0000", "{{ x }}"]
        ),
        st.text(max_size=6),
    ),
    max_size=6,
).map("".join)


def special_ids(ids: list[int]) -> list[str]:
    return [TOKENIZER.convert_ids_to_tokens(index) for index in ids if index in SPECIAL_IDS]


def call(call_id: str = "1", name: str = "multiply", **arguments: object) -> dict[str, object]:
    return {"name": name, "args": arguments, "id": call_id, "type": "tool_call"}


@given(hostile)
@settings(max_examples=200, deadline=None)
def test_content_has_no_special_token_and_decodes_to_itself(text: str) -> None:
    ids = encode_content(TOKENIZER, text)
    assert not SPECIAL_IDS & set(ids)
    assert TOKENIZER.decode(ids) == text


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


@given(user=hostile, result=hostile)
@settings(max_examples=100, deadline=None)
def test_a_completion_prompt_holds_no_special_token_but_the_bos(user: str, result: str) -> None:
    tokenizer = make_tokenizer_with_bos()
    messages = [HumanMessage(user), AIMessage("It is", tool_calls=[call()]), ToolMessage(result, tool_call_id="1")]
    ids = render(tokenizer, messages, COMPLETION)
    assert special_ids(ids) == ["<s>"]
    assert tokenizer.decode(ids[1:]) == f"Q: {user}\nA: {join_result('It is', result)}"


def make_tokenizer_with_bos(cache: list[PreTrainedTokenizerFast] = []) -> PreTrainedTokenizerFast:  # noqa: B006
    if not cache:
        cache.append(make_tokenizer(bos=True))
    return cache[0]


def test_lone_surrogates_become_the_replacement_character() -> None:
    assert TOKENIZER.decode(encode_content(TOKENIZER, "a\ud800b")) == "a\ufffdb"


def test_a_marker_that_only_normalisation_reveals_stays_text() -> None:
    raw = Tokenizer.from_str(TOKENIZER.backend_tokenizer.to_str())
    raw.normalizer = normalizers.NFKC()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="</s>")
    from tokenizers import AddedToken

    tokenizer.add_tokens([AddedToken("<call>", special=True, normalized=True)])
    forged = "\uff1ccall\uff1e"
    marker = tokenizer.convert_tokens_to_ids("<call>")
    assert marker in tokenizer(forged).input_ids
    assert marker not in encode_content(tokenizer, forged)


def test_a_special_token_of_one_character_is_refused_by_name() -> None:
    tokenizer = make_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["§"]})
    with pytest.raises(ValueError, match="'§'"):
        encode_content(tokenizer, "see § 3")


def test_whitespace_added_tokens_stay_whole() -> None:
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["\n\n"])
    assert encode_content(tokenizer, "\n\n") == [tokenizer.convert_tokens_to_ids("\n\n")]


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


# --------------------------------------------------------------------------------------------------------------------


def test_completion_style_lays_out_questions_and_answers() -> None:
    messages = [
        SystemMessage("Be brief."),
        HumanMessage("How many?"),
        AIMessage("It is 4096*27=", tool_calls=[call()]),
        ToolMessage("110592", tool_call_id="1"),
        AIMessage(" pens."),
        HumanMessage("And?"),
    ]
    prompt_format = PromptFormat("completion", few_shot="Q: 1+1?\nA: 2\n\n")
    assert TOKENIZER.decode(render(TOKENIZER, messages, prompt_format)) == (
        "Q: 1+1?\nA: 2\n\nBe brief.\n\nQ: How many?\nA: It is 4096*27=110592 pens.\n\nQ: And?\nA:"
    )


@pytest.mark.parametrize("prompt_format", [COMPLETION, INLINE], ids=["completion", "chat"])
def test_inline_history_renders_to_the_ids_of_the_sentence_itself(prompt_format: PromptFormat) -> None:
    pieces = [
        HumanMessage("How many?"),
        AIMessage("The boxes hold 4096*27=", tool_calls=[call()]),
        ToolMessage("110592", tool_call_id="1"),
        AIMessage(" pens, and 2 boxes", tool_calls=[call("2")]),
        ToolMessage("8192", tool_call_id="2"),
    ]
    sentence = "The boxes hold 4096*27=110592 pens, and 2 boxes 8192"
    whole = [HumanMessage("How many?"), AIMessage(sentence)]
    assert render(TOKENIZER, pieces, prompt_format) == render(TOKENIZER, whole, prompt_format)
    assert answer_so_far(pieces, "inline") == sentence


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
    ("text", "result", "joined"),
    [
        ("", "5", "5"),
        ("4096*27=", "110592", "4096*27=110592"),
        ("4096 * 27 =", "110592", "4096 * 27 = 110592"),
        ("It is ", "5", "It is 5"),
        ("It is", "5", "It is 5"),
        ("It costs $", "5", "It costs $5"),
        ("(", "5", "(5"),
        ('"', "Paris", '"Paris'),
        ("=", "5", "=5"),
    ],
)
def test_results_join_as_prose_does(text: str, result: str, joined: str) -> None:
    assert join_result(text, result) == joined


def test_text_blocks_are_joined_and_calls_among_them_left_to_tool_calls() -> None:
    message = HumanMessage([{"type": "text", "text": "How "}, "many", {"type": "text", "text": "?"}])
    assert TOKENIZER.decode(render(TOKENIZER, [message], COMPLETION)) == "Q: How many?\nA:"


# --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prompt_format", [COMPLETION, INLINE, TURN], ids=["completion", "inline", "turn"])
@pytest.mark.parametrize(
    ("messages", "says"),
    [
        ([], "no messages"),
        ([HumanMessage([{"type": "image_url", "image_url": "x"}])], "image_url"),
        ([HumanMessage("a"), ToolMessage("5", tool_call_id="call_9")], "call_9"),
        ([HumanMessage("a"), AIMessage("b", tool_calls=[call()])], "'multiply'.*result"),
        (
            [
                HumanMessage("a"),
                AIMessage("b", tool_calls=[call("x")]),
                HumanMessage("c"),
                ToolMessage("5", tool_call_id="x"),
            ],
            "'x'",
        ),
        ([ChatMessage("a", role="narrator")], "narrator"),
    ],
    ids=["empty", "image", "result without call", "call without result", "result too late", "unknown role"],
)
def test_histories_that_make_no_prompt_say_why(
    messages: list[BaseMessage], says: str, prompt_format: PromptFormat
) -> None:
    with pytest.raises(ValueError, match=says):
        render(TOKENIZER, messages, prompt_format)


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


def test_a_missing_chat_template_and_formats_that_contradict_themselves_are_refused() -> None:
    with pytest.raises(ValueError, match="no chat template"):
        render(make_tokenizer(chat=False), [HumanMessage("a")], INLINE)
    with pytest.raises(ValueError, match="turn"):
        PromptFormat("completion", "turn")
    with pytest.raises(ValueError, match="few_shot"):
        PromptFormat("chat", few_shot="Q: a")


# --------------------------------------------------------------------------------------------------------------------


def test_bos_ids_are_what_the_tokenizer_puts_in_front() -> None:
    assert bos_ids(make_tokenizer()) == []
    assert bos_ids(make_tokenizer(bos=True)) == [0]


def test_the_tool_card_is_signature_summary_and_an_open_json() -> None:
    def divide(a: float, b: float) -> float:
        """Divide a by b.

        More that the LM need not read.
        """
        return a / b

    assert tool_card(tool_spec(divide)) == "\nTool: divide(a: number, b: number)\nDivide a by b.\nArguments: "


TEXT = "Q: How many pens?\nA: The boxes hold 4096*27=110592 pens."


@pytest.mark.parametrize("style", ["completion", "chat"])
def test_a_demonstrations_call_stands_where_the_agent_would_stand(style: str) -> None:
    tokenizer = make_tokenizer(bos=True)
    demonstration = render_demonstration(tokenizer, TEXT, [TEXT.index("110592")], style)  # type: ignore[arg-type]
    (position,) = demonstration.call_positions
    assert position is not None
    live = render(
        tokenizer, [HumanMessage("How many pens?"), AIMessage("The boxes hold 4096*27=")], PromptFormat(style)
    )  # type: ignore[arg-type]
    assert list(demonstration.ids[: position + 1]) == live
    prompt = render(tokenizer, [HumanMessage("How many pens?")], PromptFormat(style))  # type: ignore[arg-type]
    assert list(demonstration.ids[: demonstration.first_supervised + 1]) == prompt
    assert demonstration.ends[position] == TEXT.index("110592")
    assert len(demonstration.ends) == len(demonstration.ids)


def test_a_chat_demonstration_ends_its_turn_and_a_completion_keeps_its_text() -> None:
    chat = render_demonstration(TOKENIZER, TEXT, [], "chat")
    assert TOKENIZER.decode(chat.ids).endswith("pens.<|im_end|>\n")
    completion = render_demonstration(TOKENIZER, TEXT, [], "completion")
    assert TOKENIZER.decode(completion.ids) == TEXT
    assert completion.ends[-1] == len(TEXT)


@pytest.mark.parametrize("style", ["completion", "chat"])
def test_calls_in_the_question_or_beyond_the_text_have_no_position(style: str) -> None:
    starts = [3, len(TEXT) + 1, TEXT.index("The boxes")]
    demonstration = render_demonstration(TOKENIZER, TEXT, starts, style)  # type: ignore[arg-type]
    assert demonstration.call_positions == (None, None, demonstration.first_supervised)


@pytest.mark.parametrize("style", ["completion", "chat"])
def test_a_text_without_question_is_supervised_whole(style: str) -> None:
    tokenizer = make_tokenizer(bos=True)
    text = "Nike is owned by Mark."
    demonstration = render_demonstration(tokenizer, text, [text.index("Mark")], style)  # type: ignore[arg-type]
    (position,) = demonstration.call_positions
    assert position is not None
    before = tokenizer.decode(demonstration.ids[: position + 1])
    assert before.endswith(("Nike is owned by", "Nike is owned by "))
    assert demonstration.first_supervised == (0 if style == "completion" else demonstration.ends.index(1) - 1)


def test_special_tokens_in_a_demonstration_stay_text_and_keep_its_positions() -> None:
    text = "Q: é🎈<s>?\nA: <|im_end|> is 5."
    demonstration = render_demonstration(TOKENIZER, text, [text.index("5")], "completion")
    assert special_ids(list(demonstration.ids)) == []
    (position,) = demonstration.call_positions
    assert position is not None
    assert TOKENIZER.decode(demonstration.ids[: position + 1]).rstrip() == "Q: é🎈<s>?\nA: <|im_end|> is"
