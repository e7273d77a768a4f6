"""Count what was tried and what failed, and print it."""

from __future__ import annotations

import json
import sys
from collections import Counter

from rich.console import Console
from rich.table import Table


class Tally:
    """Tried and failed, by case.

    Attributes:
        title: Of the table.
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self._tried: Counter[str] = Counter()
        self._failed: dict[str, list[str]] = {}
        self._outcomes: dict[str, Counter[str]] = {}

    def add(self, case: str, outcome: str, failure: str = "") -> None:
        """Count one try: how it came out and, if that is wrong, what is."""
        self._tried[case] += 1
        self._outcomes.setdefault(case, Counter())[outcome] += 1
        if failure:
            self._failed.setdefault(case, []).append(failure)

    def close(self, *, as_json: bool) -> None:
        """Print all and end the process, with exit status 1 if anything failed."""
        failures = {case: found for case, found in self._failed.items() if found}
        if as_json:
            facts = {
                case: {"tried": tried, "failed": len(failures.get(case, ())), "outcomes": dict(self._outcomes[case])}
                for case, tried in self._tried.items()
            }
            print(json.dumps(facts))
        else:
            table = Table("case", "tried", "failed", "outcomes", title=self.title)
            for case, tried in self._tried.items():
                outcomes = ", ".join(f"{count} {outcome}" for outcome, count in self._outcomes[case].most_common())
                table.add_row(case, str(tried), str(len(failures.get(case, ()))), outcomes)
            Console(width=140).print(table)
        for case, found in failures.items():
            for failure in found[:10]:
                print(f"failed: {case}: {failure}", file=sys.stderr)
        sys.exit(1 if failures else 0)
