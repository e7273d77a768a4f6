"""Key-value caches: `PrefixCache` keeps recent ones, so that an agent's next step pays only for its new tokens (DESIGN
§3); `stack`, `select` and `row_of` put the caches of a batch's rows together and take them apart."""

from __future__ import annotations

import copy
import threading
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache


class PrefixCache:
    """The most recently used caches with the token ids they are of.

    A prefix is shared, not moved: `DynamicLayer` never writes into its tensors, it makes longer ones, so a cropped view
    may be handed out while the entry stays whole for others. Safe to use from several threads.

    Args:
        entries: how many to keep. 4 holds a conversation at its trigger, after its last result, and two others; an
            entry is as large as its key-value cache. 0 keeps none.
    """

    def __init__(self, entries: int = 4) -> None:
        if entries < 0:
            raise ValueError(f"entries must be 0 (off) or more, got {entries}")
        self._limit = entries
        self._entries: list[tuple[tuple[int, ...], DynamicCache]] = []  # least recently used first
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def take(self, ids: Sequence[int]) -> tuple[DynamicCache, int]:
        """A cache of the longest prefix of `ids` at hand, and that prefix's length.

        The prefix has at most len(ids) − 1 tokens, since the last one must be run to give a next-token distribution.
        Nothing at hand: an empty cache and 0. The cache is the caller's to extend.
        """
        with self._lock:
            shared = [_common_prefix(ids, kept) for kept, _ in self._entries]
            length = min(max(shared, default=0), len(ids) - 1)
            if length <= 0:
                # Without a config every layer keeps all tokens and can be cropped; sliding windows are then in the
                # mask.
                return DynamicCache(), 0
            best = max(range(len(shared)), key=shared.__getitem__)
            entry = self._entries.pop(best)
            self._entries.append(entry)
        kept, cache = entry
        view = DynamicCache()
        view.layers = [copy.copy(layer) for layer in cache.layers]
        view.crop(length - len(kept))
        return view, length

    def put(self, ids: Sequence[int], cache: DynamicCache) -> None:
        """Keep `cache`, which holds exactly the tokens `ids`. Entries it makes superfluous go.

        Raises:
            ValueError: the cache's length is not that of `ids`.
        """
        if cache.get_seq_length() != len(ids):
            raise ValueError(f"the cache holds {cache.get_seq_length()} tokens, but {len(ids)} ids were given")
        if not ids or not self._limit:
            return
        new = (tuple(ids), cache)
        with self._lock:
            covering = [entry for entry in self._entries if _common_prefix(ids, entry[0]) == len(ids)]
            if covering:
                new = covering[-1]
            others = [e for e in self._entries if _common_prefix(e[0], new[0]) < len(e[0])]
            self._entries = [*others, new][-self._limit :]

    def clear(self) -> None:
        """Let all entries go."""
        with self._lock:
            self._entries = []


def _layers(cache: DynamicCache) -> list[Any]:
    """A cache's layers, which all are `DynamicLayer`s here, and typed as more by transformers."""
    return cache.layers


def stack(caches: Sequence[tuple[DynamicCache, int]]) -> DynamicCache:
    """One cache with the rows of all: each is given with its number of rows, and they all end in the same column.

    Shorter ones get zeros on the left, which the attention mask has to hide. A single cache comes back as it is.
    """
    if len(caches) == 1:
        return caches[0][0]
    longest = max((cache for cache, _ in caches), key=lambda cache: cache.get_seq_length())
    stacked = DynamicCache()
    if not longest.get_seq_length():
        return stacked
    for index, like in enumerate(_layers(longest)):
        layer = copy.copy(like)
        if like.is_initialized:  # layers that use another's states have none
            parts = [(_layers(cache)[index] if cache.get_seq_length() else None, rows) for cache, rows in caches]
            layer.keys = _stacked([(part and part.keys, rows) for part, rows in parts], like.keys)
            layer.values = _stacked([(part and part.values, rows) for part, rows in parts], like.values)
        stacked.layers.append(layer)
    return stacked


def select(cache: DynamicCache, rows: Sequence[int], length: int) -> None:
    """Keep only `rows` of a cache and its last `length` columns, in place."""
    for layer in _layers(cache):
        if layer.is_initialized:
            indices = torch.tensor(rows, device=layer.keys.device)
            skipped = layer.keys.shape[-2] - length
            layer.keys = layer.keys[:, :, skipped:].index_select(0, indices)
            layer.values = layer.values[:, :, skipped:].index_select(0, indices)


def row_of(cache: DynamicCache, row: int, length: int) -> DynamicCache:
    """The last `length` columns of one row as a cache of its own; copied, so that the others' memory is not held."""
    alone = DynamicCache()
    for layer in _layers(cache):
        part = copy.copy(layer)
        if layer.is_initialized:
            skipped = layer.keys.shape[-2] - length
            part.keys = layer.keys[row : row + 1, :, skipped:].clone()
            part.values = layer.values[row : row + 1, :, skipped:].clone()
        alone.layers.append(part)
    return alone


def _stacked(parts: Sequence[tuple[Tensor | None, int]], longest: Tensor) -> Tensor:
    """States (rows, heads, tokens, size) one under the other; None stands for rows without any."""
    _, heads, width, size = longest.shape
    stacked = longest.new_zeros(sum(rows for _, rows in parts), heads, width, size)
    start = 0
    for states, rows in parts:
        if states is not None:
            stacked[start : start + rows, :, width - states.shape[-2] :] = states
        start += rows
    return stacked


def _common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    # Comparing whole slices is one call each; token by token, long prompts would cost milliseconds.
    low, high = 0, min(len(a), len(b))
    a, b = tuple(a[:high]), tuple(b[:high])
    if a == b:
        return high
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
