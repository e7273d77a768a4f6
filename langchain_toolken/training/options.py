"""`FitOptions`: what a caller can choose about a fit, and what "auto" chooses among."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from transformers import PreTrainedModel

from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.progress import Progress
from langchain_toolken.prompts.call_cards import CardForm
from langchain_toolken.prompts.format import Reinjection, Style
from langchain_toolken.toolkens.embeddings import NamedEmbeddings
from langchain_toolken.toolkens.priors import PriorConfig
from langchain_toolken.tools.spec import ToolLike, ToolSpec
from langchain_toolken.training.demonstrations.load import DemonstrationRow
from langchain_toolken.training.demonstrations.request_calls import CallsFrom
from langchain_toolken.training.negatives import Negatives

if TYPE_CHECKING:
    from peft import PeftModel

# What prior="auto" chooses among; the order decides between equals, and the first is used if nothing can be chosen.
# Untied input embeddings, and unweighted head rows of a description, were nowhere the best by more than chance
# (`benchmarks/priors.py`).
AUTO_PRIORS = tuple(
    map(
        PriorConfig.parse,
        (
            "head/name/average",
            "head/both/weighted",
            "head/description/weighted",
            "hidden/both/average",
            "hidden/description/average",
        ),
    )
)

# Files, modules and objects that a user may name tools, demonstrations and LMs by.
Tools = str | Path | Iterable[ToolLike | ToolSpec]
Demonstrations = str | Path | Iterable[DemonstrationRow] | None
Model: TypeAlias = "str | Path | PreTrainedModel | PeftModel | LanguageModel"


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """How to fit; `fit` documents each option."""

    prior: PriorConfig | Literal["auto"] = "auto"
    lam: float | Literal["auto"] = "auto"
    bias: float | Literal["auto"] = "auto"
    max_false_call_rate: float | None = None
    gate: bool = True
    evidence: bool = True
    embeddings: NamedEmbeddings | None = None
    negatives: Negatives = "default"
    calls_from: CallsFrom = "answer"
    worked_answers: int | Literal["auto"] = 0
    style: Style | None = None
    reinjection: Reinjection | None = None
    docstring_examples: bool = True
    card: CardForm | Literal["auto"] = "auto"
    keep_demonstrations: bool = True
    strict: bool = False
    negatives_per_demonstration: int | None = 64
    batch_tokens: int | None = None
    features_dir: str | Path | None = None
    seed: int = 0
    tolerance: float | None = None
    max_iterations: int = 1000
    progress: Progress | None = None

    def __post_init__(self) -> None:
        if self.embeddings is not None and not self.evidence:
            raise ValueError("embeddings are part of the evidence: leave them out, or evidence=False")
        cap = self.max_false_call_rate
        if cap is not None and self.bias != "auto":
            raise ValueError(
                f"a bias of {self.bias} leaves nothing to choose under max_false_call_rate; give only one of the two"
            )
        if cap is not None and not 0 <= cap < 1:
            raise ValueError(f"max_false_call_rate is {cap}; it must be at least 0 and less than 1")

    @property
    def fitted_bias(self) -> float:
        """The bias that the rows are fitted with; "auto" chooses one afterwards."""
        return 0.0 if self.bias == "auto" else self.bias

    @property
    def priors(self) -> tuple[PriorConfig, ...]:
        """The kinds of prior to choose among."""
        return AUTO_PRIORS if self.prior == "auto" else (self.prior,)
