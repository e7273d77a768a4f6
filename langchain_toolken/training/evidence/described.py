"""The states of descriptions that are put to the LM as requests (`toolkens.described`)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from langchain_core.messages import HumanMessage

from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.progress import Progress
from langchain_toolken.prompts.format import Style
from langchain_toolken.toolkens.described import Described, wordings
from langchain_toolken.tools.spec import ToolSpec
from langchain_toolken.training.demonstrations.demonstration import DemonstratedCall, Demonstration
from langchain_toolken.training.features.compute import compute_features


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
    requests = [as_request(said, specs[number].name, style) for number, said in wordings(specs)]
    names = [spec.name for spec in specs]
    facts = [lm.weights_fingerprint, lm.tokenizer_fingerprint, style, names, [repr(one) for one in requests]]
    made_by = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    place = None if folder is None else Path(folder) / "described" / made_by[:12]
    features = compute_features(lm, requests, names, style, folder=place, progress=progress)
    calls = (features.target >= 0).nonzero()[:, 0]
    calls = calls[features.demonstration[calls].argsort()]
    assert features.requests is not None
    return Described(features.hidden[calls], features.requests[features.demonstration[calls]], features.target[calls])


def as_request(said: str, tool: str, style: Style) -> Demonstration:
    """Lay out what somebody asks, with a call of the tool straight after it."""
    if style == "completion":
        text = f"Q: {said}\nA: "
        return Demonstration(text=text, calls=(DemonstratedCall(start=len(text), tool=tool),))
    return Demonstration(text="", calls=(DemonstratedCall(start=0, tool=tool),), before=(HumanMessage(said),))
