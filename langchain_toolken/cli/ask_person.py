"""What a person is asked in the terminal when a run stops: a tool's result, leave for a call, a server's question."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from langchain_toolken.cli.terminal import as_json, shown


def ask_person(console: Console, asked: Any) -> Any:
    """Ask for what a run needs to go on.

    Args:
        console: Where to ask.
        asked: The value of the interrupt: the text of a call whose result is needed; the calls to approve, as
            LangChain's `HumanInTheLoopMiddleware` writes them; or an MCP server's questions.

    Returns:
        What the run resumes with. Where nobody can answer, calls are not approved. A server's questions are declined:
        the terminal has no forms.
    """
    if not isinstance(asked, Mapping):
        return console.input(shown(f"  result of {asked}? ", style="green"))
    if "action_requests" in asked:
        return {"decisions": [_leave_for(console, request) for request in asked["action_requests"]]}
    for request in asked.get("requests", ()):
        console.print(shown(f"  declined: the server asks: {request.get('message')}", style="yellow"), soft_wrap=True)
    return {"responses": {request["key"]: {"action": "decline"} for request in asked.get("requests", ())}}


def _leave_for(console: Console, request: Mapping[str, Any]) -> dict[str, Any]:
    try:
        said = console.input(shown(f"  run {request['name']}({as_json(request['args'])})? [y/N] ", style="bold yellow"))
    except EOFError:
        return {"type": "reject", "message": "Nobody could be asked."}
    return {"type": "approve"} if said.strip().lower() in ("y", "yes") else {"type": "reject"}
