"""`toolken serve`: an OpenAI-compatible server, and a page that shows what fires."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from langchain_toolken.cli.errors import reported
from langchain_toolken.cli.options import Model, ModelArg, parse_model_args
from langchain_toolken.cli.terminal import shown, terminal
from langchain_toolken.errors import ToolkenError
from langchain_toolken.prompts.format import Reinjection, Style

_NEEDED = ("fastapi", "uvicorn")


def serve(
    toolkens: Annotated[Path, typer.Option(help="Folder that `toolken fit` wrote.")],
    host: Annotated[
        str, typer.Option(help="Address to listen on. Others than this machine's own need a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 8000,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="TOOLKEN_API_KEY",
            help="What clients have to give as their API key. Default: none on the loopback, else a new one, printed.",
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="The model's name for clients. Default: the last part of the LM's name.")
    ] = None,
    model: Model = None,
    model_arg: ModelArg = None,
    style: Annotated[
        Style | None, typer.Option(help="Prompt style. Default: the style the toolkens were fitted in.")
    ] = None,
    reinjection: Annotated[
        Reinjection | None, typer.Option(help="Where a result goes. Default: as the toolkens were fitted.")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Most tokens of an answer that does not ask for another number.")
    ] = None,
    max_batch_size: Annotated[
        int | None, typer.Option(min=1, help="Most sequences that run through the LM together.")
    ] = None,
    new_tools: Annotated[
        bool,
        typer.Option("--new-tools", help="Make toolkens for a request's tools that have none, instead of an error."),
    ] = False,
    bind_all: Annotated[
        bool, typer.Option("--bind-all", help="Let requests without tools call every tool of the set.")
    ] = False,
) -> None:
    """Serve an LM with toolkens to OpenAI's clients, and show on a page which tool fires, and why."""
    arguments = parse_model_args(model_arg, taken={"model"})
    console = terminal(stderr=True)
    with reported():
        if missing := [package for package in _NEEDED if find_spec(package) is None]:
            raise ToolkenError(f"toolken serve needs {' and '.join(missing)}: pip install 'langchain-toolken[serve]'")
        from langchain_toolken.chat.loaded_engine import LOADED_BY
        from langchain_toolken.chat.model import ToolkenChat
        from langchain_toolken.decoding.local.engine import LocalEngine
        from langchain_toolken.serve.app import make_app
        from langchain_toolken.serve.completions import Served, ToolPolicy
        from langchain_toolken.serve.run import run, token_for
        from langchain_toolken.toolkens.set import ToolkenSet
        from langchain_toolken.training.report.records import read_report

        loaded = ToolkenSet.load(toolkens)
        fields = {key: arguments.pop(key) for key in LOADED_BY if key in arguments}
        if max_tokens is not None:
            fields["max_tokens"] = max_tokens
        chat = ToolkenChat(
            model=model,
            toolkens=loaded,
            style=style,
            reinjection=reinjection,
            max_batch_size=max_batch_size,
            model_kwargs=arguments,
            **fields,
        )
        engine = chat.engine
        assert isinstance(engine, LocalEngine)
        engine.place(loaded, None)  # toolkens of another LM are refused here, and not at the first request
        policy = ToolPolicy("grow" if new_tools else "refuse", "all" if bind_all else "none")
        report = read_report(toolkens)
        confusions = [] if report is None else report.confusions
        served = Served(chat, loaded, name or Path(chat.model).name, policy, confusions)
        secret = token_for(host, token)
        address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        console.print(shown(f"{len(loaded)} tools on {served.model_id}: {address}/v1", style="bold"), soft_wrap=True)
        entry = f"/#token={secret}" if secret is not None and token is None else "/"
        console.print(shown(f"which tool fires, and why: {address}{entry}"), soft_wrap=True)
        if secret is not None and token is None:
            console.print(shown(f"token: {secret}"), soft_wrap=True)
        run(make_app(served, token=secret), host, port)
