"""A renamed tool keeps its row, its examples, its slots and its evidence."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from langchain_toolken.prompts.call_cards import CallExample
from langchain_toolken.toolkens.errors import ToolkenSetError
from langchain_toolken.toolkens.examples import ArgumentSettings, Examples, ToolAccuracy
from langchain_toolken.toolkens.lexical import LexicalMatch, description_document
from langchain_toolken.toolkens.renaming import new_names, renamed
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.toolkens.slots import Slot, Slots
from langchain_toolken.tools.spec import ToolOrigin, ToolSpec
from tests.support.evidence import make_evidence
from tests.support.toolken_sets import make, spec


def of_server(name: str, server: str, tool: str | None = None) -> ToolSpec:
    return spec(name).model_copy(update={"origin": ToolOrigin(server=server, tool=tool or name, sha256="1")})


def shop() -> ToolkenSet:
    names = ["search", "pay", "mine"]
    toolkens = replace(make(names), specs=(of_server("search", "shop"), of_server("pay", "shop"), spec("mine")))
    examples = Examples(
        (CallExample(tool="search", request="find a hat", arguments={"x": 1}),),
        ArgumentSettings(copied={"search": ("x",)}, tools={"search": ToolAccuracy(right=1, asked=2)}),
        Slots({"search": {"x": Slot(torch.zeros(3, 8), torch.zeros(3), False)}}),
    )
    added = toolkens.provenance.model_copy(update={"added": {"search": "prior"}})
    return replace(toolkens, examples=examples, evidence=make_evidence(toolkens), provenance=added)


def test_a_tool_keeps_all_that_is_known_of_it() -> None:
    before = shop()
    after = renamed(before, {"search": "shop_search"})
    assert after.names == ("shop_search", "pay", "mine")
    assert torch.equal(after.matrix, before.matrix)
    assert [call.tool for call in after.examples.calls] == ["shop_search"]
    assert after.examples.settings is not None
    assert after.examples.settings.copied == {"shop_search": ("x",)}
    assert list(after.examples.settings.tools) == ["shop_search"]
    assert after.examples.slots is not None
    assert list(after.examples.slots.of_tool) == ["shop_search"]
    assert after.provenance.added == {"shop_search": "prior"}
    assert after.evidence is not None
    match = after.evidence.lexical[0]
    assert isinstance(match, LexicalMatch)
    assert match.documents[0] == description_document(after.specs[0])


def test_names_follow_server_and_tool_and_are_not_taken_from_others() -> None:
    toolkens = shop()
    colliding = [of_server("shop_search", "shop", "search"), of_server("web_search", "web", "search")]
    assert new_names(toolkens, colliding) == {"search": "shop_search"}
    swapped = [of_server("pay", "shop", "search"), of_server("search", "shop", "pay")]
    assert new_names(toolkens, swapped) == {"search": "pay", "pay": "search"}
    assert renamed(toolkens, new_names(toolkens, swapped)).names == ("pay", "search", "mine")
    assert new_names(toolkens, [of_server("mine", "shop", "search")]) == {}
    assert new_names(toolkens, toolkens.specs) == {}


def test_two_tools_of_one_name_are_refused() -> None:
    with pytest.raises(ToolkenSetError, match="two toolkens are named 'pay'"):
        renamed(shop(), {"search": "pay"})
