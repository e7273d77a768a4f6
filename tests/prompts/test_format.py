"""prompts.format: a format that contradicts itself is refused."""

from __future__ import annotations

import pytest

from langchain_toolken.prompts.format import PromptFormat


def test_formats_that_contradict_themselves_are_refused() -> None:
    with pytest.raises(ValueError, match="turn"):
        PromptFormat("completion", "turn")
    with pytest.raises(ValueError, match="few_shot"):
        PromptFormat("chat", few_shot="Q: a")
