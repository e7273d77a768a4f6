"""Toolkens on disk with their report and model card, in one save: all of it is there, or none."""

from __future__ import annotations

from pathlib import Path

from langchain_toolken.training.fit import FitResult
from langchain_toolken.training.report.figures import REPORT_FILE, FitReport, make_report
from langchain_toolken.training.report.model_card import model_card
from langchain_toolken.training.report.page import report_page


def save_with_report(result: FitResult, folder: str | Path) -> FitReport:
    """Saves the toolkens with `report.json`, `report.html` and a `README.md` for the Hub; the report.

    Raises ToolkenSetError as `ToolkenSet.save` does: if `folder` holds what saving would delete.
    """
    report = make_report(result)
    result.toolkens.save(
        folder,
        extra_files={
            REPORT_FILE: report.model_dump_json(indent=1) + "\n",
            "report.html": report_page(report),
            "README.md": model_card(report),
        },
    )
    return report
