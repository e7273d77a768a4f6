"""What a toolken set records about itself: the LM and the fit it comes from, and how it did on held-out data."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from langchain_toolken._version import __version__
from langchain_toolken.lm.identity import Backend, LMIdentity
from langchain_toolken.prompts.format import Reinjection, Style


class Provenance(BaseModel):
    """Where toolkens come from: the LM they belong to and what they were fitted on.

    The fingerprints decide whether an LM is that LM; `model_id` and `revision` are for people.

    Attributes:
        model_id: The LM's folder or Hugging Face id.
        revision: Its revision; None if unknown.
        head_fingerprint: Fingerprint of the LM's output head.
        tokenizer_fingerprint: Fingerprint of its tokenizer.
        style: The prompt style of the fit.
        prior: The prior, such as "head/name/average".
        lam: The penalty λ on the distance from the prior; None if nothing was fitted.
        demonstrations: How many demonstrations the fit read.
        tool_positions: How many positions of them call a tool.
        word_positions: How many positions of them are followed by a word.
        package_version: The version of this package that made the set.
        reinjection: How results are put back in the demonstrations, which is how they should be put back later; None if
            the demonstrations don't tell, as in sets of earlier versions.
        ends_answer: What ends an answer after a result in its sentence, because it never follows one in the
            demonstrations: most LMs otherwise go on with calculations of their own.
        repeats_calls: Whether a demonstration makes a call again that was answered for the same question.
        calls_after_words: Whether a demonstration calls a tool after words of the same answer. Where none does, an
            answer to a result calls at once or not at all. True for sets of earlier versions, which don't tell.
        parallel_calls: Whether one answer may make several calls by default: a demonstration does, or made-up
            messages of two requests showed that it helps (`training.parallel_calls`).
        added: How the rows of tools added after the fit were made, by tool name ("prior …", "mapped …", "update …").
        backend: What ran the LM in the fit.
        sketch: A sketch of the hidden states that the toolkens were fitted on (`lm.sketch`); empty for rows that were
            not fitted, and for sets of earlier versions.
    """

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    model_id: str
    revision: str | None
    head_fingerprint: str
    tokenizer_fingerprint: str
    style: Style
    prior: str
    lam: float | None
    demonstrations: int
    tool_positions: int
    word_positions: int
    package_version: str
    reinjection: Reinjection | None = None
    ends_answer: tuple[str, ...] = ()
    repeats_calls: bool = False
    calls_after_words: bool = True
    parallel_calls: bool = False
    added: dict[str, str] = {}
    backend: Backend = "transformers"
    sketch: tuple[float, ...] = ()

    @classmethod
    def of(
        cls,
        lm: LMIdentity,
        style: Style,
        prior: str,
        *,
        lam: float | None = None,
        demonstrations: int = 0,
        tool_positions: int = 0,
        word_positions: int = 0,
        reinjection: Reinjection | None = None,
        ends_answer: tuple[str, ...] = (),
        repeats_calls: bool = False,
        calls_after_words: bool = False,
        backend: Backend = "transformers",
        sketch: tuple[float, ...] = (),
    ) -> Self:
        """Make the provenance of toolkens for `lm`, by this version. The defaults are those of untrained rows."""
        return cls(
            model_id=lm.model_id,
            revision=lm.revision,
            head_fingerprint=lm.head_fingerprint,
            tokenizer_fingerprint=lm.tokenizer_fingerprint,
            style=style,
            prior=prior,
            lam=lam,
            demonstrations=demonstrations,
            tool_positions=tool_positions,
            word_positions=word_positions,
            package_version=__version__,
            reinjection=reinjection,
            ends_answer=ends_answer,
            repeats_calls=repeats_calls,
            calls_after_words=calls_after_words,
            backend=backend,
            sketch=sketch,
        )

    def merged(self, other: Provenance) -> Provenance:
        """Return the provenance of this set and another one for the same LM and style, put together.

        Counts are added up. A λ or a re-injection that differs becomes None; a prior that differs names both. An answer
        ends as both sets say.
        """
        one, two = self.reinjection, other.reinjection
        return self.model_copy(
            update={
                "prior": self.prior if self.prior == other.prior else f"{self.prior} + {other.prior}",
                "lam": self.lam if self.lam == other.lam else None,
                "demonstrations": self.demonstrations + other.demonstrations,
                "tool_positions": self.tool_positions + other.tool_positions,
                "word_positions": self.word_positions + other.word_positions,
                "package_version": __version__,
                "reinjection": None if one and two and one != two else one or two,
                "ends_answer": tuple(end for end in self.ends_answer if end in other.ends_answer),
                "repeats_calls": self.repeats_calls or other.repeats_calls,
                "calls_after_words": self.calls_after_words or other.calls_after_words,
                "parallel_calls": self.parallel_calls or other.parallel_calls,
                "added": {**self.added, **other.added},
            }
        )


class Calibration(BaseModel):
    """How a set's calls and probabilities did on held-out data.

    Attributes:
        temperature: The calibration temperature. Reported probabilities are softmax([log-sum-exp of the words; toolken
            logits] / temperature), with all words as one class. It does not affect the decision to call, and has
            nothing to do with the sampling temperature.
        fitted_bias: The bias that the toolkens were fitted with, which belongs to their probabilities. Whatever the
            set's bias adds to it says what a call is worth, not how likely it is, and is left out of them.
        ece_before: Expected calibration error of the calls' probabilities at temperature 1 with the bias,
            as an uncalibrated set reports them.
        ece_after: Expected calibration error at `temperature`.
        f1: F1 of held-out calls at the set's biases.
        recall: Share of the held-out calls that are made, and of the right tool.
        false_call_rate: Share of the held-out positions without a call at which one is made; None if there were none.
        max_false_call_rate: The cap on `false_call_rate` that the fit was given; None without one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    temperature: float = Field(gt=0)
    fitted_bias: float
    ece_before: float
    ece_after: float
    f1: float
    recall: float
    false_call_rate: float | None
    max_false_call_rate: float | None
