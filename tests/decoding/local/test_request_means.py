"""Means of requests: found by the whole beginning of a prompt, and only the recent ones kept."""

from __future__ import annotations

import torch

from langchain_toolken.decoding.local.request_means import RequestMeans


def test_a_mean_is_found_by_the_beginning_and_the_span_alone() -> None:
    means, mean = RequestMeans(), torch.ones(2)
    means.put([1, 2, 3, 4], (1, 3), mean)
    assert means.get([1, 2, 3, 9, 9], (1, 3)) is mean
    assert means.get([1, 2, 3], (0, 3)) is None
    assert means.get([1, 2, 3, 4], (1, 4)) is None
    assert means.get([7, 2, 3, 4], (1, 3)) is None


def test_the_least_recently_used_is_dropped() -> None:
    means, mean = RequestMeans(), torch.ones(1)
    for first in range(256):
        means.put([first], (0, 1), mean)
    assert means.get([0], (0, 1)) is mean
    means.put([256], (0, 1), mean)
    assert len(means) == 256
    assert means.get([1], (0, 1)) is None
    assert means.get([0], (0, 1)) is mean
