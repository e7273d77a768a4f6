"""The error, and the warning, of everything that handles saved or loaded toolkens."""

from __future__ import annotations

from langchain_toolken.errors import ToolkenError


class ToolkenSetError(ToolkenError, ValueError):
    """Toolkens that cannot be loaded, saved, combined or used with an LM. The message says which and what to do."""


class ToolkenSetWarning(UserWarning):
    """A saved set loads, but not all of its folder is as it was saved."""
