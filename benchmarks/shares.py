"""`Share`: how many of how many, with a 95% interval."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Share:
    """How many of how many."""

    count: int
    total: int

    @classmethod
    def of(cls, which: Iterable[bool]) -> Share:
        """Count those that are true."""
        listed = list(which)
        return cls(sum(listed), len(listed))

    @property
    def value(self) -> float:
        return self.count / max(1, self.total)

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95% interval."""
        if not self.total:
            return 0.0, 1.0
        z, n, p = 1.96, self.total, self.value
        middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return max(0.0, (middle - half) / (1 + z * z / n)), min(1.0, (middle + half) / (1 + z * z / n))

    def as_dict(self) -> dict[str, float]:
        low, high = self.interval
        return {"count": self.count, "of": self.total, "share": self.value, "low": low, "high": high}

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.count} of {self.total} = {self.value:.2f} ({low:.2f} to {high:.2f})"
