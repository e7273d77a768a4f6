"""A fit without demonstrations: toolkens of names and descriptions."""

from __future__ import annotations

from dataclasses import replace

from langchain_toolken.training.evidence.choose import EvidenceChoice
from langchain_toolken.training.evidence.untrained import untrained
from langchain_toolken.training.fit_warnings import warn, warn_of_dropped
from langchain_toolken.training.fitted_set import toolken_set
from langchain_toolken.training.options import FitOptions
from langchain_toolken.training.result import FitResult
from langchain_toolken.training.steps import Prepared, fit_result


def prior_toolkens(given: Prepared, options: FitOptions) -> FitResult:
    """Make toolkens of names and descriptions, with a warning: for a fit without demonstrations."""
    warn_of_dropped(given.gathered.dropped)
    warn("no demonstrations were given: these are prior toolkens, made from the tools' names or descriptions alone")
    made = untrained(given.lm, given.specs, given.priors, given.style, options)
    toolkens = toolken_set(
        given.lm,
        given.specs,
        made.rows,
        made.rows,
        bias=options.fitted_bias,
        style=given.style,
        reinjection=given.reinjection,
        prior=made.prior,
    )
    learned = EvidenceChoice(made.evidence, made.when)
    return fit_result(given.lm, replace(toolkens, evidence=made.evidence), given.gathered, learned=learned)
