"""Exact results, and a record of which call used which result."""

from __future__ import annotations

from langchain_toolken.evaluation.worlds.arithmetic import ArithmeticWorld


def test_funcqa_has_13_tools_and_gsm8k_xl_4_that_take_any_number_of_operands() -> None:
    assert len(ArithmeticWorld().tools()) == 13
    tools = {tool.name: tool for tool in ArithmeticWorld("gsm8k_xl").tools()}
    assert list(tools) == ["add", "subtract", "multiply", "divide"]
    assert tools["subtract"].invoke({"numbers": [4096, 27, 64]}) == "4005"
    assert tools["divide"].invoke({"numbers": [100, 4, 5]}) == "5"
    assert tools["add"].invoke({"numbers": [0.1, 0.2]}) == "0.3"


def test_a_step_without_a_result_is_an_answer_and_is_not_recorded() -> None:
    world = ArithmeticWorld("gsm8k_xl")
    tools = {tool.name: tool for tool in world.tools()}
    assert "divide" in tools["divide"].invoke({"numbers": [1, 0]})
    assert not world.graph


def test_a_call_is_linked_to_the_call_whose_result_it_uses() -> None:
    world = ArithmeticWorld()
    tools = {tool.name: tool for tool in world.tools()}
    product = tools["multiply"].invoke({"numbers": [67, 29]})
    tools["divide"].invoke({"a": float(product), "b": 60})
    assert set(world.graph.edges) == {
        ("67", "1 multiply"),
        ("29", "1 multiply"),
        ("1 multiply", "2 divide"),
        ("60", "2 divide"),
    }
    assert world.graph.nodes["2 divide"]["result"] == "32.38"


def test_worlds_record_apart_and_the_package_s_own_tools_record_nothing() -> None:
    one, other = ArithmeticWorld(), ArithmeticWorld()
    one.tools()[0].invoke({"numbers": [1, 2]})
    assert one.graph
    assert not other.graph


def test_the_calls_can_be_drawn() -> None:
    world = ArithmeticWorld()
    world.tools()[0].invoke({"numbers": [1, 2]})
    texts = [text.get_text() for text in world.draw().axes[0].texts]
    assert "1 add\n= 3" in texts
    assert {"1", "2", "given", "step 1"} <= set(texts)
