"""From fitted rows to a `ToolkenSet`: built, calibrated on held-out logits, and sent to every process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from langchain_toolken.disk.writing import writing
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.prompts.format import Reinjection, Style
from langchain_toolken.toolkens.provenance import Calibration, Provenance
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.tools.spec import ToolSpec
from langchain_toolken.training.calibration import BiasChoice, call_figures
from langchain_toolken.training.calibration_temperature import TemperatureChoice, choose_temperature
from langchain_toolken.training.features.compute import Features
from langchain_toolken.training.features.processes import Processes


def toolken_set(
    lm: LanguageModel,
    specs: Sequence[ToolSpec],
    matrix: Tensor,
    prior_rows: Tensor,
    *,
    bias: float,
    style: Style,
    reinjection: Reinjection | None,
    prior: str,
    lam: float | None = None,
    demonstrations: int = 0,
    features: Features | None = None,
    ends_answer: tuple[str, ...] = (),
    repeats_calls: bool = False,
    calls_after_words: bool = False,
) -> ToolkenSet:
    """Build the set of fitted rows, without a calibration.

    Args:
        lm: The LM.
        specs: The K tools.
        matrix: Their rows, (K, d).
        prior_rows: What the rows were pulled to, (K, d).
        bias: The bias that they were fitted with.
        style: The prompt style of the demonstrations.
        reinjection: How results are put back in them; None if they don't tell.
        prior: The prior's name, for the provenance, as are the next two.
        lam: λ; None for rows that were not fitted.
        demonstrations: How many were fitted on.
        features: What was fitted on; None for rows that are the priors.
        ends_answer: What ends an answer after a result; see `Provenance`, as for the next two.
        repeats_calls: Whether demonstrations repeat calls.
        calls_after_words: Whether they call after words of an answer.
    """
    return ToolkenSet(
        specs=tuple(specs),
        matrix=matrix.to(torch.float32).cpu(),
        prior=prior_rows.to(torch.float32).cpu(),
        bias=bias,
        call_states=None if features is None else features.call_states(len(specs)),
        provenance=Provenance.of(
            lm.identity,
            style,
            prior,
            lam=lam,
            demonstrations=demonstrations,
            tool_positions=features.tool_positions if features else 0,
            word_positions=features.word_positions if features else 0,
            reinjection=reinjection,
            ends_answer=ends_answer,
            repeats_calls=repeats_calls,
            calls_after_words=calls_after_words,
            backend=lm.backend,
            sketch=() if features is None else lm.sketch,
        ),
    )


def calibrate(
    toolkens: ToolkenSet, features: Features, logits: Tensor, choice: BiasChoice | None, cap: float | None
) -> tuple[ToolkenSet, TemperatureChoice]:
    """Give the set the chosen biases, and calibrate its probabilities.

    Args:
        toolkens: The set, with the bias that it was fitted with.
        features: N held-out positions.
        logits: Toolken logits there, (N, K), with the set's bias.
        choice: The biases to add; None keeps the set's own.
        cap: The cap on false calls that was asked for, for the record.
    """
    chosen = 0.0 if choice is None else choice.biases
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
    """Send the main process's toolkens to all processes; only the main one passes `toolkens`."""
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
            shared = crew.broadcast(content)
            with writing(made / name):
                (made / name).write_bytes(shared)
        return ToolkenSet.load(made)
