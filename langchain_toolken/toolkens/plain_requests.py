"""The requests that need no tool which the package brings: `plain_requests.txt`, `longer_plain_requests.txt`."""

from __future__ import annotations

from importlib.resources import files


def package_requests(*, longer: bool = False) -> list[str]:
    """Read them, in the order of the files.

    Args:
        longer: Whether those that tell of somebody's situation, or hold a text, follow the short ones.
    """
    names = ("plain_requests.txt", "longer_plain_requests.txt")[: 1 + longer]
    texts = [files("langchain_toolken.toolkens").joinpath(name).read_text(encoding="utf-8") for name in names]
    return [line.strip() for text in texts for line in text.splitlines() if line.strip()]
