"""Key-value caches of prompts and of batches.

`PrefixCache` keeps recent caches, so that an agent's next step runs only its new tokens. `stack`, `select` and `row_of`
join the caches of a batch's rows and split them.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from langchain_toolken.lm.prefix import common_prefix


class PrefixCache:
    """The most recently used caches and their token ids. Safe to use from several threads.

    Callers share an entry: `DynamicLayer` never writes into its tensors but makes longer ones, so one caller can extend
    a cropped view while the entry stays complete for others.

    Args:
        entries: How many caches to keep; 0 for none. 4 are enough for one conversation at its trigger and after its
            last result, and for two other conversations. Each takes the memory of its keys and values.

    Raises:
        ValueError: `entries` is negative.
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
        """Find the longest prefix of `ids` that is cached.

        Returns:
            A cache that the caller may extend, and the prefix's length; an empty cache and 0 if no prefix is cached.
            The length is at most len(ids) − 1, since the last token has to be run for a next-token distribution.
        """
        with self._lock:
            shared = [common_prefix(ids, kept) for kept, _ in self._entries]
            length = min(max(shared, default=0), len(ids) - 1)
            if length <= 0:
                # Without a config every layer keeps all tokens and can be cropped; the mask then applies sliding
                # windows.
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
        """Keep a cache, and drop the entries that it covers.

        Args:
            ids: The tokens that the cache holds.
            cache: A cache of one sequence. It must not be extended in place afterwards.

        Raises:
            ValueError: The cache has another length than `ids`.
        """
        if cache.get_seq_length() != len(ids):
            raise ValueError(f"the cache holds {cache.get_seq_length()} tokens, but {len(ids)} ids were given")
        if not ids or not self._limit:
            return
        new = (tuple(ids), cache)
        with self._lock:
            covering = [entry for entry in self._entries if common_prefix(ids, entry[0]) == len(ids)]
            if covering:
                new = covering[-1]
            others = [e for e in self._entries if common_prefix(e[0], new[0]) < len(e[0])]
            self._entries = [*others, new][-self._limit :]

    def clear(self) -> None:
        """Drop all entries."""
        with self._lock:
            self._entries = []


def _layers(cache: DynamicCache) -> list[Any]:
    """Return a cache's layers: all are `DynamicLayer`s here, but transformers declares a wider type."""
    return cache.layers


def stack(caches: Sequence[tuple[DynamicCache, int]]) -> DynamicCache:
    """Join caches into one, aligned at the last column.

    Shorter ones are padded with zeros on the left, which the attention mask has to hide.

    Args:
        caches: Each cache and its number of rows.

    Returns:
        A cache with the rows of all. A single cache is returned unchanged.
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
    """Copy the last `length` columns of one row, so that the other rows' memory can be freed."""
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
    """Join states (rows, heads, tokens, size) along the rows; None for rows without states."""
    _, heads, width, size = longest.shape
    stacked = longest.new_zeros(sum(rows for _, rows in parts), heads, width, size)
    start = 0
    for states, rows in parts:
        if states is not None:
            stacked[start : start + rows, :, width - states.shape[-2] :] = states
        start += rows
    return stacked
