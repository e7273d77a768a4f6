"""The requests that need no tool which the package brings, `plain_requests.txt`."""

from __future__ import annotations

from importlib.resources import files


def package_requests() -> list[str]:
    """Read them, in the order of the file."""
    content = files("langchain_toolken.toolkens").joinpath("plain_requests.txt").read_text(encoding="utf-8")
    return [line.strip() for line in content.splitlines() if line.strip()]
