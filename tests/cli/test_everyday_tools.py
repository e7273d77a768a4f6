"""The everyday tools, their examples and the requests of the demo."""

from __future__ import annotations

from langchain_toolken.cli.everyday_tools import PLAIN, REQUESTS, TOLD
from langchain_toolken.tools.load import load_tools
from langchain_toolken.training.demonstrations.docstrings import read_docstring_examples

EVERYDAY = "langchain_toolken.cli.everyday_tools"


def test_every_example_can_be_read_and_no_request_is_among_them() -> None:
    examples, dropped = read_docstring_examples(load_tools(EVERYDAY))
    assert (len(examples), dropped) == (30, [])
    learned = {str(example.before[-1].content) for example in examples if example.before}
    learned |= {str(chat[0].content) for chat in (*TOLD, *PLAIN)}
    assert len(learned) == 30 + len(TOLD) + len(PLAIN)
    assert learned.isdisjoint(request.text for request in REQUESTS)


def test_the_right_calls_are_ones_that_the_tools_take() -> None:
    tools = {tool.name: tool for tool in load_tools(EVERYDAY)}
    assert {chat[1].tool_calls[0]["name"] for chat in TOLD} == set(tools)  # type: ignore[attr-defined]
    called = [request for request in REQUESTS if request.tool is not None]
    assert {request.tool for request in called} == set(tools)
    for request in called:
        tool = tools[str(request.tool)]
        assert isinstance(tool.invoke(dict(zip(tool.args, request.arguments, strict=True))), str)
