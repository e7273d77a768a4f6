"""Plain requests: read from the package or a file, answered by the LM once, and laid out as decoding lays them out."""

from __future__ import annotations

from pathlib import Path

import pytest

from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.prompts.format import Style
from langchain_toolken.training.demonstrations.demonstration import DemonstrationError
from langchain_toolken.training.negatives import answered, negative_features, plain_requests


def test_the_package_brings_some_hundred_requests_each_once() -> None:
    requests = plain_requests("default")
    assert 300 <= len(requests) <= 400
    assert len(set(requests)) == len(requests)
    assert sum(not request.isascii() for request in requests) >= 20, "other languages than English"
    assert plain_requests("none") == []
    longer = plain_requests("default", longer=True)
    assert longer[: len(requests)] == requests
    assert 100 <= len(set(longer)) - len(requests) <= 150
    assert sum(map(len, longer[len(requests) :])) / (len(longer) - len(requests)) > 60, "characters"


@pytest.mark.parametrize("style", ["chat", "completion"])
def test_the_answers_are_kept_with_the_features(tiny_llama: LanguageModel, tmp_path: Path, style: Style) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_text("hello\n\nwhat is 2\nhello\n", encoding="utf-8")
    first = negative_features(tiny_llama, mine, style, folder=tmp_path / "features")
    again = negative_features(tiny_llama, mine, style, folder=tmp_path / "features")
    assert first is not None
    assert again is not None
    assert first.lm_passes == 1
    assert again.lm_passes == 0
    assert first.tool_positions == 0
    assert len(first.demonstration.unique()) == 3
    assert first.requests is not None
    assert len(first.requests) == 3
    alone = negative_features(tiny_llama, mine, style)
    assert alone is not None
    assert len(alone) == len(first)


def test_every_fifth_request_is_answered_and_the_others_end_where_an_answer_begins(
    tiny_llama: LanguageModel, tmp_path: Path
) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_text("\n".join(f"what is {n}" for n in range(8)), encoding="utf-8")
    found = negative_features(tiny_llama, mine, "completion")
    assert found is not None
    positions = found.demonstration.bincount().tolist()
    assert len(positions) == 8
    assert min(positions[0], positions[5]) > max(positions[1:5] + positions[6:])


def test_answers_are_in_the_order_of_the_requests(tiny_llama: LanguageModel) -> None:
    requests = ["what is 2 and 2 and 2", "hi", "how many"]
    together = answered(tiny_llama, requests, "chat")
    assert together == [answered(tiny_llama, [request], "chat")[0] for request in requests]


def test_a_file_that_holds_nothing_is_named(tmp_path: Path) -> None:
    with pytest.raises(DemonstrationError, match="no-such.txt.*one request a line"):
        plain_requests(tmp_path / "no-such.txt")
    empty = tmp_path / "empty.txt"
    empty.write_text(" \n")
    with pytest.raises(DemonstrationError, match="empty.txt: holds no request"):
        plain_requests(empty)
