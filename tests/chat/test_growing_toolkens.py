"""A turn finds its toolkens in as many steps as there are tools, and those of a tool that has a new name."""

from __future__ import annotations

import warnings

import pytest
import torch

from langchain_toolken.chat.growing_toolkens import GrowingToolkens
from langchain_toolken.decoding.local.engine import TransformersEngine
from langchain_toolken.lm.model import LanguageModel
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
    assert growing.identity == GrowingToolkens(fitted).identity, "read now or before, it is that of the set as given"


def test_without_a_set_each_list_of_tools_has_its_own_whatever_was_bound_before(tiny_llama: LanguageModel) -> None:
    engine, one, other = TransformersEngine(tiny_llama), GrowingToolkens(None), GrowingToolkens(None)
    first, second = [spec("add"), spec("book")], [spec("book"), spec("cook")]
    with pytest.warns(UserWarning, match="'add', 'book': using prior toolkens, made from the tools' names and desc"):
        made = one.for_tools(engine, first, "chat")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        again, directly = one.for_tools(engine, second, "chat"), other.for_tools(engine, second, "chat")
    assert again.names == ("book", "cook")
    torch.testing.assert_close(again.matrix, directly.matrix)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert one.for_tools(engine, first, "chat") is made, "it is kept, and not warned of again"
