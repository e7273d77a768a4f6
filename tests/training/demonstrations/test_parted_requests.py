"""Messages that got calls of different tools become one request for each, where they can be told apart."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from langchain_toolken.training.demonstrations.demonstration import DemonstratedCall
from langchain_toolken.training.demonstrations.histories import history_demonstrations
from langchain_toolken.training.demonstrations.load import LoadedDemonstrations
from langchain_toolken.training.demonstrations.parted_requests import requests_of, with_parted_requests


def answered(message: str, *calls: tuple[str, dict[str, Any]], earlier: tuple[BaseMessage, ...] = ()) -> list[Any]:
    made = [{"name": name, "args": args, "id": str(number)} for number, (name, args) in enumerate(calls)]
    results = [ToolMessage("done", tool_call_id=each["id"]) for each in made]
    return [*earlier, HumanMessage(message), AIMessage("", tool_calls=made), *results, AIMessage("Both are done.")]


def loaded(*histories: list[Any]) -> LoadedDemonstrations:
    return LoadedDemonstrations(tuple(one for each in histories for one in history_demonstrations(each)), ())


def asked(read: LoadedDemonstrations) -> list[tuple[str, str]]:
    """Return the last message and the tool of each demonstrated call."""
    return [(str(one.before[-1].content), one.calls[0].tool) for one in read.demonstrations if one.calls]


def call(tool: str, **args: Any) -> DemonstratedCall:
    return DemonstratedCall(start=0, tool=tool, args=args)


TIMER, MUSIC = ("set_timer", {"minutes": 7}), ("play_music", {"what": "flamenco"})


def test_each_call_is_learnt_from_its_part_of_the_message() -> None:
    read = with_parted_requests(
        loaded(answered("Set a timer for 7 minutes and play flamenco.", TIMER, MUSIC)), "chat", None
    )

    assert asked(read) == [("Set a timer for 7 minutes", "set_timer"), ("play flamenco.", "play_music")]
    assert [one.parallel for one in read.demonstrations] == [False, True, False]


def test_a_parted_request_follows_what_was_said_before_its_message() -> None:
    earlier = (HumanMessage("Hello"), AIMessage("Hello there"))
    read = with_parted_requests(
        loaded(answered("7 minutes and flamenco", TIMER, MUSIC, earlier=earlier)), "chat", "turn"
    )

    calls = [one for one in read.demonstrations if one.calls]
    assert [[message.text for message in one.before] for one in calls] == [
        ["Hello", "Hello there", "7 minutes"],
        ["Hello", "Hello there", "flamenco"],
    ]


def test_the_answer_after_the_results_keeps_the_whole_message() -> None:
    history = answered("Set a timer for 7 minutes and play flamenco.", TIMER, MUSIC)
    last = with_parted_requests(loaded(history), "chat", None).demonstrations[-1]

    assert last == loaded(history).demonstrations[-1]
    assert last.before[0].content == "Set a timer for 7 minutes and play flamenco."


@pytest.mark.parametrize(
    ("message", "calls"),
    [
        ("Set a timer for 7 minutes, then play flamenco", (TIMER,)),
        ("A timer for 7 and for 9 minutes", (TIMER, ("set_timer", {"minutes": 9}))),
        ("flamenco for 7 minutes", (TIMER, MUSIC)),
    ],
    ids=["one call", "one tool twice", "one part"],
)
def test_a_message_stays_whole_where_its_parts_are_not_calls_of_different_tools(message: str, calls: Any) -> None:
    read = loaded(answered(message, *calls))

    assert with_parted_requests(read, "chat", None) == read


@pytest.mark.parametrize(("style", "reinjection"), [("completion", None), ("chat", "inline")])
def test_nothing_is_parted_where_a_call_follows_the_result_of_the_one_before(style: Any, reinjection: Any) -> None:
    read = loaded(answered("Set a timer for 7 minutes and play flamenco.", TIMER, MUSIC))

    assert with_parted_requests(read, style, reinjection) == read


def test_several_parts_go_to_the_call_whose_values_they_have() -> None:
    message = "Put flour and eggs on the list, and start a timer for 3 minutes."
    calls = [call("set_timer", minutes=3), call("add_to_list", items=["flour", "eggs"])]

    assert requests_of(message, calls) == ["start a timer for 3 minutes.", "Put flour and eggs on the list"]


def test_as_many_parts_as_calls_belong_together_in_order_where_no_value_is_in_the_words() -> None:
    calls = [call("lights", on=False), call("heating", on=True)]

    assert requests_of("It is too bright. I am cold.", calls) == ["It is too bright.", "I am cold."]
    assert requests_of("It is too bright. Really. I am cold.", calls) is None
