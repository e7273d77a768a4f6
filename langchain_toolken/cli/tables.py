"""The table of what cross-validation tried."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from langchain_toolken.training.report.records import FitReport


def path_table(report: FitReport) -> Table:
    """Every λ and prior in the order in which they were tried, the chosen ones in bold."""
    columns = ("prior", "right tool untrained", "λ", "held-out loss", "±", "right tool", "F1", "best F1")
    tried = Table(*columns, title="cross-validation")
    for point in report.path:
        chosen = (point.prior, point.lam) == (report.prior, report.lam)
        tried.add_row(
            Text(point.prior),
            f"{point.untrained:.3f}",
            f"{point.lam:g}",
            *(f"{loss:.4f}" for loss in (point.loss, point.error)),
            *(f"{share:.3f}" for share in (point.top1, point.f1, point.best_f1)),
            style="bold" if chosen else None,
        )
    return tried
