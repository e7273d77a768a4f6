"""A turn finds its toolkens in as many steps as there are tools, and those of a tool that has a new name."""

from __future__ import annotations

import pytest
import torch

from langchain_toolken.chat.growing_toolkens import GrowingToolkens
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.tools.spec import ToolOrigin
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


def test_a_servers_tool_keeps_its_toolken_when_names_collide() -> None:
    engine = ScriptedEngine([])
    first = spec("search").model_copy(update={"origin": ToolOrigin(server="shop", tool="search", sha256="1")})
    fitted = scripted_toolkens(first, spec("pay"))
    growing = GrowingToolkens(fitted)
    bound = first.model_copy(update={"name": "shop_search"})
    found = growing.for_tools(engine, [bound, spec("pay")], "completion")
    assert found.names == ("shop_search", "pay")
    assert torch.equal(found.matrix, fitted.matrix)
    assert growing.names == ("shop_search", "pay")
