"""Structured answers for the corpus: a request, a schema as a card shows it, and the JSON object that answers.

From these nano learns to write short strings and to end them, and to copy values from a request into fields with new names:
text, numbers, choices and lists. The JSON is minified, as the grammar of a schema requires.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from random import Random

from langchain_toolken.nano.problems.numbers import Numbers
from langchain_toolken.nano.problems.words import PEOPLE, SHOPS, THINGS, choose_alternatives, invented_word, singular
from pretraining.names import foreign_name, town

ANIMALS = [
    "dogs",
    "horses",
    "frogs",
    "owls",
    "mice",
    "bears",
    "foxes",
    "rabbits",
    "ducks",
    "whales",
    "snails",
    "lions",
    "hens",
    "goats",
    "bees",
    "penguins",
    "crabs",
    "wolves",
]
_JOBS = ("baker", "pilot", "nurse", "teacher", "farmer", "singer", "clerk", "judge", "painter", "cook")
_COLORS = ("red", "green", "blue", "white", "black", "yellow", "grey", "brown")
_LANGUAGES = ("French", "Italian", "Polish", "Korean", "Hindi", "Greek", "Dutch", "Arabic")


@dataclass(frozen=True)
class StructuredAnswer:
    """A request and the object that answers it. `fields` are (name, type as in a signature, optional)."""

    request: str
    name: str
    description: str
    fields: tuple[tuple[str, str, bool], ...]
    values: dict[str, object]

    @property
    def json(self) -> str:
        """The object as minified JSON."""
        return minified(self.values)


def minified(value: object) -> str:
    """Write JSON as the grammar of arguments allows it: no spaces, no escapes of non-ASCII letters."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


_QUESTIONS = (
    "Why [do|did] the {s} [sit|dance|sleep|run|sing|hide] [in|on|under|behind] the {t}?", "What do {s} [eat|like|say|wear] [on {day}|at night|in winter|for lunch]?",
    "What is [big|small|red|old|green|quick] and [has|likes|knows] many {s}?", "How do you [call|find|feed|paint|wake] {s} [in the rain|at home|on a hill]?", "Who [knows|loves|sells] the most {s}?",
)  # fmt: skip
_ANSWERS = (
    "Because [the {t} was [warm|new|free|soft]|nobody [asked|looked]|it was {day}].", "[A|One] [big|small|happy|tired] {t}[!|.]", "[Only|Mostly] {u}.", "[Very|Quite] [slowly|gently|quietly][!|.]", "The {t} [next door|in the garden].",
    "They [forgot|lost|found] the {t}.",
)  # fmt: skip
_SENTENCES = (
    "[Many|Some|All|Most] {s} [are|look|seem] [small|happy|quick|quiet|clever|friendly].", "[The|Two|Three] {s} [walk|run|go] to the {t}.", "{s2} [like|need|love] {u}.", "[One day|Once], a {t} [came|fell|was found].",
    "There is a {t} for [all|every one of] the {s}.", "[Nobody|Everyone] [knows|sees|likes] the {s}.", "In the end they [sleep|laugh|go home|are friends].", "{p} [watches|feeds|paints|counts] the {s}.",
)  # fmt: skip
_TITLES = (
    "The [Little|Last|Great|Lost|Happy] {T}",
    "{s2} [and|with] {u}",
    "{p} and the {s}",
    "A [Day|Night|Year] [of|with] {s}",
)


class _Subject:
    def __init__(self, rng: Random) -> None:
        self.rng = rng
        thing = singular(rng.choice(THINGS))
        subject = rng.choice(ANIMALS if rng.random() < 0.6 else THINGS)
        self.words = {
            "s": subject, "s2": subject.capitalize(), "t": thing, "T": thing.capitalize(), "u": rng.choice(THINGS), "p": rng.choice(PEOPLE),
            "day": rng.choice(("Monday", "Tuesday", "Friday", "Sunday")),
        }  # fmt: skip

    def text(self, *templates: str) -> str:
        return choose_alternatives(self.rng.choice(templates), self.rng).format(**self.words)

    def sentences(self, most: int = 2) -> str:
        return " ".join(self.text(*_SENTENCES) for _ in range(self.rng.randint(1, most)))


_WORKS = (
    ("riddle", ("question answer", "puzzle solution", "riddle reveal", "ask reply", "clue key"), (_QUESTIONS, _ANSWERS)),
    ("pun", ("first second", "opening ending", "line1 line2", "lead closing"), (_QUESTIONS, _ANSWERS)),
    ("story", ("title text", "heading body", "name plot", "headline story"), (_TITLES, _SENTENCES)),
    ("poem", ("title verse", "line_one line_two", "top bottom"), (_TITLES, _SENTENCES)),
    ("fact", ("topic fact", "subject statement", "about sentence"), (("{s}", "{s2}"), _SENTENCES)),
    ("slogan", ("slogan reason", "motto note"), (("[Buy|Try|Love] {s}[!|.]", "{s2} for [all|everyone]!"), _SENTENCES)),
    ("dialogue", ("a b", "he she", "caller host", "guest waiter"), (_QUESTIONS, _ANSWERS)),
)  # fmt: skip


def _camel(word: str) -> str:
    return "".join(part.capitalize() for part in word.split("_"))


def _work(rng: Random) -> StructuredAnswer:
    """Something made up about a subject: two or three free strings, now and then a number or a missing one."""
    subject = _Subject(rng)
    kind, names, texts = rng.choice(_WORKS)
    keys = rng.choice(names).split() if rng.random() < 0.75 else [invented_word(rng), invented_word(rng, 2)]
    fields: list[tuple[str, str, bool]] = []
    values: dict[str, object] = {}
    missing = rng.random() < 0.12
    for place, (key, text) in enumerate(zip(keys, texts, strict=True)):
        last = missing and place == 1
        fields.append((key, "string", last))
        if not last:
            values[key] = subject.text(*text)
        elif rng.random() < 0.5:
            values[key] = None
    if rng.random() < 0.3:
        key = rng.choice(("rating", "stars", "length", "score", "level"))
        fields.append((key, "integer", False))
        values[key] = rng.randint(1, 10)
    if rng.random() < 0.15:
        fields.append(("more", "string", False))
        values["more"] = subject.sentences()
    asks = (
        f"[Give me|Write|Make up|Invent|I want|I need|Think of|Compose] a {kind} [about|on|for|with] {{s}}[.|!|, please.|]",
        f"[Can you|Could you|Please] [write|invent|make] a {kind} [about|on] {{s}}[?|.]",
        f"A {kind} about {{s}}[, please|].",
    )
    request = subject.text(*asks)
    if missing:
        request += f" [Leave out|Without|No] the {keys[1]}."
    elif rng.random() < 0.15:
        request += (
            f" [Answer in JSON|Use JSON|As JSON], [fields|keys] [{keys[0]} and {keys[1]}|'{keys[0]}', '{keys[1]}']."
        )
    name = _camel(rng.choice((kind, f"{kind}_text", f"my_{kind}", invented_word(rng))))
    described = f"[A {kind}|{kind.capitalize()}] [for|to show|to read to|to send] [the user|people|a friend|children]."
    request, described = (choose_alternatives(text, rng) for text in (request, described))
    return StructuredAnswer(request, name, described, tuple(fields), values)


def _record(rng: Random) -> StructuredAnswer:
    """Make a request that states facts, to be copied into fields: names, numbers, places, choices, lists."""
    numbers = Numbers(rng)
    person = foreign_name(rng) if rng.random() < 0.3 else f"{rng.choice(PEOPLE)} {invented_word(rng).capitalize()}"
    things = rng.sample(THINGS, rng.randint(1, 4))
    facts: list[tuple[str, str, str, object]] = [
        ("name full_name who person_name", "string", "{} is the name.", person),
        ("age years", "integer", "The age is {}.", int(numbers.between(1, 99))),
        ("city home town lives_in", "string", "Home is {}.", town(rng)),
        ("job work profession", "string", "The job is {}.", rng.choice(_JOBS)),
        ("color favorite_color", " | ".join(f"'{color}'" for color in _COLORS[: rng.randint(3, 8)]), "The color is {}.", None),
        ("height weight price amount", "number", "The figure is {}.", float(numbers.decimal(1, 3))),
        ("id code number ticket", "string", "The code is {}.", f"{rng.choice('ABKMXZ')}{rng.choice('-_')}{numbers.integer(2, 5)}"),
        ("things items likes tags", "list[string]", "There are {}.", things),
        ("counts sizes scores", "list[integer]", "The scores are {}.", [int(numbers.integer(1, 3)) for _ in range(rng.randint(1, 4))]),
        ("shop place venue", "string", "The place is a {}.", rng.choice(SHOPS)),
        ("language speaks", "string", "The language is {}.", rng.choice(_LANGUAGES)),
        ("active member paid", "boolean", "It is {} that they paid.", rng.random() < 0.5),
    ]  # fmt: skip
    chosen = rng.sample(facts, rng.randint(2, 5))
    fields: list[tuple[str, str, bool]] = []
    values: dict[str, object] = {}
    said = []
    for names, kind, sentence, fact in chosen:
        key = rng.choice(names.split())
        value = rng.choice([choice.strip("' ") for choice in kind.split("|")]) if fact is None else fact
        fields.append((key, kind, False))
        values[key] = value
        written = ", ".join(map(str, value)) if isinstance(value, list) else str(value).lower() if isinstance(value, bool) else str(value)  # fmt: skip
        said.append(
            sentence.format(written) if rng.random() < 0.6 else f"{key.replace('_', ' ').capitalize()}: {written}."
        )
    if rng.random() < 0.4:
        rng.shuffle(said)
    if len(chosen) > 2 and rng.random() < 0.15:  # part of it one level down
        outer = rng.choice(("details", "info", "data", invented_word(rng)))
        inside = dict(list(values.items())[1:])
        values = {next(iter(values)): next(iter(values.values())), outer: inside}
        fields = [fields[0], (outer, "object", False)]
    lead = rng.choice(("[Store|Save|Note|Record|Take down|Extract|Read] [this|the facts|the data][:|.]", "[Fill in|Make] the [form|record][:|.]", "[Here are|These are] the [facts|data][:|.]", ""))  # fmt: skip
    name = _camel(rng.choice(("record", "entry", "form", "profile", "card", "row", invented_word(rng))))
    request = f"{choose_alternatives(lead, rng)} {' '.join(said)}".strip()
    described = choose_alternatives("[The facts|Data|What is known] [about|of|on] [a person|somebody|a thing].", rng)
    return StructuredAnswer(request, name, described, tuple(fields), values)


def structured_answer(rng: Random) -> StructuredAnswer:
    """Make a request and the object that answers it: something made up, or facts copied into fields."""
    return _work(rng) if rng.random() < 0.6 else _record(rng)
