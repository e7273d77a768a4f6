"""The apartment: what is where, and in which state."""

from __future__ import annotations

import pytest

from langchain_toolken.evaluation.worlds.household_scene import APARTMENT, CHARACTER, ROOMS, Relation, build_scene


def test_everything_has_a_room_and_rests_on_what_is_there() -> None:
    scene = build_scene("bedroom", APARTMENT)
    assert set(scene.objects()) == set(APARTMENT)
    for name in scene.objects():
        assert scene.room_of(name) == APARTMENT[name].room
    assert scene.room_of(CHARACTER) == "bedroom"
    assert scene.has("computer", Relation.ON, "desk")


def test_only_the_named_objects_are_there_and_unknown_ones_are_left_out() -> None:
    scene = build_scene("bathroom", ["computer", "dragon", "bathroom"])
    assert scene.objects() == ["computer"]
    assert scene.targets("computer", Relation.ON) == []
    assert set(ROOMS) <= set(scene.things())


def test_things_start_off_closed_and_plugged_in() -> None:
    scene = build_scene("bedroom", APARTMENT)
    assert scene.states("freezer") == {"OFF", "CLOSED", "PLUGGED_IN"}
    assert scene.states("chair") == frozenset()


def test_a_new_state_takes_the_place_of_its_opposite() -> None:
    scene = build_scene("bedroom", ["freezer"])
    scene.set_state("freezer", "OPEN")
    assert scene.states("freezer") == {"OFF", "OPEN", "PLUGGED_IN"}


def test_a_copy_changes_alone() -> None:
    scene = build_scene("bedroom", ["freezer"])
    copy = scene.copy()
    copy.set_state("freezer", "OPEN")
    copy.separate(CHARACTER, Relation.INSIDE)
    copy.found.add("freezer")
    assert "CLOSED" in scene.states("freezer")
    assert scene.room_of(CHARACTER) == "bedroom"
    assert not scene.found


def test_close_holds_and_ends_both_ways() -> None:
    scene = build_scene("bedroom", ["desk", "chair"])
    assert scene.has("desk", Relation.CLOSE, "chair")
    scene.separate("chair", Relation.CLOSE)
    assert not scene.has("desk", Relation.CLOSE, "chair")


def test_an_unknown_room_is_an_error_that_names_the_rooms() -> None:
    with pytest.raises(ValueError, match="home_office"):
        build_scene("attic", [])
