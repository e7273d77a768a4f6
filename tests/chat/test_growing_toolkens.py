"""Looking for a turn's toolkens takes as many steps as there are tools, and not their square."""

from __future__ import annotations

import pytest

from langchain_toolken.chat.growing_toolkens import GrowingToolkens
from langchain_toolken.toolkens.set import ToolkenSet
from tests.support.scripted_engine import ScriptedEngine
from tests.support.toolken_sets import scripted_toolkens, spec


@pytest.mark.parametrize("count", [10, 100])
def test_the_names_are_listed_a_few_times_however_many_there_are(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    toolkens = scripted_toolkens(*(spec(f"tool_{number}") for number in range(count)))
    listed = 0

    def names(self: ToolkenSet) -> tuple[str, ...]:
        nonlocal listed
        listed += 1
        return tuple(each.name for each in self.specs)

    monkeypatch.setattr(ToolkenSet, "names", property(names))
    assert GrowingToolkens(toolkens).for_tools(ScriptedEngine(), toolkens.specs, "completion") is toolkens
    assert listed < 8
