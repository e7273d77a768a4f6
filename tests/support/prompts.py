"""What the tests of prompts share: a tokenizer, texts that try to forge its special tokens, a tool call."""

from __future__ import annotations

from hypothesis import strategies as st

from langchain_toolken.prompts.format import PromptFormat
from tests.support.tiny import SPECIALS, make_tokenizer

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
