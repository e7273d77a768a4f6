"""Drawings of worlds: labelled boxes in groups, with arrows between them. Readable in black and white."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

from langchain_toolken.errors import ToolkenError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS = 5
_INCHES = (1.55, 0.95)  # of a box with the room around it
Arrow = tuple[str, str, str, bool]
"""From, to, label, and whether it is bold."""


class DrawingError(ToolkenError, ImportError):
    """Nothing can be drawn without matplotlib."""


@dataclass(frozen=True)
class Box:
    """A labelled box.

    Attributes:
        name: What arrows call it.
        group: The group that it is drawn in.
        label: Its text.
        bold: Whether it is drawn with a thick edge.
        filled: Whether it is drawn white on black, in a row of its own.
    """

    name: str
    group: str
    label: str
    bold: bool = False
    filled: bool = False


def draw_boxes(boxes: Sequence[Box], arrows: Sequence[Arrow], groups: Sequence[str]) -> Figure:
    """Draw groups one below the other, each a frame with its boxes in rows.

    Args:
        boxes: The boxes.
        arrows: Arrows between boxes, by name; those of unknown names are left out.
        groups: The groups from top to bottom; empty ones are left out.

    Raises:
        DrawingError: If matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
        from matplotlib.patches import Rectangle
    except ImportError as error:
        raise DrawingError("drawing needs matplotlib: pip install 'langchain-toolken[notebooks]'") from error

    places: dict[str, tuple[float, float]] = {}
    frames = []
    top = 0.0
    for group in groups:
        members = [box for box in boxes if box.group == group]
        if not members:
            continue
        heads, others = [box for box in members if box.filled], [box for box in members if not box.filled]
        rows = len(heads) + ceil(len(others) / _COLUMNS)
        for i, box in enumerate(heads):
            places[box.name] = (_COLUMNS / 2, top - i - 0.75)
        for i, box in enumerate(others):
            places[box.name] = (i % _COLUMNS + 0.5, top - len(heads) - i // _COLUMNS - 0.75)
        frames.append((group, top, rows))
        top -= rows + 0.5
    figure = Figure(figsize=(_COLUMNS * _INCHES[0], max(-top, 1) * _INCHES[1]), layout="constrained")
    axes = figure.add_subplot()
    for group, upper, rows in frames:
        axes.add_patch(Rectangle((0.02, upper - rows - 0.3), _COLUMNS - 0.04, rows + 0.22, fill=False, color="0.6"))
        axes.text(0.08, upper - 0.1, group, va="top", fontsize=9, style="italic")
    for source, target, label, bold in arrows:
        if source not in places or target not in places:
            continue
        bend = "arc3,rad=0.1"
        axes.annotate(
            "",
            xy=places[target],
            xytext=places[source],
            arrowprops={
                "arrowstyle": "->",
                "color": "black" if bold else "0.55",
                "linewidth": 1.6 if bold else 0.8,
                "linestyle": "-" if bold else ":",
                "shrinkA": 16,
                "shrinkB": 18,
                "connectionstyle": bend,
            },
        )
        (x1, y1), (x2, y2) = places[source], places[target]
        # The middle of the bend: half of rad times the distance to the side of the straight line.
        width, height = _INCHES
        x, y = (x1 + x2) / 2 + 0.05 * (y2 - y1) * height / width, (y1 + y2) / 2 - 0.05 * (x2 - x1) * width / height
        axes.text(x, y, label, fontsize=7, ha="center", va="center", bbox={"fc": "white", "ec": "none", "pad": 0.4})
    for box in boxes:
        if box.name in places:
            fill, ink = ("black", "white") if box.filled else ("white", "black")
            edge = {"boxstyle": "round", "fc": fill, "ec": "black", "lw": 2.2 if box.bold else 0.7}
            weight = "bold" if box.bold else "normal"
            axes.text(
                *places[box.name], box.label, fontsize=8, ha="center", va="center", color=ink, weight=weight, bbox=edge
            )
    axes.set(xlim=(0, _COLUMNS), ylim=(top, 0.05))
    axes.axis("off")
    return figure
