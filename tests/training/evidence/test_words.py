"""The classifier over words knows the requests' words, in the form that a set keeps."""

from __future__ import annotations

import torch

from langchain_toolken.training.evidence.words import MOST_REQUESTS, fit_words

TEXTS = ["book a table for two", "a table by the window", "is it going to rain", "rain or sun tomorrow?"]
TOOLS = torch.tensor([0, 0, 1, 1])


def test_new_requests_go_to_the_tool_that_shares_their_words() -> None:
    words = fit_words(TEXTS, TOOLS, 3)
    assert words is not None
    assert int(words.scores("Will it RAIN?").argmax()) == 1
    assert int(words.scores("a table, please").argmax()) == 0
    assert len(words) == 3


def test_without_words_or_with_too_many_requests_there_is_none() -> None:
    assert fit_words(["…", "?"], torch.tensor([0, 1]), 2) is None
    assert fit_words(["rain"] * (MOST_REQUESTS + 1), torch.zeros(MOST_REQUESTS + 1, dtype=torch.int64), 2) is None
