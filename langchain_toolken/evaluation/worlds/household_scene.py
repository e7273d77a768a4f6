"""The household as a scene graph: rooms, objects, their properties and states, and the relations between them.

The kinds of properties, states and relations are those of VirtualHome (Puig et al. 2018; virtualhome/simulation/
evolving_graph/environment.py), and so is what an object can do (virtualhome/resources/properties_data.json). The
papers' data says which room the plan starts in and which objects there are, not where they are: the apartment is ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import networkx as nx

CHARACTER = "character"
ROOMS = ("home_office", "dining_room", "bedroom", "bathroom")


class Relation(StrEnum):
    """What an edge of the scene graph says: its source is ON, INSIDE, … its target."""

    ON = "ON"
    INSIDE = "INSIDE"
    CLOSE = "CLOSE"
    FACING = "FACING"
    HOLDS = "HOLDS"


@dataclass(frozen=True)
class Thing:
    """An object of the apartment.

    Attributes:
        room: The room it is in.
        spot: Objects of one spot are close to each other.
        properties: What can be done with it, in VirtualHome's words.
        on: What it lies on, if that is there.
        inside: What it is in, if that is there.
        facing: What it faces, and who sits on it.
    """

    room: str
    spot: str
    properties: frozenset[str]
    on: str | None = None
    inside: str | None = None
    facing: tuple[str, ...] = ()


def _thing(where: str, properties: str, on: str | None = None, **more: str | tuple[str, ...]) -> Thing:
    room, _, spot = where.partition("/")
    return Thing(room, f"{room}/{spot}", frozenset(properties.upper().split()), on, **more)  # type: ignore[arg-type]


# The home office is where the papers' plans work, read and watch television: nearly all of its objects are within reach
# of each other, as in VirtualHome's small scenes.
APARTMENT: Mapping[str, Thing] = {
    "desk": _thing("home_office/seats", "surfaces can_open movable"),
    "chair": _thing("home_office/seats", "surfaces grabbable sittable movable", facing=("computer", "television")),
    "computer": _thing("home_office/seats", "has_switch lookable", "desk"),
    "keyboard": _thing("home_office/seats", "grabbable has_plug movable", "desk"),
    "mouse": _thing("home_office/seats", "grabbable has_plug movable", "desk"),
    "phone": _thing("home_office/seats", "grabbable has_switch has_plug movable", "desk"),
    "light": _thing("home_office/seats", "has_switch has_plug"),
    "floor_lamp": _thing("home_office/seats", "has_switch movable"),
    "couch": _thing("home_office/seats", "surfaces sittable lieable movable", facing=("television",)),
    "television": _thing("home_office/seats", "has_switch lookable has_plug"),
    "table": _thing("home_office/seats", "surfaces movable"),
    "laptop": _thing("home_office/seats", "grabbable has_switch lookable has_plug movable", "table"),
    "remote_control": _thing("home_office/seats", "grabbable has_switch movable", "table"),
    "button": _thing("home_office/seats", "grabbable movable", "table"),
    "novel": _thing("home_office/seats", "grabbable cuttable can_open readable has_paper movable", "table"),
    "bookmark": _thing("home_office/seats", "grabbable has_paper movable", "table"),
    "mail": _thing("home_office/seats", "grabbable can_open readable has_paper movable", "table"),
    "check": _thing("home_office/seats", "grabbable readable has_paper movable", "table"),
    "cat": _thing("home_office/seats", "grabbable movable"),
    "freezer": _thing("dining_room/kitchen", "can_open has_switch containers has_plug"),
    "food_food": _thing("dining_room/kitchen", "grabbable eatable cuttable movable"),
    "cupboard": _thing("dining_room/kitchen", "can_open containers"),
    "kitchen_cabinet": _thing("dining_room/kitchen", "surfaces can_open containers"),
    "sink": _thing("dining_room/kitchen", "recipient containers"),
    "faucet": _thing("dining_room/kitchen", "has_switch", "sink"),
    "water": _thing("dining_room/kitchen", "drinkable pourable", inside="sink"),
    "plate": _thing("dining_room/kitchen", "surfaces grabbable recipient movable", inside="sink"),
    "bed": _thing("bedroom/bed", "surfaces sittable lieable"),
}

OPPOSITES = (("ON", "OFF"), ("OPEN", "CLOSED"), ("PLUGGED_IN", "PLUGGED_OUT"), ("CLEAN", "DIRTY"))
_FIRST_STATE = {"HAS_SWITCH": "OFF", "CAN_OPEN": "CLOSED", "HAS_PLUG": "PLUGGED_IN"}


@dataclass
class Scene:
    """The state of a household; `household_rules` changes it.

    Attributes:
        graph: A node for each room and object and for the character, with `properties` and `states` (frozensets of
            VirtualHome's words); edges are keyed by `Relation`.
        found: Objects that the character has walked to or found, and can therefore act on.
        taken_from: Where each object in the character's hands was grabbed: from on or in what.
    """

    graph: nx.MultiDiGraph
    found: set[str] = field(default_factory=set)
    taken_from: dict[str, tuple[str, Relation]] = field(default_factory=dict)

    def copy(self) -> Scene:
        """Return a scene that changes without this one."""
        return Scene(self.graph.copy(), set(self.found), dict(self.taken_from))

    def has(self, source: str, relation: Relation, target: str) -> bool:
        """Tell whether `source` is in this relation to `target`."""
        return bool(self.graph.has_edge(source, target, key=relation))

    def targets(self, source: str, relation: Relation) -> list[str]:
        """List what `source` is ON, INSIDE, … ."""
        return [target for _, target, key in self.graph.out_edges(source, keys=True) if key == relation]

    def sources(self, relation: Relation, target: str) -> list[str]:
        """List what is ON, INSIDE, … `target`."""
        return [source for source, _, key in self.graph.in_edges(target, keys=True) if key == relation]

    def relate(self, source: str, relation: Relation, target: str) -> None:
        """Add an edge; CLOSE holds in both directions."""
        self.graph.add_edge(source, target, key=relation)
        if relation == Relation.CLOSE:
            self.graph.add_edge(target, source, key=relation)

    def separate(self, node: str, *relations: Relation) -> None:
        """Remove the node's edges with these relations, CLOSE in both directions."""
        gone = [(node, target, key) for _, target, key in self.graph.out_edges(node, keys=True) if key in relations]
        if Relation.CLOSE in relations:
            gone += [(other, node, Relation.CLOSE) for other in self.sources(Relation.CLOSE, node)]
        self.graph.remove_edges_from(gone)

    def can(self, node: str, word: str) -> bool:
        """Tell whether a node has a property."""
        return word in self.graph.nodes[node]["properties"]

    def states(self, node: str) -> frozenset[str]:
        """Return the states of a node."""
        found: frozenset[str] = self.graph.nodes[node]["states"]
        return found

    def set_state(self, node: str, state: str) -> None:
        """Give a node a state, in place of the opposite one."""
        opposite = {a: b for pair in OPPOSITES for a, b in (pair, pair[::-1])}.get(state)
        self.graph.nodes[node]["states"] = self.states(node) - {opposite} | {state}

    def room_of(self, node: str) -> str:
        """Return the room that a node is in; a room is in itself."""
        while node not in ROOMS:
            node = self.targets(node, Relation.INSIDE)[-1]
        return node

    def things(self) -> list[str]:
        """List the rooms and objects by name."""
        return [node for node in self.graph if node != CHARACTER]

    def objects(self) -> list[str]:
        """List the objects by name, without rooms."""
        return [node for node in self.things() if node not in ROOMS]


def build_scene(room: str, objects: Iterable[str]) -> Scene:
    """Furnish the apartment.

    Args:
        room: Where the character is.
        objects: Which objects there are. Names that the apartment does not know are left out; rooms are always there.

    Raises:
        ValueError: If there is no such room.
    """
    if room not in ROOMS:
        raise ValueError(f"there is no room {room!r}: choose one of {', '.join(ROOMS)}")
    graph = nx.MultiDiGraph()
    for name in ROOMS:
        graph.add_node(name, properties=frozenset(), states=frozenset())
    wanted = set(objects)
    there = {name: thing for name, thing in APARTMENT.items() if name in wanted}
    for name, thing in there.items():
        states = frozenset(state for word, state in _FIRST_STATE.items() if word in thing.properties)
        graph.add_node(name, properties=thing.properties, states=states)
    graph.add_node(CHARACTER, properties=frozenset(), states=frozenset())
    scene = Scene(graph)
    scene.relate(CHARACTER, Relation.INSIDE, room)
    for name, thing in there.items():
        if thing.on in there:
            scene.relate(name, Relation.ON, str(thing.on))
        if thing.inside in there:
            scene.relate(name, Relation.INSIDE, str(thing.inside))
        else:
            scene.relate(name, Relation.INSIDE, thing.room)
        for other in thing.facing:
            if other in there:
                scene.relate(name, Relation.FACING, other)
        for other in there:
            if other != name and there[other].spot == thing.spot:
                scene.relate(name, Relation.CLOSE, other)
    return scene
