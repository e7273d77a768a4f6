"""Fit toolkens for three tools, and use them in an ordinary LangGraph agent.

Run from the repository root: python examples/quickstart.py
"""

from __future__ import annotations

from pathlib import Path

from langchain.agents import create_agent
from mytools import fair_share, total_price, what_is_left

from langchain_toolken import ToolkenChat, fit_toolkens

HERE = Path(__file__).parent
QUESTION = "A shop sells apples for 4127 dollars each. How much do 394 apples cost?"

# One pass of the demonstrations through the LM, then a convex solve: a few seconds on a CPU.
toolkens = fit_toolkens("nano", tools=HERE / "mytools.py", demonstrations=HERE / "demos.jsonl")

# The model has no tool in its prompt. `toolkens.save("folder")` keeps the set; `toolkens="folder"` loads it again.
llm = ToolkenChat(model="nano", toolkens=toolkens)
agent = create_agent(llm, tools=[total_price, what_is_left, fair_share])

result = agent.invoke({"messages": [("user", QUESTION)]})
for message in result["messages"]:
    message.pretty_print()
