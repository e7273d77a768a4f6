"""Requests that need no tool, answered by the LM at hand: what a fit learns from of when not to call.

A set of demonstrations seldom says what a plain question looks like. So the package brings a few hundred of them
(`toolkens.plain_requests`). Whether to call is decided where an answer begins, so most of them are run to there only;
the LM answers every fifth with a few words, which shows that no call follows inside of an answer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from langchain_core.messages import HumanMessage
from pydantic import BaseModel, ValidationError

from langchain_toolken.decoding.engine import DecodingRequest, Sampling
from langchain_toolken.decoding.local.engine import local_engine
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.progress import Progress
from langchain_toolken.prompts.format import ANSWER, PromptFormat, Style
from langchain_toolken.prompts.messages import render
from langchain_toolken.toolkens.plain_requests import package_requests
from langchain_toolken.training.demonstrations.demonstration import Demonstration, DemonstrationError
from langchain_toolken.training.features.compute import Features, compute_features

Negatives = Literal["default", "none"] | Path

_ANSWER_TOKENS = 20
_ANSWERED = 5  # every fifth request: answering takes most of the time
_BATCH = 32


class _Answers(BaseModel):
    """What is kept in a features folder, so that the LM answers once."""

    made_by: str
    answers: list[str]


def plain_requests(negatives: Negatives, *, longer: bool = False) -> list[str]:
    """Read the requests, one a line.

    Args:
        negatives: "default" for the package's, "none" for none, or a text file of your own.
        longer: Whether those of the package that tell of somebody's situation, or hold a text, are there too. Against
            requests of users they show best what needs no tool. Mere descriptions of tools are further from all
            requests, and with these among the plain ones a user's requests would be too.

    Raises:
        DemonstrationError: The file can't be read, or holds no line.
    """
    if negatives == "none":
        return []
    if negatives == "default":
        return package_requests(longer=longer)
    try:
        content = Path(negatives).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DemonstrationError(
            f"{negatives}: can't be read ({error}); negatives are a UTF-8 text file with one request a line"
        ) from error
    requests = [line.strip() for line in content.splitlines() if line.strip()]
    if not requests:
        raise DemonstrationError(f"{negatives}: holds no request; write one a line, or use 'none'")
    return requests


def answered(lm: LanguageModel, requests: Sequence[str], style: Style, progress: Progress | None = None) -> list[str]:
    """Let the LM answer each request with at most 20 tokens, greedily."""
    engine = local_engine(lm, max_batch_size=_BATCH)
    layout = PromptFormat(style)
    prompts = [render(lm.tokenizer, [HumanMessage(request)], layout) for request in requests]
    order = sorted(range(len(prompts)), key=lambda place: len(prompts[place]))
    how = DecodingRequest(Sampling(max_tokens=_ANSWER_TOKENS), stop=layout.stop)
    answers = [""] * len(requests)
    if progress is not None:
        progress(0, len(order), "answer plain requests")
    for start in range(0, len(order), _BATCH):
        part = order[start : start + _BATCH]
        for place, reasoning in zip(part, engine.reason([prompts[place] for place in part], how), strict=True):
            answers[place] = reasoning.text.strip()
        if progress is not None:
            progress(min(start + _BATCH, len(order)), len(order), "answer plain requests")
    return answers


def negative_features(
    lm: LanguageModel,
    negatives: Negatives,
    style: Style,
    *,
    longer: bool = False,
    folder: str | Path | None = None,
    progress: Progress | None = None,
) -> Features | None:
    """Run the LM over the plain requests, and its answers to some of them.

    Args:
        lm: The LM.
        negatives: Which requests; see `plain_requests`.
        longer: See `plain_requests`.
        style: How they are laid out.
        folder: A features folder, in which the answers and the features are kept in `negatives`.
        progress: Called with (done, total, what).

    Returns:
        Features without calls; None without requests.
    """
    requests = plain_requests(negatives, longer=longer)
    if not requests:
        return None
    place = None if folder is None else Path(folder) / "negatives"
    facts = [lm.weights_fingerprint, lm.tokenizer_fingerprint, style, requests, _ANSWER_TOKENS, _ANSWERED]
    made_by = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    answers = None if place is None else _kept(place / "answers.json", made_by)
    if answers is None:
        answers = [""] * len(requests)
        answers[::_ANSWERED] = answered(lm, requests[::_ANSWERED], style, progress)
        if place is not None:
            place.mkdir(parents=True, exist_ok=True)
            content = _Answers(made_by=made_by, answers=answers).model_dump_json(indent=1)
            (place / "answers.json").write_text(content, encoding="utf-8")
    demonstrations = [_demonstration(*pair, style) for pair in zip(requests, answers, strict=True)]
    store = None if place is None else place / made_by[:12]
    features = compute_features(lm, demonstrations, (), style, folder=store, progress=progress)
    return replace(features, hidden=features.hidden[:])


def _demonstration(request: str, answer: str, style: Style) -> Demonstration:
    if style == "completion":
        return Demonstration(text=f"Q: {request}{ANSWER} {answer}", calls=())
    return Demonstration(text=answer, calls=(), before=(HumanMessage(request),))


def _kept(file: Path, made_by: str) -> list[str] | None:
    """Return the answers in the file; None if there are none, or those of another LM or of other requests."""
    try:
        kept = _Answers.model_validate_json(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError):
        return None
    return kept.answers if kept.made_by == made_by else None
