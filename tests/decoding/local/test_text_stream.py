"""Incremental text: pieces join exactly, characters are whole, stop strings never show."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from langchain_toolken.decoding.local.text_stream import TextStream
from tests.support.tiny import make_tokenizer

TOKENIZER = make_tokenizer()
IDS = st.lists(st.integers(0, len(TOKENIZER) - 1), max_size=40)
STOPS = st.lists(st.text(st.sampled_from("ab eQ:\n1é"), min_size=1, max_size=4), max_size=3)


def run(ids: list[int], stop: list[str], context: list[int]) -> tuple[list[str], TextStream]:
    stream = TextStream(TOKENIZER, context, stop)
    pieces = []
    for token in ids:
        pieces.append(stream.push(token))
        if stream.stopped:
            break
    pieces.append(stream.finish())
    return pieces, stream


@settings(deadline=None)
@given(ids=IDS, stop=STOPS, context=IDS)
def test_pieces_join_to_the_text_and_the_text_to_the_decoded_tokens(
    ids: list[int], stop: list[str], context: list[int]
) -> None:
    # A prompt is text, so it ends in a whole character.
    context = TOKENIZER.encode(TOKENIZER.decode(context).replace("\ufffd", ""))
    pieces, stream = run(ids, stop, context)
    whole = TOKENIZER.decode(ids)
    assert "".join(pieces) == stream.text
    assert not any(s in stream.text for s in stop)
    if stream.stopped:
        assert whole.startswith(stream.text)
        assert any(whole[len(stream.text) :].startswith(s) for s in stop)
        assert stream.text.startswith(TOKENIZER.decode(list(stream.token_ids)))
        assert tuple(ids[: len(stream.token_ids)]) == stream.token_ids
    else:
        assert stream.text == whole
        assert stream.token_ids == tuple(ids)


@settings(deadline=None)
@given(text=st.text(max_size=30))
def test_a_piece_has_only_whole_characters(text: str) -> None:
    ids = TOKENIZER.encode(text)
    pieces, stream = run(ids, [], [])
    assert stream.text == TOKENIZER.decode(ids)
    if "\ufffd" not in text:
        assert not any("\ufffd" in piece for piece in pieces)


def test_the_stop_string_that_came_first_is_named(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    stream = TextStream(tiny_tokenizer, [], ["later", "on"])
    for token in tiny_tokenizer("and so on, later", add_special_tokens=False)["input_ids"]:
        stream.push(token)
    assert (stream.text, stream.stopped_by) == ("and so ", "on")


def test_the_start_of_a_stop_string_is_held_back_until_it_is_none(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    stream = TextStream(tiny_tokenizer, [], ["\nQ:"])
    shown = [stream.push(tiny_tokenizer.convert_tokens_to_ids(token)) for token in ("1", "Ċ", "Q", "2")]
    assert shown == ["1", "", "", "\nQ2"]
    shown = [stream.push(tiny_tokenizer.convert_tokens_to_ids(token)) for token in ("Ċ", "Q")]
    assert shown == ["", ""]
    assert stream.finish() == "\nQ"


def test_special_tokens_stay_visible_as_text(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    pieces, _ = run(tiny_tokenizer.convert_tokens_to_ids(["1", "<|im_start|>", "2"]), [], [])
    assert "".join(pieces) == "1<|im_start|>2"
