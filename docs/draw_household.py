"""Draw docs/household.png: the household after a plan. Needs matplotlib. Run: python docs/draw_household.py."""

from __future__ import annotations

from pathlib import Path

from langchain_toolken.evaluation.worlds.household import HouseholdWorld
from langchain_toolken.evaluation.worlds.household_scene import APARTMENT, build_scene

PLAN = [
    ("walk", "home_office"),
    ("find", "remote_control"),
    ("grab", "remote_control"),
    ("find", "television"),
    ("switch_on", "television"),
    ("find", "couch"),
    ("sit", "couch"),
]

if __name__ == "__main__":
    world = HouseholdWorld(build_scene("bedroom", APARTMENT))
    tools = {tool.name: tool for tool in world.tools()}
    for name, target in PLAN:
        print(name, target, "->", tools[name].invoke({"target": target}))
    world.draw().savefig(Path(__file__).parent / "household.png", dpi=90)
