"""`toolken chat`: talk to an LM that calls tools through toolkens."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from langchain_toolken.cli.errors import reported
from langchain_toolken.cli.options import AsJson, Model, ModelArg, parse_model_args
from langchain_toolken.cli.terminal import as_json as written
from langchain_toolken.cli.terminal import shown, terminal
from langchain_toolken.prompts.format import Reinjection, Style

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

    from langchain_toolken.tools.spec import ToolSpec


def chat(
    toolkens: Annotated[Path, typer.Option(help="Folder that `toolken fit` wrote.")],
    question: Annotated[str | None, typer.Argument(help="Answer this and exit. Default: start a conversation.")] = None,
    tools: Annotated[
        str | None,
        typer.Option(
            help="File or module with the tools to run; its code is executed. Default: you type each tool's result."
        ),
    ] = None,
    mcp: Annotated[
        Path | None, typer.Option(help="JSON file of MCP servers with the tools to run; commands in it are run.")
    ] = None,
    approve: Annotated[
        bool,
        typer.Option(
            "--approve", help="Ask before each call of a tool whose MCP server doesn't say that it destroys nothing."
        ),
    ] = False,
    model: Model = None,
    model_arg: ModelArg = None,
    style: Annotated[
        Style | None, typer.Option(help="Prompt style. Default: the style the toolkens were fitted in.")
    ] = None,
    reinjection: Annotated[
        Reinjection | None,
        typer.Option(
            help="Where a result goes: into the sentence (inline) or into a message of its own (turn). Default: as the "
            "toolkens were fitted."
        ),
    ] = None,
    system: Annotated[str | None, typer.Option(help="System prompt of the conversation.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Most tokens of an answer. Default: 256.")] = None,
    parallel: Annotated[
        bool | None,
        typer.Option(
            "--parallel/--one-call", help="Whether one answer may make several calls. Default: as ToolkenChat."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Talk to an LM that calls tools through toolkens. Tools run only if you name them with --tools or --mcp."""
    if as_json and question is None:
        raise typer.BadParameter("--json prints the answer to one question: give one")
    if question is not None and not question.strip():
        raise typer.BadParameter("the question is empty: ask something, or leave it out for a conversation")
    arguments = parse_model_args(model_arg, taken={"model"})
    console = terminal(stderr=as_json)
    with reported(), ExitStack() as connected:
        from langchain_core.messages import HumanMessage, SystemMessage
        from langgraph.checkpoint.memory import InMemorySaver

        from langchain_toolken.agents.agent import create_toolken_agent
        from langchain_toolken.chat.loaded_engine import LOADED_BY
        from langchain_toolken.chat.model import ToolkenChat
        from langchain_toolken.cli.agent_steps import show_run
        from langchain_toolken.cli.ask_person import ask_person
        from langchain_toolken.decoding.engine import PromptTooLongError
        from langchain_toolken.toolkens.set import ToolkenSet
        from langchain_toolken.tools.load import load_tools
        from langchain_toolken.tools.mcp import may_destroy
        from langchain_toolken.tools.mcp import mcp as connect

        loaded = ToolkenSet.load(toolkens)
        runnable = load_tools(tools) if tools else []
        if mcp is not None:
            runnable += connected.enter_context(connect(mcp))
        if not runnable:
            runnable = [_asking_tool(spec) for spec in loaded.specs]
        fields = {key: arguments.pop(key) for key in LOADED_BY if key in arguments}
        if max_tokens is not None:
            fields["max_tokens"] = max_tokens
        if parallel is not None:
            fields["parallel_tool_calls"] = parallel
        llm = ToolkenChat(
            model=model, toolkens=loaded, style=style, reinjection=reinjection, model_kwargs=arguments, **fields
        )
        # A checkpointer, because a run may stop to ask. The conversation itself is in `messages`.
        agent = create_toolken_agent(
            llm, runnable, approve=may_destroy if approve else None, checkpointer=InMemorySaver()
        )
        opening = [] if system is None else [SystemMessage(system)]
        messages: list[Any] = [*opening]
        asked = question
        if question is None:
            console.print(shown(f"{llm.engine.model_id}; Ctrl-C stops an answer", style="dim"))  # loads the LM
        while asked is not None or question is None:
            if asked is None:
                try:
                    asked = console.input("[bold]you[/bold] (empty line ends) ").strip()
                except EOFError:
                    break
                if not asked:
                    break
            try:
                state = show_run(agent, [*messages, HumanMessage(asked)], console, partial(ask_person, console))
            except PromptTooLongError as error:
                if question is not None:
                    raise
                console.print(shown(f"error: {error}; the conversation starts anew", style="bold red"), soft_wrap=True)
                messages, asked = [*opening], None
                continue
            except KeyboardInterrupt:
                if question is not None:
                    raise
                console.print(shown("\n  stopped: the question and what was said to it are left out", style="bold red"))
                asked = None
                continue
            messages = state["messages"]
            if state.get("ending") == "length":
                console.print(shown(f"  … cut off after {llm.max_tokens} tokens (--max-tokens)", style="dim"))
            if question is not None:
                if as_json:
                    print(written({"text": state.get("text", ""), "steps": state["steps"]}))
                break
            asked = None


def _asking_tool(spec: ToolSpec) -> BaseTool:
    """Make a tool that asks the user for its result, because a set of toolkens has descriptions of tools but no code.

    The tool interrupts the run with the call as text, so that the prompt appears in the main thread: tools run in
    worker threads, where Ctrl-C would not reach it.
    """
    from langchain_core.tools import StructuredTool, ToolException
    from langgraph.types import interrupt

    def ask(**arguments: Any) -> str:
        if not sys.stdin.isatty():
            raise ToolException(f"{spec.name} was called, but its code is unknown: name the tools' file with --tools")
        shown = ", ".join(f"{name}={written(value)}" for name, value in arguments.items())
        return str(interrupt(f"{spec.name}({shown})"))

    return StructuredTool(name=spec.name, description=spec.description, args_schema=spec.json_schema, func=ask)
