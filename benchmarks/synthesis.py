"""Compare toolkens fitted on synthetic demonstrations with priors and with those fitted on FuncQA's training set.

    python benchmarks/synthesis.py --data-dir DATA --model MODEL

A script plays the generator: six wordings for each of the 13 operations, as a chat model would write them, with random
numbers and names. Their author had seen questions of FuncQA's training set. The drafts go through synthesis as usual:
near-duplicates are rejected and calls are run. The figures are on FuncQA's dev set: how often the right toolken is the
likeliest (top-1) at call positions, and how well greedy decoding calls (recall, false calls). --local also measures the
LM itself as the generator.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from langchain_toolken.cli.progress_bars import progress_bars
from langchain_toolken.decoding.local.engine import TransformersEngine
from langchain_toolken.lm.load import load_language_model
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.nano.tools import MATH_TOOLS
from langchain_toolken.toolkens.priors import PriorConfig, prior_rows
from langchain_toolken.tools.spec import ToolSpec, tool_specs
from langchain_toolken.training.calibration import call_figures
from langchain_toolken.training.demonstrations.load import load_demonstrations
from langchain_toolken.training.features.compute import Features, compute_features
from langchain_toolken.training.fit import fit
from langchain_toolken.training.fit_warnings import ToolkenFitWarning
from langchain_toolken.training.synthesis.drafts import RESULT, Draft, SynthesisError
from langchain_toolken.training.synthesis.file import SynthesisWarning
from langchain_toolken.training.synthesis.synthesize import Synthesis, synthesize

# (request, answer up to the result); {a}, {b} are drawn numbers, {thing} and {who} drawn words.
WORDINGS: dict[str, tuple[tuple[str, str], ...]] = {
    "add": (
        ("{who} has {a} {thing} and gets {b} more. How many {thing} does {who} have now?", "{who} now has {a}+{b}="),
        ("What is {a} plus {b}?", "{a} plus {b} is"),
        ("One shelf holds {a} {thing}, another {b}. How many are there altogether?", "Altogether there are {a}+{b}="),
        ("I spent {a} euros on Monday and {b} on Tuesday; what did I spend in total?", "In total you spent {a}+{b}="),
        ("Sum up {a} and {b} for me.", "The sum is {a}+{b}="),
        ("A trip has two legs of {a} km and {b} km. How long is the whole trip?", "The whole trip is {a}+{b}="),
    ),
    "subtract": (
        ("{who} had {a} {thing} and gave away {b}. How many are left?", "{who} has {a}-{b}="),
        ("What is {a} minus {b}?", "{a} minus {b} is"),
        ("A tank holds {a} litres, {b} of them are pumped out. What remains?", "What remains is {a}-{b}="),
        ("How much more is {a} than {b}?", "The difference is {a}-{b}="),
        ("We sold {b} of our {a} {thing}. How many do we still have?", "We still have {a}-{b}="),
        ("A coat costs {a} euros and is now {b} euros cheaper. What is its price?", "The price is now {a}-{b}="),
    ),
    "multiply": (
        ("There are {a} boxes with {b} {thing} each. How many {thing} is that?", "That is {a}*{b}="),
        ("What is {a} times {b}?", "{a} times {b} is"),
        ("{who} earns {a} dollars an hour and works {b} hours. What does {who} earn?", "{who} earns {a}*{b}="),
        ("A room is {a} m long and {b} m wide. How large is its floor?", "The floor is {a}*{b}="),
        ("Multiply {a} by {b}, please.", "The product is {a}*{b}="),
        ("If one of the {thing} costs {a}, what do {b} of them cost?", "They cost {a}*{b}="),
    ),
    "divide": (
        ("{who} shares {a} {thing} equally among {b} people. How many does each get?", "Each gets {a}/{b}="),
        ("What is {a} divided by {b}?", "{a} divided by {b} is"),
        ("A rope of {a} m is cut into {b} equal pieces. How long is each?", "Each piece is {a}/{b}="),
        ("We drove {a} km in {b} hours. What was our average speed?", "The average speed was {a}/{b}="),
        ("{b} tickets cost {a} euros. What does one cost?", "One ticket costs {a}/{b}="),
        ("How many times does {b} go into {a}?", "It goes {a}/{b}="),
    ),
    "power": (
        ("What is {a} to the power of {b}?", "{a} to the power of {b} is {a}^{b}="),
        ("Raise {a} to the {b}th power.", "The result is {a}^{b}="),
        ("A culture grows by a factor of {a} every hour. By what factor in {b} hours?", "The factor is {a}^{b}="),
        ("How many codes of {b} symbols are there, with {a} symbols to choose from?", "There are {a}^{b}="),
        ("{who} multiplies {b} numbers, each of them {a}. What comes out?", "What comes out is {a}^{b}="),
        ("An account is worth {a} times as much each year. How many times after {b} years?", "It is worth {a}^{b}="),
    ),
    "sqrt": (
        ("What is the square root of {a}?", "The square root of {a} is"),
        ("A square field has an area of {a} square metres. How long is a side?", "A side is sqrt({a})="),
        ("Which number times itself gives {a}?", "It is the square root of {a}, which is"),
        ("{who} lays {a} square tiles in a square. How many are in a row?", "In a row there are sqrt({a})="),
        ("Take the root of {a} for me.", "The root is sqrt({a})="),
        ("Find x > 0 with x^2 = {a}.", "x is the square root of {a}, so x="),
    ),
    "log": (
        ("What is the logarithm of {a} to base 10?", "The logarithm of {a} to base 10 is"),
        ("Give me log10 of {a}.", "log10({a})="),
        ("To which power must 10 be raised to get {a}?", "The power is log10({a})="),
        ("Compute the common logarithm of {a}.", "The common logarithm is log({a})="),
        ("Find x if 10^x is {a}.", "x = log({a})="),
        ("{who} needs the base 10 log of {a}.", "It is log({a})="),
    ),
    "ln": (
        ("What is the natural logarithm of {a}?", "The natural logarithm of {a} is"),
        ("Give me ln of {a}.", "ln({a})="),
        ("To which power must e be raised to get {a}?", "The power is ln({a})="),
        ("Compute the log of {a} to base e.", "It is ln({a})="),
        ("Find x if e^x is {a}.", "x = ln({a})="),
        ("{who} needs the natural log of {a}.", "It is ln({a})="),
    ),
    "lcm": (
        ("What is the least common multiple of {a} and {b}?", "The least common multiple is"),
        ("One bus leaves every {a} minutes, another every {b}. When do they leave together again?", "They do after"),
        ("What is the smallest number that both {a} and {b} divide?", "The smallest such number is"),
        ("Find the LCM of {a} and {b}.", "The LCM of {a} and {b} is"),
        ("{thing} come in packs of {a}, lids in packs of {b}. What is the least equal number of both?", "It is"),
        ("Two lamps blink every {a} and {b} seconds. How often do they blink at once?", "They do every"),
    ),
    "gcd": (
        ("What is the greatest common divisor of {a} and {b}?", "The greatest common divisor is"),
        ("{who} packs {a} {thing} and {b} cards into equal bags. How many bags at most?", "At most there are"),
        ("What is the largest number that divides both {a} and {b}?", "The largest such number is"),
        ("Find the GCD of {a} and {b}.", "The GCD of {a} and {b} is"),
        ("Ropes of {a} and {b} m are to be cut into equal lengths. What is the longest?", "The longest length is"),
        ("What is the highest common factor of {a} and {b}?", "The highest common factor is"),
    ),
    "remainder": (
        ("What is the remainder when {a} is divided by {b}?", "The remainder is {a}%{b}="),
        ("{who} packs {a} {thing} into boxes of {b}. How many are left over?", "Left over are {a} mod {b}="),
        ("What is {a} mod {b}?", "{a} mod {b}="),
        ("{a} people sit down in rows of {b}. How many are in the last, unfilled row?", "In the last row are {a}%{b}="),
        ("From {a} m of cloth pieces of {b} m are cut. What is the rest?", "The rest is {a}%{b}="),
        ("{a} {thing} are dealt to {b} players as evenly as goes. What remains?", "What remains is {a} mod {b}="),
    ),
    "choose": (
        ("How many ways are there to choose {k} of {n} {thing}?", "The number of ways is"),
        ("{who} picks {k} of {n} books to read, in any order. How many choices?", "The number of choices is"),
        ("How many committees of {k} can be formed from {n} people?", "The number of committees is"),
        ("What is {n} choose {k}?", "{n} choose {k} is"),
        ("How many hands of {k} cards does a deck of {n} have?", "The number of hands is"),
        ("A pizza gets {k} of {n} toppings. How many different pizzas are there?", "There are C({n},{k})="),
    ),
    "permutate": (
        ("How many ways are there to arrange {k} of {n} {thing} in a row?", "The number of arrangements is"),
        ("{n} runners race. In how many ways can the first {k} places be filled?", "They can be filled in"),
        ("How many words of {k} different letters can be made from {n} letters?", "The number of words is"),
        ("Compute P({n}, {k}).", "P({n},{k})="),
        ("A president, deputies and so on, {k} offices, are filled from {n} people. How many ways?", "The number is"),
        ("In how many orders can {k} of {n} songs be played?", "The number of orders is"),
    ),
}  # fmt: skip
PLAIN = (
    ("What is the capital of {who}'s country?", "I don't know where {who} lives, so I can't say."),
    ("Do you like {thing}?", "I have no likes, but many people are fond of {thing}."),
    ("What does 'logarithm' mean?", "It is the power to which a base must be raised to give a number."),
    ("{who} is late again. What should I do?", "Call {who} and ask whether anything has happened."),
    ("Where do {thing} come from?", "They are made in many places, most of them far away."),
    ("Tell {who} a joke about numbers.", "Why was six afraid of seven? Because seven eight nine."),
    ("Who invented the square root sign?", "It is first found in a book by Christoph Rudolff."),
    ("Is it better to buy {thing} or to borrow them?", "That depends on how often you need them."),
)
REST = (".", ".", " in all.", " in the end.", ", to be exact.", ". That is the answer.", ", which is all there is.")
THINGS = ("apples", "pens", "coins", "stamps", "chairs", "bricks", "lemons", "tickets", "marbles", "flowers", "cups")
PEOPLE = ("Mara", "Tomas", "Ines", "Bo", "Karin", "Yusuf", "Lena", "Omar", "Pia", "Rafael", "Sven", "Tuli")


class ScriptedWriter:
    """A script in place of a generator.

    Args:
        at_once: Answers begin with the call instead of leading up to it.
        whole: Answers continue after the result.
        seed: Draws wordings, numbers and names.
    """

    batch = 8

    def __init__(self, *, at_once: bool, whole: bool, seed: int) -> None:
        self.at_once, self.whole, self.seed = at_once, whole, seed
        self._tool_of: dict[str, str] = {}

    def for_tool(self, spec: ToolSpec, number: int, kept: Sequence[str]) -> list[Draft]:
        rng = Random(f"{self.seed} {spec.name} {number}")
        return [self._draft(spec.name, rng) for _ in range(self.batch)]

    def without_tool(self, specs: Sequence[ToolSpec], number: int, kept: Sequence[str]) -> list[Draft]:
        rng = Random(f"{self.seed} plain {number}")
        drafts = []
        for request, answer in rng.choices(PLAIN, k=self.batch):
            words = {"who": rng.choice(PEOPLE), "thing": rng.choice(THINGS)}
            drafts.append(Draft(request.format(**words), answer.format(**words)))
        return drafts

    def choose(self, requests: Sequence[str], specs: Sequence[ToolSpec]) -> list[str | None]:
        return [self._tool_of.get(request) for request in requests]

    def _draft(self, tool: str, rng: Random) -> Draft:
        request, lead = rng.choice(WORDINGS[tool])
        top = 10 ** rng.choice((2, 3, 4))
        a, b = sorted((rng.randint(2, top), rng.randint(2, top)), reverse=True)
        if tool == "power":
            a, b = rng.choice((rng.randint(2, 20), round(1 + rng.random() / 5, 2))), rng.randint(2, 12)
        n = rng.randint(4, 24)
        values = {"a": a, "b": b, "n": n, "k": rng.randint(2, n - 1)}
        words = {**values, "who": rng.choice(PEOPLE), "thing": rng.choice(THINGS)}
        arguments: dict[str, Any] = {"a": a, "b": b}
        if tool in ("add", "multiply", "lcm", "gcd"):
            arguments = {"numbers": [a, b]}
        elif tool in ("sqrt", "log", "ln"):
            arguments = {"x": a}
        elif tool == "power":
            arguments = {"base": a, "exponent": b}
        elif tool in ("choose", "permutate"):
            arguments = {"n": n, "k": values["k"]}
        written = request.format(**words)
        self._tool_of[written] = tool
        if self.at_once:
            return Draft(written, "", arguments)
        rest = rng.choice(REST) if self.whole else ""
        return Draft(written, f"{lead.format(**words)} {RESULT}{rest}", arguments)


def judged(lm: LanguageModel, held_out: Features, specs: list[ToolSpec], demonstrations: Any) -> dict[str, Any]:
    """Return held-out figures of toolkens fitted on `demonstrations`, or of the priors alone for None."""
    if demonstrations is None:
        rows = prior_rows(lm, specs, PriorConfig())
        return _figures(held_out, held_out.hidden @ rows.T, 0, 0.0)
    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ToolkenFitWarning)
        fitted = fit(lm, MATH_TOOLS, demonstrations, style="completion", calls_from="answer")
    logits = held_out.hidden @ fitted.toolkens.matrix.T + fitted.toolkens.biases
    return _figures(held_out, logits, fitted.demonstrations, time.perf_counter() - began)


def _figures(held_out: Features, logits: Any, demonstrations: int, seconds: float) -> dict[str, Any]:
    calls = call_figures(held_out, logits)
    shares = {"top1": calls.top1, "recall": calls.recall, "f1": calls.f1, "false_calls": calls.false_call_rate}
    rounded = {key: round(share, 3) for key, share in shares.items()}
    return {"demonstrations": demonstrations, **rounded, "seconds": round(seconds, 1)}


def by_the_lm(lm: LanguageModel, held_out: Features, specs: list[ToolSpec], per_tool: int, progress: Any) -> Any:
    """Return the same figures with the LM itself as the generator, and how many of its drafts were kept."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SynthesisWarning)
            made: Synthesis = synthesize(
                MATH_TOOLS,
                per_tool,
                engine=TransformersEngine(lm),
                style="completion",
                execute=True,
                give_up_after=24,
                without_tool=per_tool,
                progress=progress,
            )
    except SynthesisError as error:
        return {"demonstrations": 0, "rejected": str(error)}
    return {**judged(lm, held_out, specs, made.rows), "kept": dict(made.kept), "rejected": dict(made.reasons)}


def main(
    data_dir: Annotated[Path, typer.Option(help="Folder with funcqa/train.jsonl and dev.jsonl.")],
    model: Annotated[str, typer.Option(help="The LM.")] = "nano",
    per_tool: Annotated[int, typer.Option(help="Rows per tool.")] = 20,
    seeds: Annotated[int, typer.Option(help="Number of runs of the script, with different seeds.")] = 3,
    local: Annotated[bool, typer.Option(help="Also measure the LM itself as the generator.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    console = Console(stderr=as_json)
    lm, specs = load_language_model(model), tool_specs(MATH_TOOLS)
    names = [spec.name for spec in specs]
    funcqa = data_dir / "funcqa"
    dev = load_demonstrations(funcqa / "dev.jsonl", names).demonstrations
    held_out = compute_features(lm, dev, names, "completion", negatives_per_demonstration=None)
    found: dict[str, dict[str, Any]] = {"priors alone": judged(lm, held_out, specs, None)}
    for seed in range(seeds):
        for what, at_once, whole in (
            ("call at once", True, False),
            ("up to the call", False, False),
            ("whole sentence", False, True),
        ):
            writer = ScriptedWriter(at_once=at_once, whole=whole, seed=seed)
            made = synthesize(MATH_TOOLS, per_tool, generator=writer, execute=True)
            found[f"made up, {what}, seed {seed}"] = {
                **judged(lm, held_out, specs, made.rows),
                "rejected": dict(made.reasons),
            }
    found["FuncQA's training set"] = judged(lm, held_out, specs, funcqa / "train.jsonl")
    if local:
        with progress_bars(console) as progress:
            found["the LM as generator"] = by_the_lm(lm, held_out, specs, per_tool, progress)
    if as_json:
        json.dump({"positions": held_out.tool_positions, **found}, sys.stdout, indent=2)
        print()
        return
    title = f"{held_out.tool_positions} calls of FuncQA's dev set, {model}"
    table = Table("demonstrations", "n", "top-1", "recall", "F1", "false calls", "fit, s", title=title)
    for what, figures in found.items():
        keys = ("demonstrations", "top1", "recall", "f1", "false_calls", "seconds")
        table.add_row(what, *(str(figures.get(key, "")) for key in keys))
    console.print(table)
    console.print({what: figures["rejected"] for what, figures in found.items() if "rejected" in figures})


if __name__ == "__main__":
    typer.run(main)
