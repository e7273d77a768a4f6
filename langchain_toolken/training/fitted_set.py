"""What a fit ends in: its rows made a `ToolkenSet`, calibrated on held-out logits, and given to every process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.prompts.format import Style
from langchain_toolken.toolkens.set import Calibration, Provenance, ToolkenSet
from langchain_toolken.tools.spec import ToolSpec
from langchain_toolken.training.calibration import BiasChoice, TemperatureChoice, call_figures, choose_temperature
from langchain_toolken.training.features.compute import Features
from langchain_toolken.training.features.processes import Processes


def make_toolken_set(
    lm: LanguageModel,
    specs: Sequence[ToolSpec],
    matrix: Tensor,
    prior: Tensor,
    bias: float,
    style: Style,
    prior_kind: str,
    lam: float | None,
    demonstrations: int,
    features: Features | None,
) -> ToolkenSet:
    """The set of rows `matrix` (K, d) that were pulled to `prior` (K, d), without a calibration.

    bias: that they were fitted with. prior_kind, lam, demonstrations: for the provenance. features: what was fitted on;
    None where the rows are the priors.
    """
    return ToolkenSet(
        specs=tuple(specs),
        matrix=matrix.to(torch.float32).cpu(),
        prior=prior.to(torch.float32).cpu(),
        bias=bias,
        call_states=None if features is None else features.call_states(len(specs)),
        provenance=Provenance.of(
            lm.identity,
            style,
            prior_kind,
            lam=lam,
            demonstrations=demonstrations,
            tool_positions=features.tool_positions if features else 0,
            word_positions=features.word_positions if features else 0,
        ),
    )


def calibrate(
    toolkens: ToolkenSet, features: Features, logits: Tensor, choice: BiasChoice | None, cap: float | None
) -> tuple[ToolkenSet, TemperatureChoice]:
    """The set with the chosen biases and calibrated probabilities.

    features: N held-out positions. logits: (N, K) there, with the set's bias. choice: the biases; None keeps the set's
    own. cap: what was asked of the false calls, for the record.
    """
    chosen: float | Tensor = 0.0
    if choice is not None:
        chosen = choice.bias if choice.tool_biases is None else choice.tool_biases + choice.bias
    temperature = choose_temperature(features, logits, chosen)
    calls = call_figures(features, logits, chosen)
    calibration = Calibration(
        temperature=temperature.temperature,
        fitted_bias=toolkens.bias,
        ece_before=temperature.ece_before,
        ece_after=temperature.ece_after,
        f1=calls.f1,
        recall=calls.recall,
        false_call_rate=calls.false_call_rate,
        max_false_call_rate=cap,
    )
    if choice is not None:
        toolkens = replace(toolkens, bias=toolkens.bias + choice.bias, tool_biases=choice.tool_biases)
    return replace(toolkens, calibration=calibration), temperature


def share_toolkens(crew: Processes, toolkens: ToolkenSet | None = None) -> ToolkenSet:
    """The main process's toolkens, in every process; only it gives them."""
    if crew.count == 1 and toolkens is not None:
        return toolkens
    with TemporaryDirectory() as folder:
        made = Path(folder, "toolkens")
        if toolkens is not None:
            toolkens.save(made)
        names = sorted(file.name for file in made.iterdir()) if toolkens is not None else []
        made.mkdir(exist_ok=True)
        for name in crew.broadcast("\n".join(names).encode()).decode().split("\n"):
            content = (made / name).read_bytes() if toolkens is not None else b""
            (made / name).write_bytes(crew.broadcast(content))
        return ToolkenSet.load(made)
