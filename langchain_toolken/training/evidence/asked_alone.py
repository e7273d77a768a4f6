"""Held-out calls as a set will be asked for them: the question of a text alone, laid out in the set's style.

Texts that are not laid out as questions and answers ("Who owns Nike? The owner of Nike is Mark.") show the toolkens
places that no prompt ends at, and there they are surer than anywhere else. How much they count beside the words of the
request is therefore judged on the questions alone too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from langchain_toolken.lm.head import toolken_logits
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.prompts.format import Style
from langchain_toolken.prompts.requests import question_of
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.training.demonstrations.demonstration import Demonstration
from langchain_toolken.training.evidence.described import as_request
from langchain_toolken.training.evidence.which import FIRST_FOLD, Calls
from langchain_toolken.training.features.compute import compute_features
from langchain_toolken.training.selection import LEAST_JUDGED

# A question is a pass of the LM over its tokens; weights of a handful of sources need no more.
_MOST_ASKED = 300
_QUESTION = re.compile(r".*[?？؟]", re.DOTALL)


def question_alone(demonstration: Demonstration) -> str | None:
    """Return what is before a text's first call up to its last question mark.

    None for texts without a question, and for those that are laid out as they will be asked.
    """
    if demonstration.before or not demonstration.calls or question_of(demonstration.text) is not None:
        return None
    found = _QUESTION.match(demonstration.text[: min(call.start for call in demonstration.calls)])
    return None if found is None or not found[0].strip(" ?？؟") else found[0]


def asked_alone(
    lm: LanguageModel,
    demonstrations: Sequence[Demonstration],
    calls: Calls,
    toolkens: ToolkenSet,
    rows: Tensor,
    style: Style,
    seed: int = 0,
) -> Calls | None:
    """Ask for held-out calls with their questions alone.

    Args:
        lm: The LM.
        demonstrations: The demonstrations that the calls are from.
        calls: The calls.
        toolkens: The set.
        rows: (K, d), fitted without the first fold.
        style: How requests are laid out.
        seed: Draws the calls if there are very many.

    Returns:
        The calls with what the LM makes of the questions, and their logits by `rows`; None for too few to judge by.
    """
    questions: dict[int, str] = {}
    places = []
    for place in (calls.judgeable & (calls.fold == FIRST_FOLD)).nonzero()[:, 0].tolist():
        number = int(calls.demonstration[place])
        question = None if number in questions else question_alone(demonstrations[number])
        if question is not None:
            questions[number] = question
            places.append(place)
    if len(places) < LEAST_JUDGED:
        return None
    drawn = torch.randperm(len(places), generator=torch.Generator().manual_seed(seed))[:_MOST_ASKED].sort().values
    kept = torch.tensor(places)[drawn]
    of = calls.subset(torch.zeros(len(calls), dtype=torch.bool).index_fill(0, kept, True))
    texts = tuple(questions[number] for number in of.demonstration.tolist())
    requests = [
        as_request(text, toolkens.names[tool], style) for text, tool in zip(texts, of.tool.tolist(), strict=True)
    ]
    features = compute_features(lm, requests, toolkens.names, style)
    at = (features.target >= 0).nonzero()[:, 0]
    at = at[features.demonstration[at].argsort()]
    if len(at) < len(texts):  # one that is too long for the LM
        return None
    return replace(
        of,
        texts=texts,
        request=None if features.requests is None else features.requests[features.demonstration[at]],
        logits=toolken_logits(features.hidden[at], rows, toolkens.biases),
        embedded=None if of.embedded is None else of.embedded.others(texts),
    )
