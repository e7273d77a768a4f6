"""Toolkens that were fitted on another backend than the one that uses them."""

from __future__ import annotations

import warnings

from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.lm.sketch import agreement
from langchain_toolken.toolkens.errors import ToolkenSetError, ToolkenSetWarning
from langchain_toolken.toolkens.provenance import Provenance

LEAST_AGREEMENT = 0.98
"""Mean cosine of the hidden states. Between llama.cpp with 4-bit weights and transformers with the same weights
unpacked it is 0.999."""


def check_backend(provenance: Provenance, lm: LanguageModel) -> None:
    """Compare the states that toolkens were fitted on with the LM's, if another backend made them.

    Raises:
        ToolkenSetError: They are too different. The message says how much.

    Warns:
        ToolkenSetWarning: They are another backend's; the message says how much they agree.
    """
    if provenance.backend == lm.backend or not provenance.sketch:
        return
    found = agreement(provenance.sketch, lm.sketch)
    fitted = (
        f"these toolkens were fitted on {provenance.backend} and are used on {lm.backend}: the hidden states agree "
    )
    if found < LEAST_AGREEMENT:
        raise ToolkenSetError(
            f"{fitted}to a mean cosine of {found:.3f} only (at least {LEAST_AGREEMENT} is needed). Fit toolkens on "
            f"{lm.backend}, or use them with backend={provenance.backend!r}"
        )
    warnings.warn(f"{fitted}to a mean cosine of {found:.4f}, which is enough", ToolkenSetWarning, stacklevel=2)
