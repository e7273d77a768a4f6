"""The demo on a real LM: everyday tools fitted from a few examples, requests, and the same LM without tools."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from langchain_core.messages import BaseMessage, HumanMessage
from langchain_core.tools import BaseTool
from pydantic import BaseModel, ConfigDict
from rich.console import Console
from rich.rule import Rule
from rich.table import Table

from langchain_toolken.agents.agent import create_toolken_agent
from langchain_toolken.chat.model import ToolkenChat
from langchain_toolken.cli.agent_steps import show_run
from langchain_toolken.cli.everyday_tools import PLAIN, REQUESTS, TOLD, EverydayRequest
from langchain_toolken.cli.progress_bars import progress_bars
from langchain_toolken.cli.terminal import as_json, shown, table
from langchain_toolken.lm.load import load_language_model
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.tools.load import load_tools
from langchain_toolken.training.arguments import DEFAULT_FORM
from langchain_toolken.training.fit import fit
from langchain_toolken.training.negatives import plain_requests

TOOLS = "langchain_toolken.cli.everyday_tools"
_LONGEST_ANSWER = 32  # tokens; a small LM goes on for long
_EVERY = 4  # of the package's plain requests, every fourth: all take half a minute more


class EverydayOutcome(BaseModel):
    """One request of the demo.

    Attributes:
        request: What was asked.
        expected: The right call, as `name("a value", 2)`; empty where words are right.
        called: The calls that were made, in the same form.
        right: Whether they are the right call and no other, or none where words are right.
        answer: The answer with toolkens.
        without_tools: What the same LM answers without tools.
    """

    model_config = ConfigDict(frozen=True)

    request: str
    expected: list[str]
    called: list[str]
    right: bool
    answer: str
    without_tools: str


def run_everyday_demo(
    console: Console, model: str, arguments: Mapping[str, Any], *, questions: int
) -> list[EverydayOutcome]:
    """Run the demo on an LM and print it as it happens.

    Args:
        console: Where to print.
        model: What `load_language_model` takes.
        arguments: Its further arguments.
        questions: Number of requests to ask, at most all of `REQUESTS`.
    """
    tools = load_tools(TOOLS)
    console.print(Rule("1  Tools"))
    console.print(f"{len(tools)} @tool functions from {TOOLS}: " + ", ".join(tool.name for tool in tools))
    console.print(Rule("2  Fit toolkens"))
    lm = load_language_model(model, **arguments)  # before our bars start: transformers draws its own
    chat = _fitted(console, lm, tools)
    console.print(Rule("3  Ask"))
    outcomes = _ask(console, chat, tools, REQUESTS[:questions])
    console.print(Rule("4  With toolkens, and the same LM without tools"))
    console.print(_table(outcomes))
    return outcomes


def _fitted(console: Console, lm: LanguageModel, tools: Sequence[BaseTool]) -> ToolkenChat:
    default = plain_requests("default")
    plain = default[::_EVERY]
    console.print(
        f"From the examples in the tools' docstrings, {len(TOLD)} chats with a call, {len(PLAIN)} without, and "
        f"{len(plain)} plain requests. To be quick, the demo leaves out two things that `toolken fit` does: "
        f"{len(default) - len(plain)} more plain requests, and the search for what the LM best reads of a called tool."
    )
    started = perf_counter()
    with tempfile.TemporaryDirectory() as folder, progress_bars(console) as progress:
        negatives = Path(folder) / "plain.txt"
        negatives.write_text("\n".join(plain), encoding="utf-8")
        result = fit(lm, tools, [*TOLD, *PLAIN], negatives=negatives, card=DEFAULT_FORM, progress=progress)
    console.print(
        f"{perf_counter() - started:.0f} s: {len(result.toolkens)} toolkens of {result.toolkens.hidden_size} numbers. "
        "No prompt lists the tools."
    )
    return ToolkenChat(model=lm, toolkens=result.toolkens, max_tokens=_LONGEST_ANSWER)


def _ask(
    console: Console, chat: ToolkenChat, tools: Sequence[BaseTool], requests: Sequence[EverydayRequest]
) -> list[EverydayOutcome]:
    console.print("These requests are not among the examples. The tools do nothing and return a made-up result.")
    agent = create_toolken_agent(chat, tools)
    parameters = {tool.name: list(tool.args) for tool in tools}
    outcomes = []
    for request in requests:
        console.print(shown(f"\n{request.text}", style="bold"))
        state = show_run(agent, [HumanMessage(request.text)], console)
        called = [(step["tool"], step["arguments"]) for step in state["steps"] if step["kind"] == "complete"]
        expected = []
        if request.tool is not None:
            expected = [(request.tool, dict(zip(parameters[request.tool], request.arguments, strict=True)))]
        outcomes.append(
            EverydayOutcome(
                request=request.text,
                expected=[_written(*call) for call in expected],
                called=[_written(*call) for call in called],
                right=called == expected,
                answer=_one_line(state["messages"][-1]),
                without_tools=_one_line(chat.invoke([HumanMessage(request.text)])),
            )
        )
    return outcomes


def _written(tool: str, arguments: Mapping[str, Any]) -> str:
    return f"{tool}({', '.join(map(as_json, arguments.values()))})"


def _one_line(answer: BaseMessage) -> str:
    cut_off = answer.response_metadata.get("finish_reason") == "length"
    return " ".join(answer.text.split()) + (" …" if cut_off else "")


def _table(outcomes: Sequence[EverydayOutcome]) -> Table:
    listed = table("request", "called with toolkens", "without tools", show_lines=True)
    for outcome in outcomes:
        called = ("✔\n" if outcome.right else "✘\n") + ("\n".join(outcome.called) or "nothing")
        if not outcome.right:
            called += "\nright would be\n" + ("\n".join(outcome.expected) or "nothing")
        listed.add_row(
            shown(outcome.request),
            shown(called, style="green" if outcome.right else "red"),
            shown(outcome.without_tools),
        )
    right = sum(outcome.right for outcome in outcomes)
    listed.add_row(shown("right tool and arguments", style="bold"), f"{right} of {len(outcomes)}", "no call possible")
    return listed
