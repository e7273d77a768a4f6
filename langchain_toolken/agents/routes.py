"""Which node of an agent's graph comes next."""

from __future__ import annotations

from dataclasses import dataclass

from langgraph.types import Send

from langchain_toolken.agents.state import ToolkenAgentState
from langchain_toolken.chat.history import pending_calls


@dataclass(frozen=True)
class Ways:
    """Where a run goes on.

    Attributes:
        model: To the LM: the first hook before the model, or reason.
        hook: After the LM: the first hook after the model, or None.
        called: With calls to execute: approve or execute.
        answered: With a complete answer: respond, or None where that is the end.
        out: To the end: the first hook after the agent, or END.
    """

    model: str
    hook: str | None
    called: str
    answered: str | None
    out: str

    @property
    def all(self) -> list[str]:
        """All nodes that may come after the LM's or a hook's."""
        found = [self.model, self.hook, self.called, "execute", "reinject", self.answered, self.out]
        return list(dict.fromkeys(each for each in found if each is not None))

    def after_reason(self, state: ToolkenAgentState) -> str | list[Send]:
        """Go on to the call's arguments, or with what the LM answered."""
        return "complete" if state.get("reasoning") is not None else self.after_complete(state)

    def after_complete(self, state: ToolkenAgentState) -> str | list[Send]:
        """Go on to the hooks after the model, or where these would."""
        return self.hook or self.after_model(state)

    def after_model(self, state: ToolkenAgentState) -> str | list[Send]:
        """Go on where the last hook says; to the calls that have no result yet; or to the end."""
        if state.get("jump_to"):
            return self.after_hook(state, self.out)
        message, pending = pending_calls(state["messages"])
        if pending:
            return self._to_calls(state) if self.called == "execute" else self.called
        if message is not None and message.tool_calls:  # middleware answered all of them
            return "reinject"
        return self.answered if self.answered is not None and state.get("ending") == "answered" else self.out

    def after_hook(self, state: ToolkenAgentState, following: str) -> str:
        """Go on where the hook says, or to what follows it."""
        jump = state.get("jump_to")
        return following if jump is None else {"model": self.model, "tools": self.called, "end": self.out}[jump]

    def after_leave(self, state: ToolkenAgentState) -> str | list[Send]:
        """Execute the calls, or end the run where a person refused one."""
        return self.out if state.get("ending") is not None else self._to_calls(state)

    def after_results(self, state: ToolkenAgentState) -> str:
        """Go on with the LM, or end the run."""
        return self.model if state.get("ending") is None else self.out

    def _to_calls(self, state: ToolkenAgentState) -> str | list[Send]:
        """Execute all calls in one node, whose arguments can be edited before; or only those without a result."""
        message, pending = pending_calls(state["messages"])
        if message is None or len(pending) == len(message.tool_calls):
            return "execute"
        return [Send("execute", [call]) for call in pending]
