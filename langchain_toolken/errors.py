"""The root of this package's errors."""

from __future__ import annotations


class ToolkenError(Exception):
    """Anything that this package raises on purpose: catch this one to catch them all.

    The message names what is at fault (a file, a tool, a field) and the next step. Most are `ValueError`s as
    well, for code that expects one.
    """
