"""Word problems with worked answers, in which the operation, operands and result of each step are known."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from random import Random
from typing import Literal

from langchain_toolken.nano.problems.numbers import Numbers, as_written
from langchain_toolken.nano.problems.scenes import composed, dressed
from langchain_toolken.nano.problems.wordings import (
    EVENTS,
    HELD_OUT_EVENTS,
    HELD_OUT_STORY_QUESTIONS,
    STORY_QUESTIONS,
    Template,
    multi_step_templates,
    one_step_templates,
)
from langchain_toolken.nano.problems.words import (
    CONTAINERS,
    HELD_OUT_PEOPLE,
    HELD_OUT_THINGS,
    LENGTHS,
    MEMBERS,
    PEOPLE,
    PLACES,
    SHOPS,
    THINGS,
    TIMES,
    VEHICLES,
    VOLUMES,
    WEIGHTS,
    WORKERS,
    choose_alternatives,
    fix_articles,
    singular,
)
from langchain_toolken.nano.tools import compute

HeldOut = Literal["nothing", "numbers", "wordings"]
"""What in a problem pre-training never shows: nothing; names and number ranges; these and the wording."""

DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
_FIELD = re.compile(r"\{(\w+)(?::([^}]*))?\}")


@dataclass(frozen=True)
class Step:
    """One operation of a worked answer. `operands` and `result` are plain numerals, as the tools take and return them."""

    operation: str
    operands: tuple[str, ...]
    result: str


@dataclass(frozen=True)
class WordProblem:
    """A question and its worked answer: text, with a `Step` in place of each result."""

    question: str
    answer: tuple[str | Step, ...]

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps of the answer, in order."""
        return tuple(part for part in self.answer if isinstance(part, Step))

    @property
    def result(self) -> str:
        """The final answer."""
        return self.steps[-1].result

    @property
    def answer_text(self) -> str:
        """The answer as text, results included."""
        return "".join(part.result if isinstance(part, Step) else part for part in self.answer)


def listing(numbers: Sequence[str], rng: Random) -> str:
    """Join numbers as "12 and 18", or "12, 18, and 24" with or without the last comma."""
    if len(numbers) == 1:
        return numbers[0]
    return ", ".join(numbers[:-1]) + ("," if len(numbers) > 2 and rng.random() < 0.5 else "") + " and " + numbers[-1]


_SIGNS = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/", "power": "^"}


def expression(operation: str, operands: Sequence[str], rng: Random) -> str:
    """Write an operation up to and including the equals sign: `5572%3241=`, `ln(7.5)=`."""
    match operation:
        case "sqrt":
            return rng.choice(("√{}=", "the square root of {}, which is ", "the square root of {}, which is ")).format(
                *operands
            )
        case "log" | "ln":
            return f"{operation}({operands[0]})="
        case "lcm" | "gcd":
            return f"{operation}({', '.join(operands)})="
        case "remainder":
            return operands[0] + rng.choice(("%", "%", " mod ")) + operands[1] + "="
        case "choose":
            return f"{operands[0]}C{operands[1]}="
        case "permutate":
            return f"{operands[0]}P{operands[1]}="
    if rng.random() < 0.1:
        return f" {_SIGNS[operation]} ".join(operands) + " = "
    return _SIGNS[operation].join(operands) + "="


class _Setting:
    """One draw of people, things and numbers, which fills in templates."""

    def __init__(self, rng: Random, held_out: HeldOut) -> None:
        self.rng = rng
        kept = held_out != "nothing"
        self.numbers = Numbers(rng, held_out=kept)
        people = rng.sample(HELD_OUT_PEOPLE if kept else PEOPLE, 2)
        things = rng.sample(HELD_OUT_THINGS if kept else THINGS, 3)
        containers = rng.choice(CONTAINERS)
        members = rng.sample(MEMBERS, 2)
        days, months = rng.sample(DAYS, 3), rng.sample(MONTHS, 3)
        units = rng.choice(TIMES)
        self.words = {
            "n": people[0], "m": people[1], "ts": things[0], "t": singular(things[0]), "us": things[1], "t2": singular(things[1]),
            "ts2": things[0].capitalize(), "cs": containers, "c": singular(containers), "shop": rng.choice(SHOPS), "worker": rng.choice(WORKERS),
            "members": members[0], "members2": members[1], "place": rng.choice(PLACES), "len": rng.choice(LENGTHS), "wt": rng.choice(WEIGHTS),
            "vol": rng.choice(VOLUMES), "units": units, "unit": singular(units), "vehicle": rng.choice(VEHICLES), "vehicle2": rng.choice(("trucks", "trains", "buses", "boats", "ferries", "vans")), "area": "square",
            "day": days[0], "day2": days[1], "day3": days[2], "serial": self.numbers.between(2, 60), "month": months[0], "month2": months[1], "month3": months[2],
        }  # fmt: skip
        self.values: dict[str, str] = {}
        self.many: tuple[str, ...] = ()

    def fill(self, template: str) -> str:
        """Choose the template's alternatives and fill in words and numbers, numbers as a question writes them."""
        text = choose_alternatives(template, self.rng)

        def value(match: re.Match[str]) -> str:
            name = match[1]
            if name in self.words:
                return self.words[name]
            if name == "xs":
                return listing([as_written(number, self.rng, 0.1) for number in self.many], self.rng)
            if name == "mxs":
                return listing(self.many, self.rng)
            if name == "Xs":
                return ["Two", "Three", "Four", "Five"][len(self.many) - 2]
            commas = 0.6 if name in ("mx", "my") else 0.2
            return as_written(self.values[name.removeprefix("m") if name in ("mx", "my") else name], self.rng, commas)

        return fix_articles(_FIELD.sub(value, text))

    def step(self, operation: str, operands: Sequence[str]) -> Step:
        return Step(operation, tuple(operands), compute(operation, list(operands)))

    def worked(self, template: str, operation: str, operands: Sequence[str]) -> tuple[str | Step, ...]:
        """Fill in the answer template and compute every step.

        Raises:
            ValueError: If an operation has no result.
        """
        text = choose_alternatives(template, self.rng)
        parts: list[str | Step] = []
        steps: list[Step] = []
        written = ""
        position = 0
        for match in _FIELD.finditer(text):
            name, arguments = match[1], match[2]
            written += text[position : match.start()]
            position = match.end()
            if arguments is not None:
                values = [
                    steps[int(a[1:]) - 1].result if a.startswith("#") else self.values[a] for a in arguments.split(",")
                ]
                written += expression(name, values, self.rng)
                steps.append(self.step(name, values))
            elif name in ("E", "W", "R"):
                if name == "E":
                    written += expression(operation, operands, self.rng)
                elif name == "W":
                    if self.rng.random() < 0.25:
                        written += expression(operation, operands, self.rng)
                    else:
                        kind = {"lcm": "least common multiple", "gcd": "greatest common divisor"}[operation]
                        written += f"the {kind} of {listing(operands, self.rng)}, which is "
                steps.append(self.step(operation, operands))
            elif name in _SPECIAL:
                special, names = _SPECIAL[name]
                values = [self.values[a] for a in names]
                written += expression(special, values, self.rng)
                steps.append(self.step(special, values))
            else:
                written += self.fill(match[0]) if name in self.words else self.values[name]
                continue
            parts += [fix_articles(written), steps[-1]]
            written = ""
        return (*parts, fix_articles(written + text[position:]))


# Fields whose operation or operands differ from those of their section.
_SPECIAL = {
    "Epi": ("multiply", ("x", "pi")),
    "Edown": ("power", ("down", "k")),
    "E2": ("power", ("two", "k")),
    "E3": ("power", ("three", "k")),
    "Ecube": ("power", ("x", "three")),
    "Esquare": ("power", ("x", "two")),
    "Eall": ("permutate", ("nn", "nn")),
}
_CONSTANTS = {"zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "sixty": "60"}


def _draw_numbers(setting: _Setting, operation: str, template: Template) -> tuple[str, ...]:
    """Draw the numbers for one operation and return the operands of `{E}`."""
    rng, numbers = setting.rng, setting.numbers
    values = setting.values
    values.update(_CONSTANTS, pi=rng.choice(("3.14", "3.14", "3.1416", "3.14159", "3")))
    percent = rng.randint(1, 60) if rng.random() < 0.8 else rng.randint(1, 99)
    values["p"] = str(percent)
    values["up"], values["down"] = (format(Decimal(100 + sign * percent) / 100, "f") for sign in (1, -1))
    values["share"] = format(Decimal(percent) / 100, "f")
    values["k"] = numbers.between(2, 40)
    if "{xs}" in template.question or "{mxs}" in template.question:
        count = rng.choice((2, 2, 3, 3, 4, 5))
        size = rng.choice((2, 3, 3, 4)) if operation in ("lcm", "gcd") else rng.randint(2, 6)
        decimals = 0.5 if "{mxs}" in template.question else 0.3 if operation == "add" else 0.0
        setting.many = tuple(numbers.number(max(1, size - 1), size, decimals) for _ in range(count))
        return setting.many
    match operation:
        case "subtract":
            values["x"], values["y"] = numbers.descending()
        case "lcm" | "gcd":
            size = rng.choice((2, 3, 3, 4))
            values["x"], values["y"] = (numbers.integer(max(2, size - 1), size) for _ in range(2))
            if operation == "gcd" and rng.random() < 0.4:  # numbers that have a common factor
                factor = rng.randint(2, 99)
                values["x"], values["y"] = (str(factor * int(numbers.between(2, 99))) for _ in range(2))
        case "remainder":
            digits = rng.randint(2, 8)
            values["x"], values["y"] = numbers.integer(digits, digits), numbers.integer(1, digits)
            if int(values["y"]) > int(values["x"]):
                values["x"], values["y"] = values["y"], values["x"]
        case "choose" | "permutate":
            values["nn"] = numbers.between(4, 30) if rng.random() < 0.8 else numbers.between(31, 250)
            top = min(int(values["nn"]), 20)
            values["k"] = numbers.between(2, top)
            if "{Eall}" in template.answer:
                values["nn"] = numbers.between(3, 25)
            return (values["nn"], values["k"])
        case "power":
            values["x"] = numbers.number(1, 4, 0.6)
            if "{b}" in template.question:
                values["b"] = numbers.between(2, 40) if rng.random() < 0.7 else numbers.decimal(1, 2)
                values["k"] = numbers.between(2, 20)
                return (values["b"], values["k"])
            return (values["up"], values["k"])
        case "sqrt" | "log" | "ln":
            values["x"] = numbers.number(1, 8, 0.4)
            return (values["x"],)
        case _:
            values["x"], values["y"] = numbers.number(), numbers.number(1, 8 if operation == "add" else 5)
            if operation in ("multiply", "divide") and rng.random() < 0.5:
                values["y"] = numbers.integer(1, 4)
    return (values["x"], values["y"])


WRITTEN_OUT = 0.4
"""Share of one-step problems that use hand-written templates; the others are composed of phrases, see `scenes`."""

OPERATIONS = tuple(one_step_templates())
"""The 13 FuncQA operations; the tools that compute them have the same names."""


def _wordings(templates: tuple[Template, ...], held_out: HeldOut) -> list[Template]:
    return [template for template in templates if template.held_out == (held_out == "wordings")]


def one_step(rng: Random, operation: str, *, held_out: HeldOut = "nothing") -> WordProblem:
    """Generate a problem that takes one operation."""
    if held_out == "wordings":
        template = rng.choice(_wordings(one_step_templates()[operation], held_out))
    else:
        known = rng.random() < WRITTEN_OUT
        template = (
            rng.choice(_wordings(one_step_templates()[operation], held_out)) if known else composed(rng, operation)
        )
        template = dressed(rng, template, operation)
    while True:
        setting = _Setting(rng, held_out)
        operands = _draw_numbers(setting, operation, template)
        try:
            answer = setting.worked(template.answer, operation, operands)
        except ValueError:  # no result within the tools' bounds: draw other numbers
            continue
        return WordProblem(setting.fill(template.question), answer)


def multi_step(rng: Random, *, held_out: HeldOut = "nothing") -> WordProblem:
    """Generate a problem that takes two to four operations: from a template, or a story composed of events."""
    if rng.random() < (0.5 if held_out == "wordings" else 0.4):
        return _story(rng, held_out)
    template = rng.choice(_wordings(multi_step_templates(), held_out))
    if held_out != "wordings":
        template = dressed(rng, template)
    while True:
        setting = _Setting(rng, held_out)
        _draw_numbers(setting, "add", template)
        numbers, values = setting.numbers, setting.values
        size = rng.choice((2, 3, 3, 4, 5))
        values.update(
            {name: numbers.number(1, size, 0.3) for name in ("x", "y", "z", "w")},
            k=numbers.between(2, 30),
            k2=numbers.between(2, 5),
        )
        values.update(big=numbers.number(size, min(8, 2 * size), 0.2), big2=numbers.integer(size + 1, size + 2))
        values.update(nn=numbers.between(5, 30), nn2=numbers.between(5, 30))
        if "choose" in template.answer:
            values["k"] = numbers.between(2, 5)
        try:
            answer = setting.worked(template.answer, "", ())
        except ValueError:
            continue
        if all(not step.result.startswith("-") for step in answer if isinstance(step, Step)):
            return WordProblem(setting.fill(template.question), answer)


_OPENINGS = (
    "{n} has {v} {ts}.",
    "{n} starts with {v} {ts}.",
    "There are {v} {ts} in {n}'s [house|shop|garden].",
)
_MORE_OPENINGS = (
    "{n} [owns|holds|begins with|counts] {v} {ts}.",
    "[In {month}|On {day}|This morning|At first], {n} has {v} {ts}.",
    "{n} is [proud|in charge|the owner] of {v} {ts}.",
    "[Here is a story|A story]: {n} has {v} {ts}.",
)
_COUNTED = ("dollars", "points", "liters of water", "passengers", "followers", "tokens in a game", "pages of notes", "euros", "gold coins", "kilograms of rice", "megabytes of data")  # fmt: skip
_FIRST_EVENT, _NEXT_EVENT = ("{n} ", "Then {n} ", "First {n} "), ("Then {n} ", "After that {n} ", "Next, {n} ", "{n} ")
_FIRST_LEAD, _NEXT_LEAD = ("First, ", "At first, "), ("Then ", "After that, ", "Next, ")
_LAST_LEAD = ("Then ", "Finally, ", "In the end, ")


def _story(rng: Random, held_out: HeldOut) -> WordProblem:
    """Generate a story: an amount at the start, two or three events that change it, and the amount in the end."""
    reworded = held_out == "wordings"
    setting = _Setting(rng, held_out)
    numbers = setting.numbers
    amount = numbers.integer(2, 6)
    setting.values["v"] = amount
    if not reworded and rng.random() < 0.25:
        setting.words["ts"] = rng.choice(_COUNTED)
    sentences = [setting.fill(rng.choice(_OPENINGS if reworded else _OPENINGS + _MORE_OPENINGS))]
    answer: list[str | Step] = []
    count = rng.choice((2, 2, 3))
    for number in range(count):
        event, operation = rng.choice(HELD_OUT_EVENTS if reworded else EVENTS)
        whole = amount.partition(".")[0]
        if operation == "subtract" and int(whole) < 3:
            event, operation = EVENTS[0]
        few = operation in ("multiply", "divide")
        value = numbers.between(2, 12) if few else numbers.integer(1, len(whole))
        if operation == "subtract":
            while Decimal(value) >= Decimal(amount):
                value = str(rng.randint(1, max(1, int(Decimal(amount)) - 1)))
        setting.values["v"] = value
        sentences.append(setting.fill(rng.choice(_NEXT_EVENT if number else _FIRST_EVENT) + event) + ".")
        leads = _FIRST_LEAD if not number else _NEXT_LEAD if number < count - 1 else _LAST_LEAD
        written = rng.choice(leads) + expression(operation, (amount, value), rng)
        step = setting.step(operation, (amount, value))
        answer += [written, step, ". "]
        amount = step.result
    sentences.append(setting.fill(rng.choice(HELD_OUT_STORY_QUESTIONS if reworded else STORY_QUESTIONS)))
    return WordProblem(" ".join(sentences), (*answer[:-1], "."))


def some_problem(rng: Random) -> WordProblem:
    """Generate a problem of one step (62%) or several, the mix of the pre-training text."""
    return one_step(rng, rng.choice(OPERATIONS)) if rng.random() < 0.62 else multi_step(rng)
