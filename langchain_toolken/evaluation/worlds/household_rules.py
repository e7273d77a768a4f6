"""What an action needs and what it changes, by VirtualHome's published rules.

Own code after virtualhome/simulation/evolving_graph/execution.py, rule by rule. Three differences: every class has one
instance, what is carried comes along into the new room, and open drinks leave no trace.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from langchain_toolken.evaluation.worlds.household_scene import CHARACTER, ROOMS, Relation, Scene

_HANDS = 2
_SEATS = {"couch": 4, "bed": 4}
_PLACES_TO_LIE = {"couch": 2, "bed": 3}


class NotPossibleError(Exception):
    """The scene does not allow an action; the message says why, as VirtualHome would."""


@dataclass(frozen=True)
class Action:
    """One of VirtualHome's actions.

    Attributes:
        word: VirtualHome's name, as plans have it: `[SWITCHON]`.
        tool: The tool's name: `switch_on`.
        description: The tool's description.
        objects: How many objects it takes.
        act: Checks that it is possible and changes the scene; raises `NotPossibleError` before it changes anything.
    """

    word: str
    tool: str
    description: str
    objects: int
    act: Callable[..., None]


def _need(holds: bool, message: str) -> None:
    if not holds:
        raise NotPossibleError(message)


def is_close(scene: Scene, thing: str) -> bool:
    """Tell whether the character is close to a thing: itself, or by something that is (VirtualHome's loose rule)."""
    if scene.has(CHARACTER, Relation.CLOSE, thing):
        return True
    near = scene.targets(CHARACTER, Relation.CLOSE)
    return any(scene.has(one, Relation.CLOSE, thing) or scene.has(thing, Relation.ON, one) for one in near)


def held(scene: Scene) -> list[str]:
    """List what the character holds."""
    return scene.targets(CHARACTER, Relation.HOLDS)


def _need_close(scene: Scene, thing: str) -> None:
    _need(is_close(scene, thing), f"the character is not close to the {thing}")


def _need_found(scene: Scene, thing: str) -> None:
    _need(thing in scene.found, f"the {thing} has not been found yet: walk to it or find it first")


def _need_free_hand(scene: Scene) -> None:
    _need(len(held(scene)) < _HANDS, f"both hands are full: {' and '.join(held(scene))}")


def _need_held(scene: Scene, thing: str) -> None:
    _need(thing in held(scene), f"the character does not hold the {thing}")


def _need_property(scene: Scene, thing: str, word: str, what: str) -> None:
    _need(scene.can(thing, word), f"the {thing} {what}")


def _need_within_reach(scene: Scene, thing: str) -> None:
    shut = [one for one in scene.targets(thing, Relation.INSIDE) if "CLOSED" in scene.states(one)]
    _need(not shut, f"the {thing} is in the {''.join(shut)}, which is closed")


def _need_upright(scene: Scene) -> None:
    posture = scene.states(CHARACTER) & {"SITTING", "LYING"}
    _need(not posture, f"the character is {'/'.join(sorted(posture)).lower()}: stand up first")


def _faces(scene: Scene, thing: str) -> bool:
    faced = scene.targets(CHARACTER, Relation.FACING)
    return thing in faced or any(scene.has(one, Relation.FACING, thing) for one in faced)


def _walk(scene: Scene, thing: str) -> None:
    _need_upright(scene)
    room = scene.room_of(thing)
    scene.separate(CHARACTER, Relation.INSIDE, Relation.CLOSE, Relation.FACING)
    scene.relate(CHARACTER, Relation.INSIDE, room)
    if thing not in ROOMS:
        containers = [one for one in scene.targets(thing, Relation.INSIDE) if one not in ROOMS]
        contents = scene.sources(Relation.INSIDE, thing) if scene.can(thing, "CAN_OPEN") else []
        for near in (thing, *containers, *contents, *scene.targets(thing, Relation.ON)):
            if near != CHARACTER:
                scene.relate(CHARACTER, Relation.CLOSE, near)
    for carried in held(scene):
        scene.separate(carried, Relation.INSIDE, Relation.CLOSE, Relation.FACING)
        scene.relate(carried, Relation.INSIDE, room)
        scene.relate(CHARACTER, Relation.CLOSE, carried)
    scene.found.add(thing)


def _find(scene: Scene, thing: str) -> None:
    """Look for what is close, else walk there; whoever sits or lies only looks."""
    if not is_close(scene, thing):
        posture = scene.states(CHARACTER) & {"SITTING", "LYING"}
        if posture:
            raise NotPossibleError(f"the {thing} is not within reach of someone {'/'.join(sorted(posture)).lower()}")
        _walk(scene, thing)
    scene.separate(CHARACTER, Relation.FACING)
    if thing not in ROOMS:
        scene.relate(CHARACTER, Relation.CLOSE, thing)
    scene.found.add(thing)


def _sit(scene: Scene, thing: str) -> None:
    _need_found(scene, thing)
    _need_close(scene, thing)
    _need("SITTING" not in scene.states(CHARACTER), "the character is sitting already")
    _need_property(scene, thing, "SITTABLE", "is not to sit on")
    _need(len(scene.sources(Relation.ON, thing)) < _SEATS.get(thing, 1), f"there is no room on the {thing}")
    scene.relate(CHARACTER, Relation.ON, thing)
    for other in scene.targets(thing, Relation.FACING):
        scene.relate(CHARACTER, Relation.FACING, other)
    scene.graph.nodes[CHARACTER]["states"] = scene.states(CHARACTER) - {"LYING"} | {"SITTING"}


def _lie(scene: Scene, thing: str) -> None:
    _need_found(scene, thing)
    _need_close(scene, thing)
    _need("LYING" not in scene.states(CHARACTER), "the character is lying already")
    _need_property(scene, thing, "LIEABLE", "is not to lie on")
    _need(len(scene.sources(Relation.ON, thing)) < _PLACES_TO_LIE.get(thing, 1), f"there is no room on the {thing}")
    scene.relate(CHARACTER, Relation.ON, thing)
    scene.graph.nodes[CHARACTER]["states"] = scene.states(CHARACTER) - {"SITTING"} | {"LYING"}


def _stand_up(scene: Scene) -> None:
    _need(bool(scene.states(CHARACTER) & {"SITTING", "LYING"}), "the character is standing already")
    scene.graph.nodes[CHARACTER]["states"] = scene.states(CHARACTER) - {"SITTING", "LYING"}
    scene.separate(CHARACTER, Relation.ON)


def _grab(scene: Scene, thing: str) -> None:
    _need_found(scene, thing)
    _need(scene.can(thing, "GRABBABLE") or thing == "water", f"the {thing} is not to be grabbed")
    _need(thing not in held(scene), f"the character holds the {thing} already")
    _need_close(scene, thing)
    _need_within_reach(scene, thing)
    _need_free_hand(scene)
    places = [
        (one, kind) for kind in (Relation.ON, Relation.INSIDE, Relation.CLOSE) for one in scene.targets(thing, kind)
    ]
    place = next(((one, kind) for one, kind in places if one not in (*ROOMS, CHARACTER)), None)
    scene.separate(thing, Relation.ON, Relation.INSIDE, Relation.CLOSE)
    scene.relate(CHARACTER, Relation.CLOSE, thing)
    scene.relate(CHARACTER, Relation.HOLDS, thing)
    scene.relate(thing, Relation.INSIDE, scene.room_of(CHARACTER))
    if place is not None:
        scene.relate(CHARACTER, Relation.CLOSE, place[0])
        scene.taken_from[thing] = place


def _let_go(scene: Scene, thing: str) -> None:
    scene.graph.remove_edge(CHARACTER, thing, key=Relation.HOLDS)
    scene.taken_from.pop(thing, None)


def _put(scene: Scene, thing: str, place: str, relation: Relation) -> None:
    _need_held(scene, thing)
    _need_close(scene, place)
    if relation == Relation.INSIDE:
        shut = scene.can(place, "CAN_OPEN") and "OPEN" not in scene.states(place)
        _need(not shut, f"the {place} is closed")
        scene.separate(thing, Relation.INSIDE)
    _let_go(scene, thing)
    scene.relate(CHARACTER, Relation.CLOSE, place)
    scene.relate(thing, Relation.CLOSE, place)
    scene.relate(thing, relation, place)


def _put_on(scene: Scene, thing: str, place: str) -> None:
    _need_found(scene, thing)
    _need_found(scene, place)
    _put(scene, thing, place, Relation.ON)


def _put_in(scene: Scene, thing: str, place: str) -> None:
    _need_found(scene, thing)
    _need_found(scene, place)
    _put(scene, thing, place, Relation.INSIDE)


def _put_back(scene: Scene, thing: str) -> None:
    _need_found(scene, thing)
    _need(thing in scene.taken_from, f"the {thing} has not been grabbed from anywhere")
    _put(scene, thing, *scene.taken_from[thing])


def _drop(scene: Scene, thing: str) -> None:
    _need_found(scene, thing)
    _need_held(scene, thing)
    _let_go(scene, thing)


def _open(scene: Scene, thing: str) -> None:
    _need_found(scene, thing)
    _need(scene.can(thing, "CAN_OPEN"), f"the {thing} can't be opened")
    _need_close(scene, thing)
    _need_free_hand(scene)
    _need("CLOSED" in scene.states(thing), f"the {thing} is open already")
    _need("ON" not in scene.states(thing), f"the {thing} is still on")
    scene.set_state(thing, "OPEN")


def _close(scene: Scene, thing: str) -> None:
    _need_found(scene, thing)
    _need(scene.can(thing, "CAN_OPEN"), f"the {thing} can't be closed")
    _need_close(scene, thing)
    _need("OPEN" in scene.states(thing), f"the {thing} is closed already")
    scene.set_state(thing, "CLOSED")


def _switch(scene: Scene, thing: str, state: str, opposite: str) -> None:
    _need_found(scene, thing)
    _need_property(scene, thing, "HAS_SWITCH", "has no switch")
    _need_close(scene, thing)
    _need(opposite in scene.states(thing), f"the {thing} is {state.lower()} already")
    _need(state == "OFF" or "PLUGGED_OUT" not in scene.states(thing), f"the {thing} is not plugged in")
    scene.set_state(thing, state)


def _plug(scene: Scene, thing: str, state: str, opposite: str) -> None:
    _need_found(scene, thing)
    _need_property(scene, thing, "HAS_PLUG", "has no plug")
    _need_close(scene, thing)
    _need_free_hand(scene)
    _need(opposite in scene.states(thing), f"the {thing} is {state.lower().replace('_', ' ')} already")
    scene.set_state(thing, state)


def _turn_to(scene: Scene, thing: str) -> None:
    _need_found(scene, thing)
    scene.separate(CHARACTER, Relation.FACING)
    scene.relate(CHARACTER, Relation.FACING, thing)


def _look_at(scene: Scene, thing: str) -> None:
    _need_found(scene, thing)
    _need(_faces(scene, thing), f"the character does not face the {thing}: turn to it first")


def _watch(scene: Scene, thing: str) -> None:
    _need_found(scene, thing)
    _need_property(scene, thing, "LOOKABLE", "is not to watch")
    _need(scene.room_of(thing) == scene.room_of(CHARACTER), f"the {thing} is in another room")
    _need(_faces(scene, thing), f"the character does not face the {thing}: turn to it first")
    sitting = bool(scene.states(CHARACTER) & {"SITTING", "LYING"})
    direct = thing == "computer" or scene.has(CHARACTER, Relation.FACING, thing)
    _need(direct or not sitting, f"the character does not face the {thing}: turn to it first")


def _read(scene: Scene, thing: str) -> None:
    _need_found(scene, thing)
    _need_property(scene, thing, "READABLE", "is not to read")
    _need_held(scene, thing)


def _touch(scene: Scene, thing: str) -> None:
    _need_found(scene, thing)
    _need_close(scene, thing)
    _need_within_reach(scene, thing)


def _type(scene: Scene, thing: str) -> None:
    _need_found(scene, thing)
    _need_close(scene, thing)
    _need(thing == "keyboard" or scene.can(thing, "HAS_SWITCH"), f"the {thing} is not to type on")


def _move(scene: Scene, thing: str, movable: bool) -> None:
    _need_found(scene, thing)
    _need(movable, f"the {thing} can't be moved")
    _need_close(scene, thing)
    _need_within_reach(scene, thing)
    _need_free_hand(scene)


def _push(scene: Scene, thing: str) -> None:
    _move(scene, thing, True)  # VirtualHome lets everything be pushed


def _pull(scene: Scene, thing: str) -> None:
    _move(scene, thing, scene.can(thing, "MOVABLE"))


def _wash(scene: Scene, thing: str) -> None:
    _need_found(scene, thing)
    _need_close(scene, thing)
    scene.set_state(thing, "CLEAN")


def _wipe(scene: Scene, thing: str) -> None:
    _need_found(scene, thing)
    _need_close(scene, thing)
    _need(bool(held(scene)), "the character holds nothing to wipe with")
    scene.set_state(thing, "CLEAN")


def _drink(scene: Scene, thing: str) -> None:
    _need_found(scene, thing)
    _need(scene.can(thing, "DRINKABLE") or scene.can(thing, "RECIPIENT"), f"the {thing} is not to drink or drink from")
    _need_held(scene, thing)


def _eat(scene: Scene, thing: str) -> None:
    _need_found(scene, thing)
    _need_close(scene, thing)
    _need(
        any(scene.can(one, "EATABLE") for one in (thing, *scene.sources(Relation.ON, thing))),
        f"nothing to eat: {thing}",
    )


ACTIONS: tuple[Action, ...] = (
    Action("WALK", "walk", "Walk to a room or an object.", 1, _walk),
    Action("RUN", "run", "Run to a room or an object.", 1, _walk),
    Action("FIND", "find", "Find an object, and go there if it is not within reach.", 1, _find),
    Action("SIT", "sit", "Sit down on something.", 1, _sit),
    Action("LIE", "lie", "Lie down on something.", 1, _lie),
    Action("STANDUP", "stand_up", "Stand up.", 0, _stand_up),
    Action("GRAB", "grab", "Take an object into the hand.", 1, _grab),
    Action("DROP", "drop", "Let go of an object in the hand.", 1, _drop),
    Action("PUTOBJBACK", "put_back", "Put an object back where it was taken from.", 1, _put_back),
    Action("PUTBACK", "put_on", "Put an object in the hand on another object.", 2, _put_on),
    Action("PUTIN", "put_in", "Put an object in the hand into another object.", 2, _put_in),
    Action("OPEN", "open", "Open something.", 1, _open),
    Action("CLOSE", "close", "Close something.", 1, _close),
    Action("SWITCHON", "switch_on", "Switch something on.", 1, lambda s, o: _switch(s, o, "ON", "OFF")),
    Action("SWITCHOFF", "switch_off", "Switch something off.", 1, lambda s, o: _switch(s, o, "OFF", "ON")),
    Action("PLUGIN", "plug_in", "Plug something in.", 1, lambda s, o: _plug(s, o, "PLUGGED_IN", "PLUGGED_OUT")),
    Action("PLUGOUT", "plug_out", "Unplug something.", 1, lambda s, o: _plug(s, o, "PLUGGED_OUT", "PLUGGED_IN")),
    Action("TURNTO", "turn_to", "Turn towards something.", 1, _turn_to),
    Action("LOOKAT", "look_at", "Look at something that one faces.", 1, _look_at),
    Action("POINTAT", "point_at", "Point at something that one faces.", 1, _look_at),
    Action("WATCH", "watch", "Watch a screen that one faces.", 1, _watch),
    Action("READ", "read", "Read something in the hand.", 1, _read),
    Action("TYPE", "type", "Type on something.", 1, _type),
    Action("TOUCH", "touch", "Touch something.", 1, _touch),
    Action("PUSH", "push", "Push something.", 1, _push),
    Action("PULL", "pull", "Pull something.", 1, _pull),
    Action("WASH", "wash", "Wash something.", 1, _wash),
    Action("RINSE", "rinse", "Rinse something.", 1, _wash),
    Action("WIPE", "wipe", "Wipe something.", 1, _wipe),
    Action("DRINK", "drink", "Drink something in the hand.", 1, _drink),
    Action("EAT", "eat", "Eat something.", 1, _eat),
)
BY_WORD = {action.word: action for action in ACTIONS}
