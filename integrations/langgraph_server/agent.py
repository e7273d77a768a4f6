"""The graph that `langgraph dev` serves: a toolken agent on the LM that comes with the package.

`langgraph.json` names it, and README.md says how its toolkens are fitted. The server brings the checkpointer, so the
agent is made without one. The LM is loaded at the first request.
"""

from __future__ import annotations

import os

from mytools import fair_share, total_price, what_is_left

from langchain_toolken import ToolkenChat, create_toolken_agent

clerk = create_toolken_agent(
    ToolkenChat(model="nano", toolkens=os.environ["TOOLKENS"], max_tokens=100),
    [total_price, what_is_left, fair_share],
    approve=lambda tool: tool.name == "fair_share",  # the run stops with an interrupt before such a call
    max_calls=4,
    name="clerk",
)
