"""Try a ToolkenChat in the agents of LangChain's world, each with the real package, and print what came of it.

    python integrations/langchain_agents/trial.py --model MODEL

Toolkens are fitted for the six everyday tools of `toolken demo`, and another set for handing a request over to the
assistant that has these tools, from the same requests. README.md says what to install; what fails is reported.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import BaseTool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.prebuilt import create_react_agent
from rich.console import Console
from rich.table import Table

from langchain_toolken import ToolkenChat, ToolSpec, create_toolken_agent, fit, load_language_model, load_tools
from langchain_toolken.cli.everyday_tools import PLAIN, REQUESTS, TOLD
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.training.arguments import DEFAULT_FORM

HANDOFF = "transfer_to_worker"  # what both packages name it
SETTINGS: Any = {"configurable": {"thread_id": "1"}, "recursion_limit": 16}


def handed_over(request: BaseMessage) -> list[BaseMessage]:
    """A request that is handed over to the worker."""
    call = AIMessage("", tool_calls=[{"name": HANDOFF, "args": {}, "id": "1"}])
    return [HumanMessage(request.text), call]


def told(messages: Sequence[BaseMessage]) -> str:
    """Say in a line what happened."""
    parts = []
    for message in messages:
        if isinstance(message, AIMessage):
            parts += [f"{call['name']}({', '.join(map(str, call['args'].values()))})" for call in message.tool_calls]
            parts += [repr(message.text.strip())] if message.text.strip() else []
        elif isinstance(message, ToolMessage):
            parts.append(f"[{message.text[:60]}]")
    return " → ".join(parts)


def fitted(lm: LanguageModel, tools: Sequence[BaseTool]) -> tuple[ToolkenChat, ToolkenChat]:
    """The worker, with toolkens for the tools, and the one who hands over."""
    settings: Any = {"card": DEFAULT_FORM}
    own = fit(lm, tools, [*TOLD, *PLAIN], **settings).toolkens
    requests = [example for chat in TOLD for example in chat[:1]]
    requests += [HumanMessage(line.partition(" -> ")[0].strip()) for tool in tools for line in examples(tool)]
    handing = ToolSpec(name=HANDOFF, description="Ask the worker.", json_schema={"type": "object", "properties": {}})
    over = fit(lm, [handing], [*map(handed_over, requests), *PLAIN], **settings).toolkens
    return ToolkenChat(model=lm, toolkens=own, max_tokens=48), ToolkenChat(model=lm, toolkens=over, max_tokens=48)


def examples(tool: BaseTool) -> list[str]:
    """The lines of a docstring's examples."""
    return [line for line in (tool.func.__doc__ or "").splitlines() if " -> " in line]  # type: ignore[attr-defined]


def main(
    model: Annotated[str, typer.Option(help="The LM, with a chat template: a folder, a .gguf file or a Hub id.")],
    dtype: Annotated[str | None, typer.Option(help="The weights' dtype. Default: float32 on a CPU.")] = None,
    questions: Annotated[int, typer.Option(help="How many requests, at most 8.")] = 4,
    agents: Annotated[str, typer.Option(help="Only agents whose name has this in it.")] = "",
) -> None:
    """Ask each request through each kind of agent."""
    warnings.simplefilter("ignore")
    tools = load_tools("langchain_toolken.cli.everyday_tools")
    llm, boss = fitted(load_language_model(model, dtype=dtype), tools)

    def chain(asked: Any) -> list[BaseMessage]:
        prompt = ChatPromptTemplate.from_messages([("placeholder", "{messages}")])
        return [(prompt | llm.bind_tools(tools)).invoke(asked)]

    def agent(asked: Any) -> list[BaseMessage]:
        return create_agent(llm, tools).invoke(asked, SETTINGS)["messages"][1:]

    def react(asked: Any) -> list[BaseMessage]:
        return create_react_agent(llm, tools).invoke(asked, SETTINGS)["messages"][1:]

    def steps(asked: Any) -> list[BaseMessage]:
        return create_toolken_agent(llm, tools).invoke(asked, SETTINGS)["messages"][1:]

    def supervisor(asked: Any) -> list[BaseMessage]:
        from langgraph_supervisor import create_supervisor

        worker = create_toolken_agent(llm, tools, name="worker")
        graph = create_supervisor([worker], model=boss, output_mode="full_history").compile()
        return graph.invoke(asked, SETTINGS)["messages"][1:]

    def swarm(asked: Any) -> list[BaseMessage]:
        from langgraph_swarm import create_handoff_tool, create_swarm

        over = create_handoff_tool(agent_name="worker", description="Ask the worker.")
        front = create_toolken_agent(boss, [over], name="front")
        graph = create_swarm(
            [front, create_toolken_agent(llm, tools, name="worker")], default_active_agent="front"
        ).compile(checkpointer=InMemorySaver())
        return graph.invoke(asked, SETTINGS)["messages"][1:]

    def deep(asked: Any) -> list[BaseMessage]:
        from deepagents import create_deep_agent

        return create_deep_agent(llm, tools=tools).invoke(asked, SETTINGS)["messages"][1:]

    ways: dict[str, Callable[[Any], list[BaseMessage]]] = {
        "prompt | llm.bind_tools": chain,
        "create_agent": agent,
        "create_react_agent": react,
        "create_toolken_agent": steps,
        "langgraph-supervisor": supervisor,
        "langgraph-swarm": swarm,
        "deepagents": deep,
    }
    table = Table("agent", "seconds", "request and what happened", show_lines=True)
    for name, way in ways.items():
        if agents not in name:
            continue
        lines, began = [], time.perf_counter()
        for request in REQUESTS[:questions]:
            try:
                found = told(way({"messages": [HumanMessage(request.text)]}))
            except Exception as error:  # noqa: BLE001 - what fails is what this is to show
                found = f"{type(error).__name__}: {str(error)[:200]}"
            lines.append(f"{request.text} → {found}")
        table.add_row(name, f"{time.perf_counter() - began:.0f}", "\n".join(lines))
    Console(width=160).print(table, markup=False)


if __name__ == "__main__":
    typer.run(main)
