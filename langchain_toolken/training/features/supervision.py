"""Choose the positions of a demonstration that are learned from, and what should follow at each."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.progress import Progress
from langchain_toolken.prompts.format import Reinjection, Style
from langchain_toolken.training.demonstrations.demonstration import (
    Demonstration,
    DemonstrationError,
    DroppedRow,
    result_end,
)
from langchain_toolken.training.features.layout import RenderedDemonstration, render_answer, render_demonstration

# Demonstrations between two reports of progress.
_PROGRESS_EVERY = 200


@dataclass(frozen=True)
class Supervision:
    """One demonstration as token ids, and what is learned where.

    `positions`, `tools`, `words` and `weights` have the same length.

    Attributes:
        demonstration: Its index among the demonstrations, from 0.
        ids: Token ids, the LM's input and also the words that should follow.
        positions: Indices into `ids`: first those of calls, in order, then those of words, in order.
        tools: For each position, the index of the tool to call, or -1 if a word follows.
        words: For each position, the id of that word; 0 if a tool is called.
        weights: For each position, its importance weight (see `supervise`); 1 for calls.
        request: Where the tokens of its request start and stop in `ids`.
    """

    demonstration: int
    ids: tuple[int, ...]
    positions: tuple[int, ...]
    tools: tuple[int, ...]
    words: tuple[int, ...]
    weights: tuple[float, ...]
    request: tuple[int, int] = (0, 1)


def supervise(
    lm: LanguageModel,
    demonstrations: Sequence[Demonstration],
    tool_names: Sequence[str],
    style: Style,
    *,
    reinjection: Reinjection | None = None,
    negatives_per_demonstration: int | None = 64,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[list[Supervision], list[DroppedRow]]:
    """Lay out the demonstrations for the LM and choose the positions to learn from.

    Two kinds of positions are supervised: each call's (the last token that ends at or before its start) and, as
    examples of when not to call, those in the answer whose next token is a word. Positions whose next token is part of
    a tool's result are left out: the LM doesn't choose there, because the result is inserted.

    A demonstration longer than the LM's context is cut at its end if its calls still fit, and dropped otherwise.

    Args:
        lm: The LM.
        demonstrations: The demonstrations.
        tool_names: The tools; `Supervision.tools` holds indices into them.
        style: How the demonstrations are laid out.
        reinjection: Where tool results are in chat histories; see `layout.render_answer`.
        negatives_per_demonstration: Most word positions kept per demonstration. They are drawn without replacement, and
            weighted so that the expected objective is that of all positions. None: all.
        seed: Draws the word positions.
        progress: Called with (done, total, what).

    Returns:
        The demonstrations that can be learned from, and those that can't, with the reasons.

    Raises:
        DemonstrationError: There is nothing to supervise.
        ValueError: `negatives_per_demonstration` is below 1.
    """
    if negatives_per_demonstration is not None and negatives_per_demonstration < 1:
        raise ValueError(
            f"negatives_per_demonstration is {negatives_per_demonstration}; it must be at least 1, or None for all"
        )
    generator = torch.Generator().manual_seed(seed)
    index = {name: k for k, name in enumerate(tool_names)}
    found: list[Supervision] = []
    dropped: list[DroppedRow] = []
    for number, demonstration in enumerate(demonstrations):
        one = _supervise_one(
            lm, number, demonstration, index, style, reinjection, negatives_per_demonstration, generator
        )
        if isinstance(one, str):
            dropped.append(DroppedRow(demonstration.line or number + 1, one, demonstration.source))
        elif one.positions:
            found.append(one)
        if progress is not None and (number + 1) % _PROGRESS_EVERY == 0:
            progress(number + 1, len(demonstrations), "lay out demonstrations")
    if progress is not None and len(demonstrations) >= _PROGRESS_EVERY:
        progress(len(demonstrations), len(demonstrations), "lay out demonstrations")
    if not found:
        reasons = "; ".join(map(str, dropped[:3]))
        raise DemonstrationError(f"no demonstration has a position to learn from. {reasons}")
    return found, dropped


def fingerprint(supervisions: Sequence[Supervision]) -> str:
    """Return the sha256 of what the LM pass and the objective read of the demonstrations: ids, positions, targets."""
    digest = hashlib.sha256()
    for one in supervisions:
        digest.update(array("q", (one.demonstration, len(one.ids), len(one.positions), *one.request)).tobytes())
        for column in (one.ids, one.positions, one.tools, one.words):
            digest.update(array("q", column).tobytes())
        digest.update(array("d", one.weights).tobytes())
    return digest.hexdigest()


def _supervise_one(
    lm: LanguageModel,
    number: int,
    demonstration: Demonstration,
    index: dict[str, int],
    style: Style,
    reinjection: Reinjection | None,
    negatives: int | None,
    generator: torch.Generator,
) -> Supervision | str:
    """Return the supervision of one demonstration, or the reason why it can't be used."""
    starts = [call.start for call in demonstration.calls]
    rendered: RenderedDemonstration
    if demonstration.before:
        try:
            rendered = render_answer(lm.tokenizer, demonstration.before, demonstration.text, starts, style, reinjection)
        except ValueError as error:  # the template rejects this history; it may accept others
            return str(error)
    else:
        rendered = render_demonstration(lm.tokenizer, demonstration.text, starts, style)
    ids = list(rendered.ids)
    calls: list[tuple[int, int]] = []
    results: set[int] = set()
    for call, position in zip(demonstration.calls, rendered.call_positions, strict=True):
        if call.tool not in index:
            return f"no toolken for '{call.tool}'"
        end = result_end(demonstration.text, call)
        if end is None:
            return f"the result {call.result!r} of '{call.tool}' is not at start {call.start}"
        if position is None:
            return f"the call of '{call.tool}' at {call.start} is outside the answer"
        calls.append((position, index[call.tool]))
        # A token begins where the previous one ends, so the next token at `inside` is at least partly in the result.
        for inside in range(position, len(ids) - 1):
            before = rendered.ends[inside]
            if inside > position and (before is None or before >= end):
                break
            results.add(inside)

    if len(ids) > lm.context_length:
        if any(position >= lm.context_length for position, _ in calls):
            return (
                f"its {len(ids)} tokens exceed the LM's context of {lm.context_length}, and cutting would lose a call"
            )
        ids = ids[: lm.context_length]
    taken = results.union(position for position, _ in calls)
    candidates = [p for p in range(rendered.first_supervised, len(ids) - 1) if p not in taken]
    weight = 1.0
    kept = candidates
    if negatives is not None and len(candidates) > negatives:
        weight = len(candidates) / negatives
        kept = sorted(candidates[i] for i in torch.randperm(len(candidates), generator=generator)[:negatives].tolist())
    return Supervision(
        demonstration=number,
        ids=tuple(ids),
        positions=(*(p for p, _ in calls), *kept),
        tools=(*(k for _, k in calls), *(-1 for _ in kept)),
        words=(*(0 for _ in calls), *(ids[p + 1] for p in kept)),
        weights=(*(1.0 for _ in calls), *(weight for _ in kept)),
        request=(min(rendered.request[0], len(ids) - 1), min(rendered.request[1], len(ids))),
    )
