"""evaluation.methods.worked_examples: demonstrations of every form become traces, and the nearest ones are found."""

from __future__ import annotations

from langchain_core.messages import HumanMessage

from langchain_toolken.evaluation.methods.react import as_trace
from langchain_toolken.evaluation.methods.worked_examples import Worked, few, nearest
from langchain_toolken.training.demonstrations.demonstration import DemonstratedCall, Demonstration
from tests.support.small_task import small_task

TEXT = "Q: 1,200 and 2, then 3?\nA: first 1200+2=1202,\nthen 1202+3=1205.\n#### 1205"
TWO_STEPS = Demonstration(
    text=TEXT,
    calls=(
        DemonstratedCall(start=TEXT.index("=1202") + 1, tool="plus", args={"a": 1200, "b": 2}, result="1202"),
        DemonstratedCall(start=TEXT.index("=1205") + 1, tool="plus", args={"a": 1202, "b": 3}, result="1205"),
    ),
)


def worked(demonstration: Demonstration) -> Worked:
    found = Worked.of(demonstration)
    assert found is not None
    return found


def test_a_demonstration_becomes_a_trace_and_numbers_lose_their_commas() -> None:
    assert worked(TWO_STEPS).trace(thoughts=True) == (
        "Q: 1200 and 2, then 3?\nThought: first 1200+2=\n"
        'Action: {"name":"plus"}\nAction Input: {"a":1200,"b":2}\nObservation: 1202\n'
        'Thought: , then 1202+3=\nAction: {"name":"plus"}\nAction Input: {"a":1202,"b":3}\nObservation: 1205\n'
        "Answer: 1205"
    )
    assert "Thought" not in worked(TWO_STEPS).trace(thoughts=False)
    assert worked(TWO_STEPS).choice(thoughts=False) == 'Q: 1200 and 2, then 3?\nAction: {"name":"plus"}'.replace(
        "1200", "1,200"
    )


def test_a_trace_is_a_demonstration_with_a_call_where_each_action_ends() -> None:
    text = worked(TWO_STEPS).trace(thoughts=True)
    made = as_trace(text, worked(TWO_STEPS))
    assert [call.tool for call in made.calls] == ["plus", "plus"]
    assert all(made.text[: call.start].endswith("\nAction:") for call in made.calls)
    assert all(made.text[call.start :].startswith(' {"name":"plus"}') for call in made.calls)


def test_questions_are_found_in_running_text_and_in_chats() -> None:
    call = DemonstratedCall(start=27, tool="owner", args={"name": "Nike"}, result="Phil")
    assert worked(Demonstration(text="Who owns Nike? The owner is Phil.", calls=(call,))).question == "Who owns Nike?"
    chat = Demonstration(text="", calls=(DemonstratedCall(start=0, tool="x"),), before=(HumanMessage("Play?"),))
    assert worked(chat).question == "Play?"
    assert Worked.of(Demonstration(text="Nothing is asked.", calls=())) is None


def test_few_examples_are_of_different_tools_and_drawn_by_the_seed() -> None:
    demonstrations = small_task(demonstrations=20).demonstrations
    assert {one.calls[0].tool for one in few(demonstrations, 2, 0)} == {"plus", "minus"}
    assert few(demonstrations, 4, 0) == few(demonstrations, 4, 0) != few(demonstrations, 4, 1)


def test_the_nearest_example_comes_last_next_to_the_question() -> None:
    find = nearest(small_task().demonstrations, 2)
    assert find("8 - 2?")[-1].question == "8 - 2?"
    assert nearest((), 2)("8 - 2?") == []
