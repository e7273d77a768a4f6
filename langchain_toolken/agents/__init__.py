"""`create_toolken_agent`: the loop of a ToolkenChat as a LangGraph graph with one node a step."""
