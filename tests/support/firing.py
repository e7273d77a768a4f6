"""A toolken that fires exactly where a test wants it to."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.tools.spec import ToolSpec
from tests.support.toolken_sets import provenance_of


@torch.no_grad()
def toolken_firing_after(
    lm: LanguageModel, spec: ToolSpec, fire: Sequence[Sequence[int]], silent: Sequence[Sequence[int]], style: str
) -> ToolkenSet:
    """A toolken whose logit is +100 after each prompt of `fire` and -100 after each of `silent`, exactly."""
    hidden = [lm.hidden_states(torch.tensor([list(ids)]))[0, -1] for ids in (*fire, *silent)]
    wanted = torch.tensor([100.0] * len(fire) + [-100.0] * len(silent))
    row = torch.linalg.lstsq(torch.stack(hidden).double(), wanted.double()[:, None], driver="gelsd").solution[:, 0]
    matrix = row.float()[None]
    return ToolkenSet(specs=(spec,), matrix=matrix, prior=matrix, bias=0.0, provenance=provenance_of(lm, style))
