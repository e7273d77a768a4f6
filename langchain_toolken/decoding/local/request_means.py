"""`RequestMeans`: mean hidden states of recent requests, so that a cached prompt need not run again for them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor

_KEPT = 256


class RequestMeans:
    """The most recently used mean states of parts of prompts. For one thread.

    A state depends on all tokens before it, so the key is the whole beginning of the prompt, and where the part starts.

    Args:
        kept: How many to keep.
    """

    def __init__(self, kept: int = _KEPT) -> None:
        self._kept = kept
        self._means: OrderedDict[tuple[int, tuple[int, ...]], Tensor] = OrderedDict()

    def __len__(self) -> int:
        return len(self._means)

    def get(self, ids: Sequence[int], span: tuple[int, int]) -> Tensor | None:
        """Return the mean state (d,) of the tokens from span[0] up to span[1] of `ids`; None if it is not kept."""
        key = _key(ids, span)
        mean = self._means.get(key)
        if mean is not None:
            self._means.move_to_end(key)
        return mean

    def put(self, ids: Sequence[int], span: tuple[int, int], mean: Tensor) -> None:
        """Keep a mean state, and drop the least recently used one if there are too many."""
        key = _key(ids, span)
        self._means[key] = mean
        self._means.move_to_end(key)
        if len(self._means) > self._kept:
            self._means.popitem(last=False)


def _key(ids: Sequence[int], span: tuple[int, int]) -> tuple[int, tuple[int, ...]]:
    return span[0], tuple(ids[: span[1]])
