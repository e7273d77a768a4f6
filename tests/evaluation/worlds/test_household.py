"""The household's tools act on its scene, say what they see, and can be drawn."""

from __future__ import annotations

import pytest

from langchain_toolken.evaluation.worlds.household import HouseholdWorld
from langchain_toolken.evaluation.worlds.household_rules import ACTIONS
from langchain_toolken.evaluation.worlds.household_scene import APARTMENT, build_scene
from langchain_toolken.tools.spec import tool_specs


@pytest.fixture
def world() -> HouseholdWorld:
    return HouseholdWorld(build_scene("bedroom", APARTMENT))


def call(world: HouseholdWorld, tool: str, *targets: str) -> str:
    found = {each.name: each for each in world.tools()}[tool]
    return str(found.invoke(dict(zip(found.args, targets, strict=True))))


def test_each_action_is_a_tool_that_takes_what_is_there(world: HouseholdWorld) -> None:
    specs = {spec.name: spec for spec in tool_specs(world.tools())}
    assert len(specs) == len(ACTIONS)
    assert "bed" in specs["walk"].json_schema["properties"]["target"]["enum"]
    assert list(specs["put_on"].json_schema["properties"]) == ["thing", "target"]


def test_tools_change_the_scene_and_say_what_is_around(world: HouseholdWorld) -> None:
    call(world, "walk", "couch")
    call(world, "find", "mail")
    call(world, "grab", "mail")
    seen = call(world, "sit", "couch")
    assert seen.startswith("You are sitting on the couch in the home_office. You hold: mail.")
    assert "television (off)" in call(world, "find", "television")
    assert world.done == ["[WALK] <couch>", "[FIND] <mail>", "[GRAB] <mail>", "[SIT] <couch>", "[FIND] <television>"]


def test_what_is_not_possible_changes_nothing_and_says_why(world: HouseholdWorld) -> None:
    assert call(world, "sit", "couch") == "not possible: the couch has not been found yet: walk to it or find it first"
    assert not world.done


def test_the_drawing_shows_rooms_things_and_in_bold_what_has_changed(world: HouseholdWorld) -> None:
    call(world, "find", "light")
    call(world, "switch_on", "light")
    call(world, "find", "mail")
    call(world, "grab", "mail")
    texts = {text.get_text(): text.get_weight() for text in world.draw().axes[0].texts}
    assert texts["light\nON"] == "bold"
    assert texts["computer\nOFF\non desk"] == "normal"
    assert "home_office" in texts
    assert "holds" in texts
