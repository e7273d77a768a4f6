"""create_toolken_agent: an agent as a LangGraph graph with the steps reason, complete, execute and reinject.

Use it to see or steer each step. Otherwise pass a ToolkenChat to any LangGraph agent, such as
`langchain.agents.create_agent`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from langchain.agents.structured_output import ProviderStrategy
from langchain_core.messages import SystemMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool
from langchain_core.tools import tool as make_tool
from langgraph.graph import END, START, StateGraph
from langgraph.prebuilt import ToolNode

from langchain_toolken.agents.hooks import HOOKS, Middleware, checked, describe, hooks, wrappers
from langchain_toolken.agents.nodes import Nodes, decoding
from langchain_toolken.agents.routes import Ways
from langchain_toolken.agents.state import ToolkenAgentState, merged
from langchain_toolken.chat.backtracing import validators_of
from langchain_toolken.chat.structured_output import AnswerForm
from langchain_toolken.tools.spec import tool_specs
from langchain_toolken.tools.time_limits import TimeLimits

if TYPE_CHECKING:
    from langgraph.graph.state import CompiledStateGraph
    from langgraph.store.base import BaseStore
    from langgraph.types import Checkpointer

    from langchain_toolken.chat.model import ToolkenChat

_STEPS_PER_CALL = 5


def create_toolken_agent(
    llm: ToolkenChat,
    tools: Sequence[BaseTool | Callable[..., Any]],
    *,
    max_calls: int = 16,
    token_budget: int | None = None,
    tool_timeout: float | Mapping[str, float] | None = None,
    approve: Callable[[BaseTool], bool] | None = None,
    system_prompt: str | SystemMessage | None = None,
    middleware: Sequence[Middleware] = (),
    response_format: type | dict[str, Any] | ProviderStrategy[Any] | None = None,
    state_schema: type[ToolkenAgentState] = ToolkenAgentState,
    context_schema: type[Any] | None = None,
    checkpointer: Checkpointer = None,
    store: BaseStore | None = None,
    interrupt_before: Sequence[str] = (),
    interrupt_after: Sequence[str] = (),
    name: str | None = None,
) -> CompiledStateGraph[Any, Any, Any, Any]:
    """Create an agent whose LM calls `tools` through toolkens.

    Invoke it with {"messages": [("user", "…")]}. The final state has the history in `messages`, the answer with results
    in place in `text`, and why the run ended in `ending`. `stream_mode="updates"` gives one update per step, under the
    node's name. "custom" gives the text as it is generated, as {"kind": "reason", "text": piece}, and thoughts as
    {"kind": "thought", ...}.

    If a tool raises an error, the run ends with an assistant message that names the tool, its arguments and the error.
    The LM would otherwise continue a sentence that lacks its number. Otherwise tools run as in
    `langchain.agents.create_agent`: `return_direct`, Commands, injected state and stores, and `ToolRuntime`.

    Args:
        llm: The model; `bind_tools` is not needed.
        tools: LangChain tools, or typed functions with a docstring.
        max_calls: Most tool calls per user message. A run that needs more ends with a message that says so. 16 is more
            than the papers' longest questions take.
        token_budget: Most tokens that the LM writes per user message, in all its answers and calls together. A run that
            needs more ends with a message that says so.
        tool_timeout: Seconds that a call may take, for all tools or by name. One that takes longer ends the run as a
            tool that failed. A sync tool goes on in its thread.
        approve: Says which tools a person is asked about before each call; `tools.mcp.may_destroy` names those of MCP
            servers that may destroy something. The run then stops with an interrupt, whose value and answer are those
            of LangChain's `HumanInTheLoopMiddleware` (approve, edit, reject). It needs a checkpointer.
        system_prompt: What the LM reads before the messages. It is not kept in the state.
        middleware: LangChain's agent middleware: its tools, its state, its hooks before and after the agent and before
            and after the model, which are reason and complete together, and its wrappers of tool calls, such as
            `ToolRetryMiddleware`'s. Not what wraps the model call.
        response_format: The form of a structured answer: a pydantic model, a TypedDict or a JSON schema with a title.
            When the answer is complete, the LM says it again in this form, in a node "respond"; it is in the state's
            `structured_response`, as `create_agent` has it.
        state_schema: An extension of `ToolkenAgentState`, for tools that read or write further keys.
        context_schema: The type of the run's context.
        checkpointer: A LangGraph checkpointer.
        store: A LangGraph store, for memory across threads.
        interrupt_before: Nodes to stop before: "reason", "complete", "approve" (if there is an `approve`),
            "execute", "reinject", "respond" (if there is a `response_format`), and those of middleware, such as
            "SummarizationMiddleware.before_model".
        interrupt_after: Nodes to stop after.
        name: The graph's name, by which a supervisor knows the agent. The LM's messages carry it too.

    Raises:
        ToolError: Two tools have the same name, or one has no description.
        ValueError: max_calls or token_budget is less than 1, or a time limit is not more than 0; middleware wraps the
            model call; or the form is that of no object.
    """
    if max_calls < 1:
        raise ValueError(f"max_calls must be at least 1, not {max_calls}.")
    if token_budget is not None and token_budget < 1:
        raise ValueError(f"token_budget must be at least 1, not {token_budget}.")
    limits = TimeLimits(tool_timeout)
    given = [*tools, *(tool for one in checked(middleware) for tool in getattr(one, "tools", ()))]
    runnable = [made if isinstance(made, BaseTool) else make_tool(made) for made in given]
    nodes = Nodes(
        llm=llm,
        tools={made.name: made for made in runnable},
        specs=tool_specs(runnable),
        validators=validators_of(runnable),
        direct=frozenset(made.name for made in runnable if made.return_direct),
        max_calls=max_calls,
        token_budget=token_budget,
        instructions=SystemMessage(system_prompt) if isinstance(system_prompt, str) else system_prompt,
        approve=approve,
        form=None if response_format is None else _form_of(response_format),
        name=name,
    )
    wrap, awrap = wrappers(middleware, (limits.run, limits.arun))
    execute = ToolNode(runnable, handle_tool_errors=describe, wrap_tool_call=wrap, awrap_tool_call=awrap)
    schemas = [*(one.state_schema for one in middleware), state_schema]
    graph: StateGraph[Any, Any, Any, Any] = StateGraph(
        merged("ToolkenAgentState", schemas),
        context_schema=context_schema,
        input_schema=merged("ToolkenAgentInput", schemas, "input"),
        output_schema=merged("ToolkenAgentOutput", schemas, "output"),
    )
    before_agent, before_model, after_model, after_agent = (hooks(middleware, each) for each in HOOKS)
    ways = Ways(
        model=next(iter(before_model), "reason"),
        hook=next(iter(after_model), None),
        called="execute" if approve is None else "approve",
        answered="respond" if nodes.form is not None else None,
        out=next(iter(after_agent), END),
    )
    graph.add_node("reason", decoding(nodes.reason))
    graph.add_node("complete", decoding(nodes.complete))
    graph.add_node("execute", execute)
    graph.add_node("reinject", nodes.reinject)
    for hook, node in {**before_agent, **before_model, **after_model, **after_agent}.items():
        graph.add_node(hook, node)
    for row in ([*before_agent, ways.model], [*before_model, "reason"], [*after_model], [*after_agent, END]):
        for hook, following in pairwise(row):
            graph.add_conditional_edges(hook, partial(ways.after_hook, following=following), [following, *ways.all])
    graph.add_edge(START, next(iter(before_agent), ways.model))
    graph.add_conditional_edges("reason", ways.after_reason, ["complete", *ways.all])
    graph.add_conditional_edges("complete", ways.after_complete, ways.all)
    if after_model:
        graph.add_conditional_edges([*after_model][-1], ways.after_model, ways.all)
    if approve is not None:
        graph.add_node("approve", nodes.ask)
        graph.add_conditional_edges("approve", ways.after_leave, ways.all)
    graph.add_edge("execute", "reinject")
    graph.add_conditional_edges("reinject", ways.after_results, [ways.model, ways.out])
    if nodes.form is not None:
        graph.add_node("respond", decoding(nodes.respond))
        graph.add_edge("respond", ways.out)
    compiled = graph.compile(
        checkpointer=checkpointer,
        store=store,
        interrupt_before=list(interrupt_before),
        interrupt_after=list(interrupt_after),
        name=name or "toolken_agent",
    )
    # LangGraph's own limit counts nodes and could end a run before max_calls does.
    per_call = _STEPS_PER_CALL + len(before_model) + len(after_model)
    limit = per_call * (max_calls + 2) + len(before_agent) + len(after_agent)
    limited = RunnableConfig(recursion_limit=limit)
    return compiled.with_config({**limited, "metadata": {"lc_agent_name": name}} if name else limited)


def _form_of(response_format: type | dict[str, Any] | ProviderStrategy[Any]) -> AnswerForm:
    given = response_format.schema if isinstance(response_format, ProviderStrategy) else response_format
    return AnswerForm.of(given)
