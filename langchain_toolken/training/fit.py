"""`fit`: toolkens for an LM from tools and demonstrations, in one LM pass and a few convex solves."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from langchain_core.embeddings import Embeddings

from langchain_toolken.progress import Progress
from langchain_toolken.prompts.call_cards import CardForm
from langchain_toolken.prompts.format import Reinjection, Style
from langchain_toolken.toolkens.embeddings import NamedEmbeddings
from langchain_toolken.toolkens.priors import PriorConfig
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.training.call_places import fit_prepared
from langchain_toolken.training.demonstrations.request_calls import CallsFrom
from langchain_toolken.training.negatives import Negatives
from langchain_toolken.training.options import Demonstrations, FitOptions, Model, Tools
from langchain_toolken.training.result import FitResult
from langchain_toolken.training.steps import prepare, toolkens_of_main_process
from langchain_toolken.training.without_demonstrations import prior_toolkens


def fit(
    model: Model,
    tools: Tools,
    demonstrations: Demonstrations = None,
    *,
    prior: PriorConfig | Literal["auto"] = "auto",
    lam: float | Literal["auto"] = "auto",
    bias: float | Literal["auto"] = "auto",
    max_false_call_rate: float | None = None,
    gate: bool = True,
    evidence: bool = True,
    embeddings: str | Embeddings | None = None,
    negatives: Negatives = "default",
    calls_from: CallsFrom | Literal["auto"] = "auto",
    worked_answers: int | Literal["auto"] = "auto",
    style: Style | None = None,
    reinjection: Reinjection | None = None,
    docstring_examples: bool = True,
    card: CardForm | Literal["auto"] = "auto",
    keep_demonstrations: bool = True,
    strict: bool = False,
    negatives_per_demonstration: int | None = 64,
    batch_tokens: int | None = None,
    features_dir: str | Path | None = None,
    seed: int = 0,
    tolerance: float | None = None,
    max_iterations: int = 1000,
    progress: Progress | None = None,
    **load: Any,
) -> FitResult:
    """Fit toolkens for tools on a frozen LM.

    λ, prior and bias are chosen by cross-validation by default, because no constant suits all data. Whatever is "auto"
    costs no further LM pass. With fewer than 10 demonstrations nothing can be chosen and defaults are used. If anything
    is "auto", the reported probabilities are calibrated too.

    Several processes, as started by `torchrun` or `accelerate launch --multi_gpu`, share the LM pass if all of them
    make the same call. The first one solves; the others wait and get its toolkens, without solution, selection, bias
    and temperature.

    Args:
        model: "nano", a folder, a Hub id, a model in memory, or a `LanguageModel`.
        tools: A tools file or module, or the tools themselves.
        demonstrations: A JSONL or JSON file, or the rows, in any form that `training.demonstrations.load` lists,
            message histories included. Without any (and without docstring examples) the toolkens are their priors.
        prior: What the toolkens are pulled to. "auto" chooses among `options.AUTO_PRIORS`.
        lam: λ, the weight of the pull to the prior. "auto" chooses among `selection.LAMS`.
        bias: What is added to every toolken's logit: how eager to call. "auto" fits with 0 and then chooses the bias
            with the best F1 on held-out calls, or as `max_false_call_rate` says. A number is used while fitting, and
            kept in the set.
        max_false_call_rate: With bias "auto": choose the bias with the most right calls among those that call at no
            more than this share of the places where a word should follow (0.01: 1%). And of the requests that need no
            tool, no more than this share gets a call anywhere in its answer; 5% if nothing is asked for.
        gate: Try a gate for when to call (`evidence.gate`). It needs bias "auto", and calls that come straight after
            requests; it is used where it does better on held-out requests.
        evidence: Let the request's mean state and its words have a say in which tool is called, as far as that helps on
            held-out calls (`evidence.which`). False, together with `gate`: the rows alone, as in the papers.
        embeddings: LangChain embeddings that requests and tools are compared by too, an object or "provider:model" as
            `langchain.embeddings.init_embeddings` takes it ("huggingface:…"). They cost one text a turn, and count as
            far as they help on held-out calls. The set keeps their name and loads them when it is used; those of an
            object are given to `ToolkenSet.load` again.
        negatives: Requests that need no tool, for the gate: "default" (the package's), "none", or a text file with one
            a line. The LM answers every fifth, once.
        calls_from: Where the calls of texts "Q: … A: …" are learned: "answer" (inside the answer, as in the papers), or
            "request" (the first call of each right after its question, later ones after its result). From requests, an
            LM calls however it would word the answer. `reinjection` is then "inline" by default. "auto" lets the LM
            answer a few held-out questions, and fits from requests too where too few of them get the right call; worked
            answers are tried where that is not good either. Of fewer than 40 texts none is held out: the LM answers
            their own questions, and if it does not come to the calls there, they are learned from the requests
            (`call_places`).
        worked_answers: How many whole demonstrations, the nearest, are put before a question, so that the LM words its
            answer as they do and comes to its calls. They are for calls from inside the answer of texts
            "Q: … A: …", and the set carries them (`toolkens.worked_answers`). "auto" chooses on held-out questions.
        style: How demonstrations are laid out, and what `ToolkenChat` then does by default. None: "completion" if more
            than half of the demonstrations are "Q: … A: …" texts; else "chat" if the tokenizer has a chat template.
        reinjection: Where results are in chat histories, "turn" or "inline". None: "turn" in chat style, as chat LMs
            are trained, and "inline" in completion style, which has no turns. `ToolkenChat` follows it.
        docstring_examples: Learn from the `Examples:` sections of the tools' docstrings too.
        card: What the LM reads of a called tool before it writes the arguments. "auto" chooses among
            `arguments.FORMS` the one with most arguments exactly right in held-out demonstrations.
        keep_demonstrations: Keep demonstrated calls (request and arguments) in the set, for the cards of its tools, and
            the requests' words, for the choice of a tool. False is for data that must not be passed
            on: the cards then show no examples.
        strict: Raise an error for rows that can't be used, instead of dropping them with a warning.
        negatives_per_demonstration: Word positions kept of each demonstration (`compute_features`); None: all.
        batch_tokens: Most tokens in one batch of the LM pass (`compute_features`).
        features_dir: Folder to keep the results of the LM pass in. A fit that was killed continues from there, and
            another fit of the same LM and demonstrations, with any λ, prior and bias, reads it and runs no LM
            (`lm_passes` is 0). A folder that holds something else is refused.
        seed: Decides which word positions are sampled and which demonstrations are held out together.
        tolerance: See `solve`.
        max_iterations: See `solve`.
        progress: Called with (done, total, what).
        **load: Arguments of `load_language_model`.

    Raises:
        ValueError: There are no tools; `max_false_call_rate` is not in [0, 1), or was given together with a bias;
            `worked_answers` is below 0.
        ToolError: The tools can't be read.
        ToolkenSetError: The embeddings can't be loaded, or fail.
        DemonstrationError: No demonstration can be used, or, with `strict`, one of them can't.
        UnsupportedModelError: The LM can't take toolkens.
        FeatureStoreError: `features_dir` is damaged or holds something else.
        SolveError: The solve failed.

    Warns:
        ToolkenFitWarning: Rows were dropped, tools have no demonstrations, names say nothing, or there are too few
            demonstrations to choose by.
        ConvergenceWarning: The solve did not converge.
    """
    if worked_answers != "auto" and worked_answers < 0:
        raise ValueError(f"worked_answers is {worked_answers}; it must be 0 or more, or 'auto'")
    options = FitOptions(
        prior=prior,
        lam=lam,
        bias=bias,
        max_false_call_rate=max_false_call_rate,
        gate=gate,
        evidence=evidence,
        embeddings=None if embeddings is None else NamedEmbeddings.of(embeddings),
        negatives=negatives,
        calls_from="answer" if calls_from == "auto" else calls_from,
        worked_answers=worked_answers if keep_demonstrations and calls_from != "request" else 0,
        style=style,
        reinjection=reinjection or ("inline" if calls_from == "request" else None),
        docstring_examples=docstring_examples,
        card=card,
        keep_demonstrations=keep_demonstrations,
        strict=strict,
        negatives_per_demonstration=negatives_per_demonstration,
        batch_tokens=batch_tokens,
        features_dir=features_dir,
        seed=seed,
        tolerance=tolerance,
        max_iterations=max_iterations,
        progress=progress,
    )
    given = prepare(model, tools, demonstrations, options, load)
    if given.gathered.features is None:
        return prior_toolkens(given, options)
    if not given.crew.main:
        return toolkens_of_main_process(given)
    return fit_prepared(given, options, calls_from)


def fit_toolkens(model: Model, tools: Tools, demonstrations: Demonstrations = None, **options: Any) -> ToolkenSet:
    """Fit toolkens as `fit` does, and return the set alone."""
    return fit(model, tools, demonstrations, **options).toolkens
