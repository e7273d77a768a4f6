"""`toolken serve`: an OpenAI-compatible server, and a page that shows what fires."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from langchain_toolken.cli.errors import reported
from langchain_toolken.cli.options import Model, ModelArg, parse_model_args
from langchain_toolken.cli.terminal import shown, terminal
from langchain_toolken.errors import ToolkenError
from langchain_toolken.prompts.format import Reinjection, Style

if TYPE_CHECKING:
    from langchain_toolken.serve.vllm_process import VllmProcess
    from langchain_toolken.toolkens.set import ToolkenSet

_NEEDED = ("fastapi", "uvicorn")


def serve(
    toolkens: Annotated[Path, typer.Option(help="Folder that `toolken fit` wrote.")],
    vllm_flags: Annotated[
        list[str] | None, typer.Argument(metavar="[-- FLAGS]", help="With --engine vllm: flags of vllm serve.")
    ] = None,
    engine: Annotated[
        Literal["local", "vllm"],
        typer.Option(help="What runs the LM: this process, or a vLLM server that is started beside it."),
    ] = "local",
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
    export_to: Annotated[
        Path | None, typer.Option(help="vLLM's checkpoint, made if it is missing. Default: TOOLKENS-exported.")
    ] = None,
    vllm_python: Annotated[
        str | None,
        typer.Option(
            envvar="TOOLKEN_VLLM_PYTHON",
            help="Python that has vLLM and the plugin. Default: that of `make vllm-env`, or this one.",
        ),
    ] = None,
    vllm_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="vLLM's own port, on the loopback. Default: a free one.")
    ] = None,
) -> None:
    """Serve an LM with toolkens to OpenAI's clients, and show on a page which tool fires, and why."""
    if engine == "local" and (vllm_flags or export_to or vllm_python or vllm_port):
        raise typer.BadParameter("--export-to, --vllm-python, --vllm-port and flags after -- need --engine vllm")
    arguments = parse_model_args(model_arg, taken={"model"})
    console = terminal(stderr=True)
    with reported():
        if missing := [package for package in _NEEDED if find_spec(package) is None]:
            raise ToolkenError(f"toolken serve needs {' and '.join(missing)}: pip install 'langchain-toolken[serve]'")
        from contextlib import ExitStack

        from langchain_toolken.chat.loaded_engine import LOADED_BY
        from langchain_toolken.chat.model import ToolkenChat
        from langchain_toolken.decoding.local.engine import LocalEngine
        from langchain_toolken.decoding.vllm.engine import VllmEngine
        from langchain_toolken.serve.app import make_app
        from langchain_toolken.serve.completions import Served, ToolPolicy
        from langchain_toolken.serve.run import run, token_for
        from langchain_toolken.toolkens.set import ToolkenSet
        from langchain_toolken.training.report.records import read_report

        loaded = ToolkenSet.load(toolkens)
        fields: dict[str, Any] = {key: arguments.pop(key) for key in LOADED_BY if key in arguments}
        if max_tokens is not None:
            fields["max_tokens"] = max_tokens
        with ExitStack() as stack:
            if engine == "vllm":
                folder = export_to or toolkens.with_name(f"{toolkens.resolve().name}-exported")
                process = _vllm(loaded, folder, model, arguments, vllm_python, vllm_port, vllm_flags or [])
                console.print(shown(f"starting vLLM (half a minute); its log: {process.log}"), soft_wrap=True)
                stack.enter_context(process)
                console.print(shown(f"vLLM: {process.base_url}"), soft_wrap=True)
                fields |= {"backend": "vllm", "base_url": process.base_url}
                arguments = {}
            chat = ToolkenChat(
                model=model,
                toolkens=loaded,
                style=style,
                reinjection=reinjection,
                max_batch_size=max_batch_size,
                model_kwargs=arguments,
                **fields,
            )
            # Toolkens of another LM are refused here, and not at the first request.
            if isinstance(chat.engine, LocalEngine):
                chat.engine.place(loaded, None)
            elif isinstance(chat.engine, VllmEngine):
                chat.engine.check(loaded)
            policy = ToolPolicy("grow" if new_tools else "refuse", "all" if bind_all else "none")
            report = read_report(toolkens)
            confusions = [] if report is None else report.confusions
            served = Served(chat, loaded, name or Path(chat.model).name, policy, confusions)
            secret = token_for(host, token)
            address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
            console.print(
                shown(f"{len(loaded)} tools on {served.model_id}: {address}/v1", style="bold"), soft_wrap=True
            )
            entry = f"/#token={secret}" if secret is not None and token is None else "/"
            console.print(shown(f"which tool fires, and why: {address}{entry}"), soft_wrap=True)
            if secret is not None and token is None:
                console.print(shown(f"token: {secret}"), soft_wrap=True)
            run(make_app(served, token=secret), host, port)


def _vllm(
    toolkens: ToolkenSet,
    folder: Path,
    model: str | None,
    arguments: dict[str, Any],
    python: str | None,
    port: int | None,
    flags: list[str],
) -> VllmProcess:
    """Return a vLLM server for the toolkens, which are exported if they are not yet."""
    from langchain_toolken.serve.vllm_process import VllmProcess, exported, vllm_python

    exported(toolkens, folder, model, **arguments)
    return VllmProcess(folder, python=python or vllm_python(), port=port, flags=flags)
