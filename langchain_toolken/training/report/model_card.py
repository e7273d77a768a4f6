"""`README.md` of saved toolkens: a Hugging Face model card with the figures of the fit."""

from __future__ import annotations

import re
from pathlib import Path

from huggingface_hub import ModelCardData
from jinja2 import Environment, PackageLoader, StrictUndefined

from langchain_toolken._version import __version__
from langchain_toolken.training.report.records import FitReport

# A Hub id, for the card's `base_model`; a folder's path or "nano" is not one.
_HUB_ID = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")
_TOOLS_SHOWN = 100


def model_card(report: FitReport) -> str:
    """Render the card: YAML metadata for the Hub, then Markdown. It names no licence; the publisher chooses one."""
    base = report.model_id if _HUB_ID.fullmatch(report.model_id) and not Path(report.model_id).exists() else None
    data = ModelCardData(
        library_name="langchain-toolken",
        base_model=base,
        base_model_relation="adapter" if base else None,
        tags=["toolken", "tool-calling", "langchain"],
    )
    environment = Environment(
        loader=PackageLoader("langchain_toolken.training.report", "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        # The output is Markdown, where nothing runs; `plain` keeps tables and code spans intact.
        autoescape=False,
    )
    environment.filters["plain"] = _plain
    return environment.get_template("model_card.md.jinja").render(
        metadata=data.to_yaml(), report=report, shown=report.tools[:_TOOLS_SHOWN], version=__version__
    )


def _plain(text: str) -> str:
    """Escape text for a Markdown table: one line, without characters that have a meaning in Markdown or HTML."""
    return re.sub(r"([\\`*_{}\[\]<>|#~])", r"\\\1", " ".join(text.split()))
