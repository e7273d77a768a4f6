"""How much of a growing text may be the beginning of a string that matters."""

from __future__ import annotations

from collections.abc import Sequence


def partial_match(text: str, strings: Sequence[str]) -> int:
    """Return the length of the longest suffix of `text` that one of `strings` begins with, but does not end with."""
    longest = 0
    for string in strings:
        for length in range(min(len(string) - 1, len(text)), longest, -1):
            if text.endswith(string[:length]):
                longest = length
                break
    return longest
