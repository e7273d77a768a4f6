"""What descriptions say of the requests for their tools: each is put to the LM as a question.

"Get the weather in a city." becomes "Can you get the weather in a city?", laid out as a user's request. Its states are
a demonstration that every tool has: of when to call, where there are few others, and of which tool a request is for.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from langchain_toolken.toolkens.priors import name_words
from langchain_toolken.tools.spec import ToolSpec

# As many requests are made of the descriptions, if the wordings suffice: requests come in many forms, and a gate that
# has seen a few of one form takes the form for the request.
_ENOUGH = 60
_WORDINGS = ("Can you {}?", "{}", "please {}", "{} for me", "I want to {}")
# A request is short; what follows in a long description is about arguments and results. Of very many tools less is
# read, which says as much of which tool: the LM's time grows with every word.
_MOST_CHARACTERS, _OF_MANY = 300, 80
_MANY_TOOLS = 200
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


def task_of(spec: ToolSpec, most: int = _MOST_CHARACTERS) -> str:
    """Word what a tool does as one would ask for it: "Sends a mail to a friend." is "send a mail to a friend".

    The form is English; a description in another language is left as it is. `most`: how many characters to read.
    """
    said = " ".join(spec.description.strip().split("\n\n")[0].split())
    said = (said if len(said) <= most else said[:most].rpartition(" ")[0] or said[:most]).rstrip(".!? ")
    first, _, rest = said.partition(" ")
    if not rest:
        return said or name_words(spec.name)
    if _THIRD_PERSON.fullmatch(first) and not first.endswith("ss"):
        ending = next((end for end in ("ies", "ches", "shes", "xes", "sses", "s") if first.endswith(end)), "")
        first = first[:-3] + "y" if ending == "ies" else first[: -2 if len(ending) > 1 else -1]
    # An acronym keeps its capitals.
    first = first[0].lower() + first[1:] if first[1:] == first[1:].lower() else first
    return f"{first} {rest}"


def wordings(specs: Sequence[ToolSpec]) -> list[tuple[int, str]]:
    """Put the description of each of K tools as requests: one, or up to five of them if the tools are few.

    Returns:
        The tools' numbers and the requests, one wording of all tools after the other.
    """
    chosen = _WORDINGS[: max(1, -(-_ENOUGH // len(specs)))]
    most = _MOST_CHARACTERS if len(specs) <= _MANY_TOOLS else _OF_MANY
    return [(number, wording.format(task_of(spec, most))) for wording in chosen for number, spec in enumerate(specs)]
