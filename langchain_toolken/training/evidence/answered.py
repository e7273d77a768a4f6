"""Requests whose call has its result already, made of demonstrations that end with a call.

The request still asks for its tool then, and only what follows a result shows that no call is due. Many demonstrations
end before that: a request and its call. So the fit appends results of its own making, and reads how sure of a call the
gate is there: a call is made after a result only where it is surer (`evidence.gate`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.prompts.format import Style
from langchain_toolken.toolkens.described import wordings
from langchain_toolken.tools.spec import ToolSpec
from langchain_toolken.training.demonstrations.demonstration import DemonstratedCall, Demonstration
from langchain_toolken.training.evidence.gate import LEAST_PLAIN
from langchain_toolken.training.features.compute import Features, compute_features
from langchain_toolken.training.options import FitOptions

# As many as say what one in twenty is; each costs reading a short chat.
_MOST = 24


def is_answered(demonstration: Demonstration) -> bool:
    """Tell whether a tool has answered since the user's last message."""
    before = demonstration.before
    asked = max((i for i, said in enumerate(before) if isinstance(said, HumanMessage)), default=-1)
    return any(isinstance(said, ToolMessage) for said in before[asked + 1 :])


def answered_calls(
    demonstrations: Sequence[Demonstration], specs: Sequence[ToolSpec], style: Style, options: FitOptions
) -> list[Demonstration]:
    """Make requests whose call was answered, from demonstrations and, where these are few, from descriptions.

    Returns:
        At most `_MOST`, from one end of the demonstrations to the other. None where the demonstrations say themselves
        what follows a result, with `LEAST_PLAIN` answers or a further call, or where results are put into the sentence.
    """
    later = [one for one in demonstrations if is_answered(one) and not one.parallel]
    shown = any(one.calls for one in later) or len(later) >= LEAST_PLAIN
    if style != "chat" or options.reinjection == "inline" or shown:
        return []
    calling = [
        one
        for one in demonstrations
        if len(one.calls) == 1 and one.before and isinstance(one.before[-1], HumanMessage) and not one.text.strip()
    ]
    every = max(1, len(calling) // _MOST)
    found = [_answered(one, number) for number, one in enumerate(calling[::every][:_MOST])]
    for place, said in wordings(specs)[: max(0, _MOST - len(found))]:
        call = DemonstratedCall(start=0, tool=specs[place].name)
        described = Demonstration(text="", calls=(call,), before=(HumanMessage(said),))
        found.append(_answered(described, len(found)))
    return found


def answered_features(
    lm: LanguageModel, answered: Sequence[Demonstration], style: Style, options: FitOptions
) -> Features | None:
    """Run the LM over what `answered_calls` made; kept in `answered` of a features folder. None without any."""
    if not answered:
        return None
    facts = [lm.weights_fingerprint, lm.tokenizer_fingerprint, style, [repr(one) for one in answered]]
    made_by = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    place = None if options.features_dir is None else Path(options.features_dir) / "answered" / made_by[:12]
    return compute_features(lm, answered, (), style, folder=place, progress=options.progress)


def _answered(demonstration: Demonstration, number: int) -> Demonstration:
    """Append a result, and to every second one the result as the answer: no call follows inside of it either."""
    call = demonstration.calls[0]
    arguments = call.args if isinstance(call.args, dict) else {}
    made: Any = {"name": call.tool, "args": arguments, "id": "made"}
    result = _result(arguments, number)
    before = (*demonstration.before, AIMessage("", tool_calls=[made]), ToolMessage(result, tool_call_id="made"))
    return Demonstration(text=result if number % 2 else "", calls=(), before=before)


def _result(arguments: dict[str, Any], number: int) -> str:
    """Make a result: tools return a word, an object or a sentence with what they were called with."""
    values = ", ".join(map(str, arguments.values())) or "the result"
    written = json.dumps({"status": "ok", **arguments}, ensure_ascii=False, default=str)
    return ("Done.", f"{values}: 42", written, f"OK: {values}.")[number % 4]
