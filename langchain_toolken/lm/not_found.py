"""The error for an LM whose files are not there."""

from __future__ import annotations

from langchain_core import exceptions

from langchain_toolken.errors import ToolkenError


class ModelNotFoundError(ToolkenError, exceptions.ModelNotFoundError, ValueError):
    """The model's or its tokenizer's files are not where they were looked for. LangChain's own type, too."""
