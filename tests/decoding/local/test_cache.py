"""The prefix cache: longest common prefix, at most all but the last token, entries shared and never changed."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import DynamicCache

from langchain_toolken.decoding.local.cache import PrefixCache


def cache_of(ids: list[int]) -> DynamicCache:
    """A one-layer cache whose states are the ids themselves."""
    cache = DynamicCache()
    states = torch.tensor(ids, dtype=torch.float32).view(1, 1, -1, 1)
    cache.update(states, states.clone(), 0)
    return cache


def ids_of(cache: DynamicCache) -> list[int]:
    return [] if not cache.get_seq_length() else [int(i) for i in cache.layers[0].keys.flatten()]


SEQUENCES = st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=6), min_size=1, max_size=8)


@given(kept=SEQUENCES, wanted=st.lists(st.integers(1, 3), min_size=1, max_size=6), entries=st.integers(0, 4))
def test_what_is_taken_is_a_prefix_of_what_was_asked_for(
    kept: list[list[int]], wanted: list[int], entries: int
) -> None:
    prefixes = PrefixCache(entries)
    for ids in kept:
        prefixes.put(ids, cache_of(ids))
    assert len(prefixes) <= entries
    cache, length = prefixes.take(wanted)
    assert length < len(wanted)
    assert ids_of(cache) == wanted[:length]


def test_the_longest_prefix_is_found_and_stays_for_others() -> None:
    prefixes = PrefixCache()
    prefixes.put([1, 2, 3], cache_of([1, 2, 3]))
    prefixes.put([1, 2, 4, 5], cache_of([1, 2, 4, 5]))
    cache, length = prefixes.take([1, 2, 4, 9, 9])
    assert length == 3
    more = torch.tensor([[[[7.0]]]])
    cache.update(more, more, 0)
    assert ids_of(cache) == [1, 2, 4, 7]
    assert ids_of(prefixes.take([1, 2, 4, 5, 6])[0]) == [1, 2, 4, 5]


def test_one_token_is_always_left_to_run() -> None:
    prefixes = PrefixCache()
    prefixes.put([1, 2, 3], cache_of([1, 2, 3]))
    assert prefixes.take([1, 2, 3])[1] == 2
    assert prefixes.take([1])[1] == 0


def test_a_longer_text_replaces_its_own_beginning() -> None:
    prefixes = PrefixCache()
    for ids in ([1, 2], [1, 2, 3], [1, 2]):
        prefixes.put(ids, cache_of(ids))
    assert len(prefixes) == 1
    assert prefixes.take([1, 2, 3, 4])[1] == 3


def test_the_least_recently_used_entry_goes_first() -> None:
    prefixes = PrefixCache(entries=2)
    prefixes.put([1, 1], cache_of([1, 1]))
    prefixes.put([2, 2], cache_of([2, 2]))
    prefixes.take([1, 1, 9])
    prefixes.put([3, 3], cache_of([3, 3]))
    assert [prefixes.take([i, i, 9])[1] for i in (1, 2, 3)] == [2, 0, 2]


def test_a_cache_of_other_tokens_is_refused() -> None:
    with pytest.raises(ValueError, match=r"2 tokens, but 3 ids"):
        PrefixCache().put([1, 2, 3], cache_of([1, 2]))


def test_a_negative_size_is_refused() -> None:
    with pytest.raises(ValueError, match="entries"):
        PrefixCache(-1)
