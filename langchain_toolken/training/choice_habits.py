"""Take out which of a parameter's fixed choices the LM writes whatever is asked: "meals" for every expense.

A small LM has a habit among choices, and most requests don't overcome it. So the mean probability that it gives each
choice over the tool's demonstrated requests is divided out, up to how often the demonstrations have it: contextual
calibration (Zhao et al. 2021, arXiv 2102.09690), with demonstrated requests in place of empty ones. It is kept where it
finds the demonstrated choices likelier, each without its own request, over all parameters of a set together: one alone
has too few calls to tell.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor

from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.lm.states import next_word_logits
from langchain_toolken.progress import Progress
from langchain_toolken.prompts.call_cards import written_arguments
from langchain_toolken.prompts.content import encode_content
from langchain_toolken.toolkens.examples import ChoiceNats
from langchain_toolken.tools.schemas import fields_of
from langchain_toolken.tools.value_kinds import fixed_choices
from langchain_toolken.training.held_out_calls import HeldOutCall

_FEWEST = 3  # calls, with fewer of which nothing is learnt
_BATCH = 8


def choice_nats(
    lm: LanguageModel,
    calls: Sequence[tuple[HeldOutCall, Sequence[int]]],
    known: Mapping[str, Collection[str]] | None = None,
    progress: Progress | None = None,
) -> dict[str, ChoiceNats]:
    """Find what each tool's choices get, from the calls and the prompts that their arguments follow.

    Args:
        lm: The LM.
        calls: Calls of tools with fixed choices, each with its prompt up to the arguments.
        known: For each tool, parameters whose choice the request's own words tell, which are left out.
        progress: Called after each tool.

    Returns:
        By tool and parameter; {} where it does not help.
    """
    of_tool: dict[str, list[tuple[HeldOutCall, Sequence[int]]]] = {}
    for one, prompt in calls:
        of_tool.setdefault(one.spec.name, []).append((one, prompt))
    found: dict[str, ChoiceNats] = {}
    before = after = 0.0
    for done, (tool, own) in enumerate(of_tool.items(), start=1):
        for name, choices in fixed_choices(own[0][0].spec).items():
            made = [(one, prompt, at) for one, prompt in own if (at := _place(one, name, choices)) is not None]
            places = torch.tensor([at for *_, at in made])
            if len(made) < _FEWEST or len(places.unique()) < 2 or name in (known or {}).get(tool, ()):
                continue
            scores = _scores(lm, [(one, prompt) for one, prompt, _ in made], name, choices)
            if scores is None:
                continue
            rows = torch.arange(len(places))
            before += float(scores[rows, places].sum())
            after += float(torch.stack([_held_out(scores, places, row) for row in rows.tolist()])[rows, places].sum())
            nats = _nats(scores, places)
            found.setdefault(tool, {})[name] = dict(zip(choices, (nats - nats.min()).tolist(), strict=True))
        if progress is not None:
            progress(done, len(of_tool), "learn what the LM chooses whatever is asked")
    return found if after > before else {}


def _place(one: HeldOutCall, name: str, choices: Sequence[str]) -> int | None:
    """Return which choice a call makes, its default where it leaves the parameter out; None where there is neither."""
    field = fields_of(one.spec.json_schema, one.spec.json_schema).schemas.get(name)
    default = field.get("default") if isinstance(field, Mapping) else None
    value = json.dumps(one.example.arguments.get(name, default), ensure_ascii=False)
    return choices.index(value) if value in choices else None


def _scores(
    lm: LanguageModel, calls: Sequence[tuple[HeldOutCall, Sequence[int]]], name: str, choices: Sequence[str]
) -> Tensor | None:
    """Return the log-probability of each choice among all, (n, C), at the first token that tells them apart.

    None where two of them begin with the same one.
    """
    texts, columns = [], []
    for one, prompt in calls:
        names = list(fields_of(one.spec.json_schema, one.spec.json_schema).schemas)
        earlier = {n: one.example.arguments[n] for n in names[: names.index(name)] if n in one.example.arguments}
        lead = written_arguments(earlier)[:-1] + ("," if earlier else "") + f"{json.dumps(name, ensure_ascii=False)}:"
        written = [encode_content(lm.tokenizer, lead + choice, continued=True) for choice in choices]
        alike = next((at for at, ids in enumerate(zip(*written, strict=False)) if len(set(ids)) > 1), None)
        if alike is None or len({ids[alike] for ids in written}) < len(choices):
            return None
        texts.append([*prompt, *written[0][:alike]])
        columns.append([ids[alike] for ids in written])
    logits = [next_word_logits(lm, texts[start : start + _BATCH]) for start in range(0, len(texts), _BATCH)]
    return torch.cat(logits).float().gather(1, torch.tensor(columns)).log_softmax(dim=-1)


def _nats(scores: Tensor, places: Tensor) -> Tensor:
    """Return what is added to the scores (C,): how often each is made, over how likely it always is, in logs."""
    made = torch.bincount(places, minlength=scores.shape[1]).float() + 1
    return (made / made.sum()).log() - scores.exp().mean(dim=0).log()


def _held_out(scores: Tensor, places: Tensor, row: int) -> Tensor:
    """Return the log-probabilities (C,) of one call's choices, by what the other calls say."""
    others = torch.arange(len(places)) != row
    return (scores[row] + _nats(scores[others], places[others])).log_softmax(dim=-1)
