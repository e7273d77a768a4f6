"""An agent that a process is killed in: `python -m tests.support.killed_agent DATABASE EFFECTS [WHERE]`.

The LM calls a tool twice, answers, and says the answer again in a form; each run of the tool adds a line to EFFECTS.
WHERE is a node that the process kills itself in, at its first visit: "reason", "complete", "approve", "execute" (before
the tool's effect), "effect" (after it), "reinject", "respond"; or "saved N" and "saving N", after and before the Nth
checkpoint is written. Without WHERE the thread in DATABASE begins, or goes on from where it was. Prints the end.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import sys
from typing import Any
from unittest.mock import patch

from langchain_core.tools import BaseTool, tool
from langgraph.checkpoint.sqlite import SqliteSaver
from pydantic import BaseModel

from langchain_toolken.agents import nodes
from langchain_toolken.agents.agent import create_toolken_agent
from langchain_toolken.chat.model import ToolkenChat
from langchain_toolken.tools.spec import tool_spec
from tests.support.scripted_engine import ScriptedEngine, completion, reasoning
from tests.support.toolken_sets import scripted_toolkens

THREAD: Any = {"configurable": {"thread_id": "1"}}


class Ordered(BaseModel):
    """What was ordered."""

    pens: int


def die() -> None:
    """End this process as kill -9 does."""
    os.kill(os.getpid(), signal.SIGKILL)


class Engine(ScriptedEngine):
    """Says what comes next by what the prompt says was said before, as an LM does, or dies in a node."""

    where = ""

    def stream(self, prompt: Any, request: Any) -> Any:
        if self.where == "reason":
            die()
        said = self.tokenizer.decode(prompt)
        next_word = " done." if "second" in said else " second" if "first" in said else " first"
        self.reasonings = [reasoning(next_word, None if next_word == " done." else "order")]
        yield from super().stream(prompt, request)

    def complete(self, prompts: Any, specs: Any, **options: Any) -> Any:
        if self.where == ("complete" if specs[0].name == "order" else "respond"):
            die()
        x = 2 if "<1>" in self.tokenizer.decode(prompts[0]) else 1  # what was said since is not in the prompt
        arguments = {"x": x} if specs[0].name == "order" else {"pens": 3}
        self.completions = [completion(json.dumps(arguments), arguments)]
        return super().complete(prompts, specs, **options)


class Saver(SqliteSaver):
    """Dies before or after it writes a checkpoint."""

    where = ""
    written = 0

    def put(self, *args: Any, **options: Any) -> Any:
        self.written += 1
        if self.where == f"saving {self.written}":
            die()
        done = super().put(*args, **options)
        if self.where == f"saved {self.written}":
            die()
        return done


def main(database: str, effects: str, where: str = "") -> None:
    """Begin or go on, and die where it is said."""

    @tool
    def order(x: int) -> str:
        """Order x pens."""
        if where == "execute":
            die()
        with open(effects, "a", encoding="utf-8") as file:
            file.write(f"{x}\n")
        if where == "effect":
            die()
        return f"<{x}>"

    saver = Saver(sqlite3.connect(database, check_same_thread=False))
    saver.where = where
    engine = Engine()
    engine.where = where
    llm = ToolkenChat.from_engine(engine, scripted_toolkens(tool_spec(order)))

    def approve(tool: BaseTool) -> bool:
        if where == "approve":
            die()
        return False

    agent = create_toolken_agent(llm, [order], checkpointer=saver, approve=approve, response_format=Ordered)
    given = {"messages": [("user", "Order pens.")]} if saver.get_tuple(THREAD) is None else None

    def last_results(messages: Any) -> Any:
        if where == "reinject":
            die()
        return found(messages)

    found = nodes.last_results
    with patch.object(nodes, "last_results", last_results):
        state = agent.invoke(given, THREAD, durability="sync")
    kinds = [step["kind"] for step in state["steps"]]
    form = state["structured_response"].model_dump()
    print(json.dumps({"text": state["text"], "ending": state["ending"], "kinds": kinds, "form": form}))


if __name__ == "__main__":
    main(*sys.argv[1:])
