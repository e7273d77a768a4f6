"""VirtualHome's rules: what an action needs, and what it changes."""

from __future__ import annotations

import pytest

from langchain_toolken.evaluation.worlds.household_plans import parse_plan
from langchain_toolken.evaluation.worlds.household_rules import ACTIONS, BY_WORD, NotPossibleError, held, is_close
from langchain_toolken.evaluation.worlds.household_scene import APARTMENT, CHARACTER, Relation, Scene, build_scene


def after(*lines: str) -> Scene:
    """The full apartment after these steps; the character starts in the bedroom."""
    scene = build_scene("bedroom", APARTMENT)
    for step in parse_plan("\n".join(lines)):
        BY_WORD[step.word].act(scene, *step.objects)
    return scene


AT_DESK = ("[WALK] <home_office>", "[FIND] <chair>", "[SIT] <chair>", "[FIND] <computer>")


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["[SIT] <couch>"], "has not been found"),
        (["[FIND] <desk>", "[SIT] <desk>"], "not to sit on"),
        (["[FIND] <couch>", "[SIT] <couch>", "[SIT] <couch>"], "sitting already"),
        ([*AT_DESK, "[WALK] <bed>"], "sitting: stand up"),
        ([*AT_DESK, "[FIND] <bed>"], "not within reach of someone sitting"),
        ([*AT_DESK, "[SWITCHOFF] <computer>"], "off already"),
        ([*AT_DESK, "[SWITCHON] <computer>", "[SWITCHON] <computer>"], "on already"),
        ([*AT_DESK, "[WATCH] <chair>"], "not to watch"),
        (["[FIND] <chair>", "[SWITCHON] <chair>"], "no switch"),
        (["[FIND] <television>", "[WATCH] <television>"], "turn to it first"),
        (["[FIND] <television>", "[TURNTO] <television>", "[WALK] <bed>", "[WATCH] <television>"], "another room"),
        (["[FIND] <television>", "[WALK] <bed>", "[TOUCH] <television>"], "not close to"),
        (["[FIND] <television>", "[PLUGOUT] <television>", "[SWITCHON] <television>"], "not plugged in"),
        (["[FIND] <novel>", "[READ] <novel>"], "does not hold"),
        (["[FIND] <phone>", "[GRAB] <phone>", "[READ] <phone>"], "not to read"),
        (["[FIND] <couch>", "[GRAB] <couch>"], "not to be grabbed"),
        (["[FIND] <mail>", "[GRAB] <mail>", "[GRAB] <mail>"], "holds the mail already"),
        (["[FIND] <mail>", "[DROP] <mail>"], "does not hold"),
        (["[FIND] <mail>", "[PUTOBJBACK] <mail>"], "has not been grabbed"),
        (["[FIND] <mail>", "[GRAB] <mail>", "[WALK] <bed>", "[PUTOBJBACK] <mail>"], "not close to the table"),
        (["[FIND] <freezer>", "[CLOSE] <freezer>"], "closed already"),
        (["[FIND] <freezer>", "[SWITCHON] <freezer>", "[OPEN] <freezer>"], "still on"),
        (["[FIND] <chair>", "[OPEN] <chair>"], "can't be opened"),
        (["[FIND] <chair>", "[LIE] <chair>"], "not to lie on"),
        (["[FIND] <chair>", "[TYPE] <chair>"], "not to type on"),
        (["[FIND] <light>", "[PULL] <light>"], "can't be moved"),
        (["[FIND] <chair>", "[PLUGIN] <chair>"], "no plug"),
        (["[FIND] <chair>", "[WIPE] <chair>"], "nothing to wipe with"),
        (["[FIND] <chair>", "[EAT] <chair>"], "nothing to eat"),
        (["[FIND] <plate>", "[DRINK] <plate>"], "does not hold"),
        (["[FIND] <couch>", "[LOOKAT] <couch>"], "does not face"),
        (["[STANDUP]"], "standing already"),
    ],
)
def test_an_action_whose_precondition_does_not_hold_is_not_possible(lines: list[str], reason: str) -> None:
    after(*lines[:-1])
    with pytest.raises(NotPossibleError, match=reason):
        after(*lines)


def test_a_third_object_does_not_fit_into_two_hands() -> None:
    grabbed = [f"[{word}] <{thing}>" for thing in ("mail", "novel", "mouse") for word in ("FIND", "GRAB")]
    assert held(after(*grabbed[:-1])) == ["mail", "novel"]
    with pytest.raises(NotPossibleError, match="both hands are full: mail and novel"):
        after(*grabbed)
    with pytest.raises(NotPossibleError, match="both hands are full"):
        after(*grabbed[:-1], "[FIND] <mail>", "[OPEN] <mail>")


def test_walking_changes_room_and_what_is_close_and_takes_along_what_is_held() -> None:
    scene = after("[FIND] <mail>", "[GRAB] <mail>", "[WALK] <bed>")
    assert scene.room_of(CHARACTER) == "bedroom"
    assert scene.room_of("mail") == "bedroom"
    assert is_close(scene, "bed")
    assert is_close(scene, "mail")
    assert not is_close(scene, "table")


def test_who_sits_faces_what_the_seat_faces_and_reaches_what_is_close_to_it() -> None:
    scene = after("[FIND] <couch>", "[SIT] <couch>", "[FIND] <television>")
    assert "SITTING" in scene.states(CHARACTER)
    assert scene.has(CHARACTER, Relation.ON, "couch")
    after("[FIND] <television>", "[FIND] <couch>", "[SIT] <couch>", "[WATCH] <television>")


def test_standing_up_makes_walking_possible_again() -> None:
    scene = after(*AT_DESK, "[STANDUP]", "[WALK] <bed>", "[LIE] <bed>")
    assert scene.states(CHARACTER) == {"LYING"}
    assert scene.targets(CHARACTER, Relation.ON) == ["bed"]


def test_what_is_put_down_lies_there_and_the_hand_is_free() -> None:
    scene = after("[FIND] <mail>", "[GRAB] <mail>", "[FIND] <desk>", "[PUTBACK] <mail> <desk>")
    assert scene.targets("mail", Relation.ON) == ["desk"]
    assert held(scene) == []
    scene = after("[FIND] <mail>", "[GRAB] <mail>", "[PUTOBJBACK] <mail>")
    assert scene.targets("mail", Relation.ON) == ["table"]


def test_what_is_in_a_closed_thing_is_out_of_reach() -> None:
    stored = ["[FIND] <food_food>", "[GRAB] <food_food>", "[FIND] <freezer>"]
    with pytest.raises(NotPossibleError, match="freezer is closed"):
        after(*stored, "[PUTIN] <food_food> <freezer>")
    stored += ["[OPEN] <freezer>", "[PUTIN] <food_food> <freezer>"]
    scene = after(*stored)
    assert scene.has("food_food", Relation.INSIDE, "freezer")
    assert scene.room_of("food_food") == "dining_room"
    with pytest.raises(NotPossibleError, match="in the freezer, which is closed"):
        after(*stored, "[CLOSE] <freezer>", "[GRAB] <food_food>")
    assert held(after(*stored, "[GRAB] <food_food>")) == ["food_food"]


@pytest.mark.parametrize(
    ("lines", "thing", "state"),
    [
        (["[FIND] <light>", "[SWITCHON] <light>"], "light", "ON"),
        (["[FIND] <light>", "[SWITCHON] <light>", "[SWITCHOFF] <light>"], "light", "OFF"),
        (["[FIND] <light>", "[PLUGOUT] <light>"], "light", "PLUGGED_OUT"),
        (["[FIND] <light>", "[PLUGOUT] <light>", "[PLUGIN] <light>"], "light", "PLUGGED_IN"),
        (["[FIND] <mail>", "[OPEN] <mail>"], "mail", "OPEN"),
        (["[FIND] <mail>", "[OPEN] <mail>", "[CLOSE] <mail>"], "mail", "CLOSED"),
        (["[FIND] <plate>", "[WASH] <plate>"], "plate", "CLEAN"),
        (["[FIND] <mail>", "[GRAB] <mail>", "[FIND] <table>", "[WIPE] <table>"], "table", "CLEAN"),
    ],
)
def test_an_action_changes_the_state_it_is_for(lines: list[str], thing: str, state: str) -> None:
    assert state in after(*lines).states(thing)


def test_every_action_has_its_own_tool_name() -> None:
    assert len({action.tool for action in ACTIONS}) == len({action.word for action in ACTIONS}) == len(ACTIONS)
