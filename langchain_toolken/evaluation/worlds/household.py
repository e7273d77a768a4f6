"""The household as a world of LangChain tools: one tool an action of VirtualHome, over one scene."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.tools import BaseTool, StructuredTool, ToolException

from langchain_toolken.evaluation.worlds.household_plans import HouseholdTask, start_of
from langchain_toolken.evaluation.worlds.household_rules import ACTIONS, Action, NotPossibleError, held
from langchain_toolken.evaluation.worlds.household_scene import CHARACTER, ROOMS, Relation, Scene

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PARAMETERS = {0: (), 1: ("target",), 2: ("thing", "target")}


class HouseholdWorld:
    """A household that tools change.

    Attributes:
        before: The scene at the start.
        scene: The scene now.
        done: The actions that were possible, in order, as plans write them: `[SIT] <couch>`.
    """

    def __init__(self, scene: Scene) -> None:
        self.before = scene.copy()
        self.scene = scene.copy()
        self.done: list[str] = []

    @classmethod
    def of(cls, task: HouseholdTask) -> HouseholdWorld:
        """Set up the household that a task starts in."""
        return cls(start_of(task))

    def tools(self) -> list[BaseTool]:
        """Return one tool for each action; its parameters take the names of the rooms and objects.

        An action that the rules do not allow changes nothing, and its result says why.
        """
        return [self._tool(action) for action in ACTIONS]

    def _tool(self, action: Action) -> BaseTool:
        names = _PARAMETERS[action.objects]
        properties = {name: {"type": "string", "enum": self.scene.things()} for name in names}
        schema = {"type": "object", "properties": properties, "required": list(names)}

        def act(**arguments: Any) -> str:
            objects = [str(arguments[name]) for name in names]
            try:
                action.act(self.scene, *objects)
            except NotPossibleError as error:
                raise ToolException(f"not possible: {error}") from error
            self.done.append(" ".join([f"[{action.word}]", *(f"<{name}>" for name in objects)]))
            return self.describe()

        return StructuredTool.from_function(
            act, name=action.tool, description=action.description, args_schema=schema, handle_tool_error=True
        )

    def describe(self) -> str:
        """Say where the character is, what it holds, and what is within reach: what a tool answers."""
        scene = self.scene
        on = scene.targets(CHARACTER, Relation.ON)
        posture = next(iter(sorted(scene.states(CHARACTER) & {"SITTING", "LYING"})), "")
        place = f"{posture.lower()} on the {on[-1]} " if posture and on else ""
        near = [_with_state(scene, one) for one in scene.targets(CHARACTER, Relation.CLOSE) if one not in held(scene)]
        parts = [f"You are {place}in the {scene.room_of(CHARACTER)}."]
        if held(scene):
            parts.append(f"You hold: {', '.join(held(scene))}.")
        if near:
            parts.append(f"Next to you: {', '.join(near)}.")
        return " ".join(parts)

    def _place(self, name: str) -> tuple[str, str]:
        """Return what a thing is on or in: ("on", "desk"); ("", "") for what stands on the floor."""
        for relation in (Relation.ON, Relation.INSIDE):
            for other in self.scene.targets(name, relation):
                if other not in ROOMS:
                    return relation.value.lower(), other
        return "", ""

    def draw(self) -> Figure:
        """Draw the scene now, by rooms. States that differ from the start are in bold. Needs matplotlib.

        Raises:
            DrawingError: If matplotlib is not installed.
        """
        from langchain_toolken.evaluation.worlds.drawing import Box, draw_boxes

        boxes, arrows = [], []
        shown = (Relation.ON, Relation.HOLDS, Relation.FACING)
        concerned = [other for relation in shown for other in self.scene.targets(CHARACTER, relation)]
        for room in ROOMS:
            inside = [one for one in self.scene.graph if one not in ROOMS and self.scene.room_of(one) == room]
            for name in sorted(inside, key=lambda one: (one not in concerned, *self._place(one), one)):
                label = [name, *sorted(self.scene.states(name) - {"PLUGGED_IN"})]
                if name != CHARACTER and self._place(name)[1]:
                    label.append(" ".join(self._place(name)))
                new = self.scene.states(name) != self.before.states(name)
                boxes.append(Box(name, room, "\n".join(label), bold=new, filled=name == CHARACTER))
        for relation in shown:
            for other in self.scene.targets(CHARACTER, relation):
                arrows.append(
                    (CHARACTER, other, relation.value.lower(), not self.before.has(CHARACTER, relation, other))
                )
        return draw_boxes(boxes, arrows, groups=ROOMS)


def _with_state(scene: Scene, thing: str) -> str:
    states = sorted(state.lower().replace("_", " ") for state in scene.states(thing) - {"PLUGGED_IN"})
    return f"{thing} ({', '.join(states)})" if states else thing
