"""`PrefixCache`: recent key-value caches, so that an agent's next step pays only for its new tokens (DESIGN §3)."""

from __future__ import annotations

import copy
import threading
from collections.abc import Sequence

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


def _common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    length = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        length += 1
    return length
