"""training.demonstrations.prompt_style: what a fit learns of how results are put back."""

from __future__ import annotations

from typing import Any

import pytest

from langchain_toolken.training.demonstrations.demonstration import DemonstratedCall, Demonstration
from langchain_toolken.training.demonstrations.docstrings import read_docstring_examples
from langchain_toolken.training.demonstrations.histories import history_demonstrations
from langchain_toolken.training.demonstrations.prompt_style import reinjection_of

CALL = {"id": "1", "type": "function", "function": {"name": "multiply", "arguments": '{"a": 2, "b": 3}'}}
CHAT = history_demonstrations(
    [
        {"role": "user", "content": "How many?"},
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "1", "content": "6"},
        {"role": "assistant", "content": "Six."},
    ]
)
PLAIN_CHAT = history_demonstrations([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}])
INLINE = [Demonstration(text="2*3=6", calls=(DemonstratedCall(start=4, tool="multiply", result="6"),))]
PLAIN_TEXT = [Demonstration(text="Q: Hi\nA: Hello.", calls=())]


def area(length: int) -> int:
    """Area of a square.

    Examples:
        What is the area of a square of 3? -> area(3) = 9
    """
    return length**2


DOCSTRING = read_docstring_examples([area])[0]


@pytest.mark.parametrize(
    ("demonstrations", "style", "given", "found"),
    [
        (CHAT, "chat", None, "turn"),
        (CHAT[:1], "chat", None, "turn"),
        (CHAT, "chat", "inline", "inline"),
        (CHAT, "completion", None, "inline"),
        (INLINE, "chat", None, "inline"),
        (INLINE, "completion", None, "inline"),
        ([*CHAT, *INLINE], "chat", None, "turn"),
        ([*CHAT, *INLINE * 5], "chat", None, "inline"),
        ([*PLAIN_CHAT, *PLAIN_TEXT], "chat", None, None),
        (DOCSTRING, "chat", None, None),
        ([], "chat", None, None),
    ],
)
def test_demonstrations_tell_how_results_are_put_back(demonstrations: Any, style: Any, given: Any, found: Any) -> None:
    assert reinjection_of(demonstrations, style, given) == found
