"""Stream the steps of a toolken agent: reason, complete, execute, reinject.

Run from the repository root: python examples/agent.py
"""

from __future__ import annotations

from pathlib import Path

from mytools import fair_share, total_price, what_is_left

from langchain_toolken import ToolkenChat, create_toolken_agent, fit_toolkens

HERE = Path(__file__).parent
QUESTION = "A shop sells apples for 4127 dollars each. How much do 394 apples cost?"
SHOWN = ("text", "tool", "probability", "arguments", "result")

toolkens = fit_toolkens("nano", tools=HERE / "mytools.py", demonstrations=HERE / "demos.jsonl")
llm = ToolkenChat(model="nano", toolkens=toolkens)
agent = create_toolken_agent(llm, [total_price, what_is_left, fair_share])

# "updates" brings the steps of each node when it ends. Add "custom" to get the text piece by piece as well.
for update in agent.stream({"messages": [("user", QUESTION)]}, stream_mode="updates"):
    for node in update.values():
        for step in node.get("steps", []):
            print(f"{step['kind']:8}", {name: step[name] for name in SHOWN if name in step})
