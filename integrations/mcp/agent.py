"""From a file of MCP servers to an answering agent: python integrations/mcp/agent.py [MODEL].

MODEL is any Hugging Face causal LM; default: SmolLM2 as `make smollm2` fetches it. Run it from the repository root.
"""

from __future__ import annotations

import sys
from pathlib import Path

from langchain.agents import create_agent

from langchain_toolken import ToolkenChat, fit_toolkens, mcp

HERE = Path(__file__).parent
model = sys.argv[1] if len(sys.argv) > 1 else ".models/smollm2.gguf"

with mcp(HERE / "servers.json") as tools:
    toolkens = fit_toolkens(model, tools=tools, demonstrations=HERE / "demos.jsonl")
    agent = create_agent(ToolkenChat(model=model, toolkens=toolkens, max_tokens=40), tools=list(tools))
    for request in ("Is it going to snow in Zurich?", "Set a timer for 12 minutes.", "Why is the sky blue?"):
        print(f"\n{request}")
        for message in agent.invoke({"messages": [("user", request)]})["messages"][1:]:
            said = [f"{call['name']}({call['args']})" for call in message.tool_calls] if message.type == "ai" else []
            print(f"  {message.type}: {', '.join(said) or message.text}")
