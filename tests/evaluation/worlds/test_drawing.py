"""Boxes and arrows, and an error that says what is missing."""

from __future__ import annotations

import sys

import pytest

from langchain_toolken.evaluation.worlds.drawing import Box, DrawingError, draw_boxes


def test_groups_are_drawn_in_order_with_their_boxes_and_empty_ones_are_left_out() -> None:
    boxes = [Box(str(n), "b", f"box {n}") for n in range(7)] + [Box("x", "a", "top", filled=True)]
    figure = draw_boxes(boxes, [("x", "3", "to", True), ("x", "nowhere", "lost", False)], ("a", "b", "c"))
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert {"a", "b", "to", "top", "box 6"} <= set(texts)
    assert not {"c", "lost"} & set(texts)
    placed = {text.get_text(): text.get_position() for text in figure.axes[0].texts}
    assert placed["top"][1] > placed["box 0"][1] > placed["box 6"][1]


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(DrawingError, match=r"langchain-toolken\[notebooks\]"):
        draw_boxes([], [], ())
