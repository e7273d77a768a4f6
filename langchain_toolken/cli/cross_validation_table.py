"""The table of what cross-validation tried; `toolken fit` and `toolken inspect` print it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_toolken.cli.terminal import shown, table

if TYPE_CHECKING:
    from rich.table import Table

    from langchain_toolken.training.report.records import FitReport


def cross_validation_table(report: FitReport) -> Table:
    """List every prior and λ in the order they were tried, the chosen pair in bold."""
    columns = ("prior", "right tool untrained", "λ", "held-out loss", "±", "right tool", "F1", "best F1")
    tried = table(*columns, title="cross-validation")
    for point in report.path:
        chosen = (point.prior, point.lam) == (report.prior, report.lam)
        tried.add_row(
            shown(point.prior),
            f"{point.untrained:.3f}",
            f"{point.lam:g}",
            *(f"{loss:.4f}" for loss in (point.loss, point.error)),
            *(f"{share:.3f}" for share in (point.top1, point.f1, point.best_f1)),
            style="bold" if chosen else None,
        )
    return tried
