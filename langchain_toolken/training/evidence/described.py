"""What descriptions say of the requests for their tools: each is put to the LM as a question.

"Get the weather in a city." becomes "Can you get the weather in a city?", laid out as a user's request. Its states are
a demonstration that every tool has: of when to call, where there are few others, and of which tool a request is for.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from langchain_core.messages import HumanMessage
from torch import Tensor

from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.progress import Progress
from langchain_toolken.prompts.format import Style
from langchain_toolken.toolkens.priors import name_words
from langchain_toolken.tools.spec import ToolSpec
from langchain_toolken.training.demonstrations.demonstration import DemonstratedCall, Demonstration
from langchain_toolken.training.features.compute import compute_features

# As many requests are made of the descriptions, if the wordings suffice: requests come in many forms, and a gate that
# has seen a few of one form takes the form for the request.
_ENOUGH = 60
_WORDINGS = ("Can you {}?", "{}", "please {}", "{} for me", "I want to {}")
# A request is short; what follows in a long description is about arguments and results.
_MOST_CHARACTERS = 300
_THIRD_PERSON = re.compile("[A-Z][a-z]+s")


@dataclass(frozen=True, eq=False)
class Described:
    """The states of n requests that were made of the descriptions of K tools, n at least K.

    Attributes:
        states: (n, d), the hidden states where the tool would be called.
        requests: (n, d), the requests' mean states.
        tool: (n,) int64.
    """

    states: Tensor
    requests: Tensor
    tool: Tensor

    def means(self, tools: int) -> Described:
        """Return one request for each of K tools: the mean of its wordings."""
        count = torch.bincount(self.tool, minlength=tools)[:, None]

        def mean(rows: Tensor) -> Tensor:
            sums = torch.zeros(tools, rows.shape[1]).index_add(0, self.tool, rows)
            # A description that did not fit the LM says nothing: it counts as the average.
            return torch.where(count > 0, sums / count.clamp_min(1), rows.mean(dim=0))

        return Described(mean(self.states), mean(self.requests), torch.arange(tools))


def task_of(spec: ToolSpec) -> str:
    """Word what a tool does as one would ask for it: "Sends a mail to a friend." is "send a mail to a friend".

    The form is English; a description in another language is left as it is.
    """
    said = " ".join(spec.description.strip().split("\n\n")[0].split())[:_MOST_CHARACTERS].rstrip(".!? ")
    first, _, rest = said.partition(" ")
    if not rest:
        return said or name_words(spec.name)
    if _THIRD_PERSON.fullmatch(first) and not first.endswith("ss"):
        ending = next((end for end in ("ies", "ches", "shes", "xes", "sses", "s") if first.endswith(end)), "")
        first = first[:-3] + "y" if ending == "ies" else first[: -2 if len(ending) > 1 else -1]
    # An acronym keeps its capitals.
    first = first[0].lower() + first[1:] if first[1:] == first[1:].lower() else first
    return f"{first} {rest}"


def described_states(
    lm: LanguageModel,
    specs: Sequence[ToolSpec],
    style: Style,
    *,
    folder: str | Path | None = None,
    progress: Progress | None = None,
) -> Described:
    """Run the LM over each tool's description as a request; over up to five wordings of it if the tools are few.

    Args:
        lm: The LM.
        specs: The K tools.
        style: How requests are laid out.
        folder: A features folder, in which they are kept in `described`.
        progress: Called with (done, total, what).
    """
    wordings = _WORDINGS[: max(1, -(-_ENOUGH // len(specs)))]
    requests = [_as_request(wording.format(task_of(spec)), spec.name, style) for wording in wordings for spec in specs]
    names = [spec.name for spec in specs]
    facts = [lm.weights_fingerprint, lm.tokenizer_fingerprint, style, names, [repr(one) for one in requests]]
    made_by = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    place = None if folder is None else Path(folder) / "described" / made_by[:12]
    features = compute_features(lm, requests, names, style, folder=place, progress=progress)
    calls = (features.target >= 0).nonzero()[:, 0]
    calls = calls[features.demonstration[calls].argsort()]
    assert features.requests is not None
    return Described(features.hidden[calls], features.requests[features.demonstration[calls]], features.target[calls])


def _as_request(said: str, tool: str, style: Style) -> Demonstration:
    if style == "completion":
        text = f"Q: {said}\nA: "
        return Demonstration(text=text, calls=(DemonstratedCall(start=len(text), tool=tool),))
    return Demonstration(text="", calls=(DemonstratedCall(start=0, tool=tool),), before=(HumanMessage(said),))
