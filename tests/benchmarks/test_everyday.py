"""benchmarks/everyday: the requests are apart from the demonstrations, and grading forgives only what is no fault."""

from __future__ import annotations

import json
import re
from itertools import product
from typing import Any

import pytest
from langchain_core.messages import AIMessage

from benchmarks.everyday.requests import ExpectedCall, grade_call, read_demonstrations, read_requests
from benchmarks.everyday.tools import TOOLS
from tests.benchmarks.test_benchmarks import run

TIMER = ExpectedCall("set_timer", {"minutes": (5,), "label": (None, "soup", "the soup")})
LIGHTS = ExpectedCall("switch_lights", {"room": ("hallway",), "on": (True,)})
LIST = ExpectedCall("add_to_shopping_list", {"items": (["salt", {"any": ["egg", "an egg"]}],)})
MUSIC = ExpectedCall("play_music", {"what": ("jazz",)})


def call(name: str, **arguments: Any) -> AIMessage:
    return AIMessage("", tool_calls=[{"name": name, "args": arguments, "id": "1"}])


@pytest.mark.parametrize(
    ("message", "expected", "outcome"),
    [
        (call("set_timer", minutes=5), TIMER, "right"),
        (call("set_timer", minutes=5, label=None), TIMER, "right"),
        (call("set_timer", minutes=5.0, label=" The  soup. "), TIMER, "right"),
        (call("set_timer", minutes=50), TIMER, "wrong value"),
        (call("set_timer", minutes="5"), TIMER, "wrong value"),
        (call("set_timer", minutes=5, label="soups"), TIMER, "wrong value"),
        (call("set_timer", label="soup"), TIMER, "missing argument"),
        (call("switch_lights", room="hallway", on=1), LIGHTS, "wrong value"),
        (call("switch_lights", room="Hallway", on=True), LIGHTS, "right"),
        (call("add_to_shopping_list", items=["an egg", "salt"]), LIST, "right"),
        (call("add_to_shopping_list", items=["egg", "egg"]), LIST, "wrong value"),
        (call("add_to_shopping_list", items=["egg", "salt", "oil"]), LIST, "wrong value"),
        (call("play_music", what="jazz", shuffle=False), MUSIC, "right"),
        (call("play_music", what="jazz", shuffle=True), MUSIC, "extra argument"),
        (call("weather", city="jazz"), MUSIC, "wrong tool"),
        (AIMessage("Here is some jazz."), MUSIC, "no call"),
        (
            AIMessage("", invalid_tool_calls=[{"name": "play_music", "args": '{"w', "id": "1", "error": "cut off"}]),
            MUSIC,
            "cut off",
        ),
    ],
)
def test_a_call_is_graded_by_its_first_fault(message: AIMessage, expected: ExpectedCall, outcome: str) -> None:
    assert grade_call(message, expected, TOOLS) == outcome


@pytest.mark.parametrize("split", ["dev", "test"])
def test_every_accepted_call_passes_its_tools_schema(split: str) -> None:
    by_name = {tool.name: tool for tool in TOOLS}
    for request in read_requests(split, TOOLS):
        for expected in request.expected:
            names = list(expected.arguments)
            for values in product(*expected.arguments.values()):
                arguments = {name: one for name, one in zip(names, values, strict=True) if one is not None}
                if "items" in arguments:
                    arguments["items"] = [item["any"][0] if isinstance(item, dict) else item for item in values[0]]
                by_name[expected.tool].invoke(arguments)
                assert grade_call(call(expected.tool, **arguments), expected, TOOLS) == "right"


def test_there_are_as_many_requests_as_the_script_says_and_each_tool_has_its_share() -> None:
    kinds = [request.kind for request in read_requests("test", TOOLS)]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {"call": 96, "plain": 64, "follow-up": 18, "two": 10}
    tools = [request.expected[0].tool for request in read_requests("test", TOOLS) if request.kind == "call"]
    assert {tools.count(tool.name) for tool in TOOLS} == {8}
    rows = read_demonstrations(None, 20, seed=0)
    assert len(rows) == 92
    assert len(read_demonstrations(3, 0, seed=0)) == 36


def test_no_request_shares_five_words_in_a_row_with_a_demonstration_or_the_other_split() -> None:
    def runs(text: str) -> set[tuple[str, ...]]:
        words = re.findall(r"[\w']+", text.casefold())
        return {tuple(words[i : i + 5]) for i in range(max(1, len(words) - 4))}

    demonstrated = [runs(row["messages"][0]["content"]) for row in read_demonstrations(None, 20, seed=0)]
    dev, test = ([runs(request.text) for request in read_requests(split, TOOLS)] for split in ("dev", "test"))
    for one, other in ((demonstrated, dev), (demonstrated, test), (dev, test)):
        assert not set().union(*one) & set().union(*other)


@pytest.mark.slow
def test_the_script_reports_shares_errors_and_seconds() -> None:
    options = ("--split", "dev", "--demonstrations-per-tool", "1", "--no-call", "4", "--max-tokens", "24")
    facts = run("everyday.py", "--model", "nano", *options, "--most", "3", "--loops", "1")
    shares = json.loads(json.dumps(facts["shares"]))
    assert shares["all arguments right"]["of"] == 3
    assert shares["right tool"]["low"] <= shares["right tool"]["share"] <= shares["right tool"]["high"]
    assert {"fit", "calls", "tool forced", "plain", "two requests"} <= set(json.loads(json.dumps(facts["seconds"])))
