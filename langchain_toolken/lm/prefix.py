"""How much two texts have in common at their beginning."""

from __future__ import annotations

from collections.abc import Sequence


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """Return how many tokens two texts begin alike with."""
    # A binary search that compares slices: token by token, a long prompt would take milliseconds.
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
