"""Save toolkens with their report and model card: all files are written, or none."""

from __future__ import annotations

from pathlib import Path

from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.training.report.model_card import model_card
from langchain_toolken.training.report.page import report_page
from langchain_toolken.training.report.records import REPORT_FILE, FitReport


def save_with_report(toolkens: ToolkenSet, report: FitReport, folder: str | Path) -> None:
    """Save the toolkens with `report.json`, `report.html` and `README.md`; `FitResult.save` calls it.

    Raises:
        ToolkenSetError: `folder` holds files that no save wrote, or that were changed since.
    """
    toolkens.save(
        folder,
        extra_files={
            REPORT_FILE: report.model_dump_json(indent=1) + "\n",
            "report.html": report_page(report),
            "README.md": model_card(report),
        },
    )
