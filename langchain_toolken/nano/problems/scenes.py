"""Templates composed of phrases: a fact, a question and an answer are drawn separately.

`wordings/scenes.txt` has sections like the other files (`## add`). A scene is a block of lines: facts (`.`), questions about
them (`?`) and answers (`=`). Every combination makes sense. A scene without facts has questions that need none. Phrases contain
alternatives and fields as templates do. A few hundred lines give tens of thousands of wordings, so that nano learns which phrase
asks for which operation instead of learning the templates by heart.

`dressed` varies these and the hand-written templates further: "If …, how many …?", the question first, an unrelated sentence, an
opening, a closing request, a remark about the method before the answer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

from langchain_toolken.nano.problems.wordings import Template
from langchain_toolken.nano.problems.words import choose_alternatives

_FILE = Path(__file__).parent / "wordings" / "scenes.txt"


@dataclass(frozen=True)
class Scene:
    """Phrases that fit together in any combination. Only `facts` may be empty."""

    facts: tuple[str, ...]
    questions: tuple[str, ...]
    answers: tuple[str, ...]

    @property
    def wordings(self) -> int:
        """The number of combinations, not counting alternatives within phrases."""
        return max(1, len(self.facts)) * len(self.questions) * len(self.answers)


@cache
def scenes() -> dict[str, tuple[Scene, ...]]:
    """Read the scenes of each operation.

    Raises:
        ValueError: If the file does not have the form described above.
    """
    read: dict[str, tuple[Scene, ...]] = {}
    section = ""
    for block in _FILE.read_text(encoding="utf-8").strip().split("\n\n"):
        if block.startswith("## "):
            section = block.removeprefix("## ")
            read[section] = ()
            continue
        phrases: dict[str, list[str]] = {".": [], "?": [], "=": []}
        for line in block.splitlines():
            kind, _, phrase = line.partition(" ")
            if kind not in phrases or not phrase:
                raise ValueError(f"{_FILE}: a line begins with '. ', '? ' or '= ', not as {line!r}")
            phrases[kind].append(phrase)
        scene = Scene(tuple(phrases["."]), tuple(phrases["?"]), tuple(phrases["="]))
        if not scene.questions or not scene.answers:
            raise ValueError(f"{_FILE}: a scene needs a question and an answer: {block!r}")
        read[section] += (scene,)
    return read


def composed(rng: Random, operation: str) -> Template:
    """Compose a template for one operation. Scenes are drawn in proportion to the square root of their wordings."""
    choices = scenes()[operation]
    scene = rng.choices(choices, [choice.wordings**0.5 for choice in choices])[0]
    fact = rng.choice(scene.facts) + " " if scene.facts else ""
    return Template(fact + rng.choice(scene.questions), rng.choice(scene.answers), held_out=False)


_METHODS = {
    "add": ("add [the numbers|them|both]", "find the sum", "put the amounts together"),
    "subtract": ("subtract", "take one from the other", "find the difference"),
    "multiply": ("multiply", "find the product", "take one times the other"),
    "divide": ("divide", "find the quotient", "split the whole evenly"),
    "power": ("raise to a power", "use a power", "multiply the same factor again and again"),
    "sqrt": ("take the square root", "find the square root"),
    "log": ("take the logarithm to base 10", "find the common logarithm"),
    "ln": ("take the natural logarithm", "find the logarithm to base e"),
    "lcm": ("find the least common multiple", "look for the smallest common multiple"),
    "gcd": ("find the greatest common divisor", "look for the largest common factor"),
    "remainder": ("find the remainder", "look at what a division leaves"),
    "choose": ("count combinations", "choose without order"),
    "permutate": ("count arrangements", "choose with order"),
}
_LEADS = ("[We|I|You] [must|have to|need to|can|should] {}.", "Here [we|you] {}.", "[To find this|For this|To solve it], {}.", "[First|So][,|] [we|I] {}.")  # fmt: skip
_OPENINGS = (
    "Here is a [question|problem|task][.|:]", "[Please|Can you] help me with this[.|:]", "[Solve|Answer] this[.|:]", "{m} asks[ you|]:",
    "[Exercise|Problem|Task|Question] {serial}:", "A [riddle|puzzle|problem] [for you|from a book][.|:]", "[Hi|Hello|Hey][,|!]", "[Listen|Consider this|Think about this][:|.]",
    "I have a question[.|:]",
)  # fmt: skip
_CLOSINGS = ("[Show|Explain] [your work|the steps|how].", "[Think|Go] step by step.", "[Please|] answer with a number.", "Be [exact|careful].", "[Thanks|Thank you][!|.]", "[Use|Call] a tool if you need one.")  # fmt: skip
_ASIDES = (
    "It is a [sunny|rainy|cold|busy] {day}.", "{m} [likes|dislikes|talks about|prefers] {us}.", "The {shop} [opened|closed|was painted] in {month3}.", "The weather is [nice|bad|fine] today.",
    "{m} [watches|waits|is there too|helps a little].", "[Nobody|Everyone] [minds|knows why|is in a hurry].", "This [happens|happened] [every {month3}|near the {place}|in the {shop}].",
    "{m} has {serial} {us}.", "The {shop} has {serial} {members2}.", "All of this took {serial} {units}.",
)  # fmt: skip
_SENTENCE = re.compile(r"(?<=[.!?]) (?=\S)")
_ASKS = ("How ", "What ", "By ", "In ", "At ", "Which ", "After ", "Into ", "Where ", "On ")


def _lowered(sentence: str) -> str:
    if sentence.startswith("{ts2}"):
        return "{ts}" + sentence.removeprefix("{ts2}")
    return sentence if sentence.startswith(("{", "I ", "I'")) else sentence[:1].lower() + sentence[1:]


def dressed(rng: Random, template: Template, operation: str = "") -> Template:
    """Choose the template's alternatives and, more often than not, reorder its sentences or add others."""
    *facts, question = _SENTENCE.split(choose_alternatives(template.question, rng))
    answer = choose_alternatives(template.answer, rng)
    asks = question.startswith(_ASKS) and question.endswith("?")
    draw = rng.random()
    if asks and len(facts) == 1 and facts[0].endswith(".") and draw < 0.28:
        fact = _lowered(facts[0].removesuffix("."))
        if draw < 0.16:
            lead = rng.choice(("If", "If", "Given that", "When", "Suppose", "Say", "Assume that"))
            apart = lead in ("Suppose", "Say", "Assume that")
            question = f"{lead} {fact}{'.' if apart else ','} {question if apart else _lowered(question)}"
            facts = []
        else:
            question = f"{question.removesuffix('?')} if {fact}?"
            facts = []
    elif asks and facts and draw < 0.36:
        facts, question = [question, *facts[:-1]], facts[-1]
    sentences = [*facts, question]
    if rng.random() < 0.12:
        sentences.insert(rng.randrange(len(sentences)), choose_alternatives(rng.choice(_ASIDES), rng))
    if rng.random() < 0.1:
        sentences.insert(0, choose_alternatives(rng.choice(_OPENINGS), rng))
    if rng.random() < 0.07:
        sentences.append(choose_alternatives(rng.choice(_CLOSINGS), rng).strip())
    if operation and rng.random() < 0.15:
        method = choose_alternatives(rng.choice(_METHODS[operation]), rng)
        answer = f"{choose_alternatives(rng.choice(_LEADS), rng).format(method)} {answer}"
    return Template(" ".join(sentences), answer, template.held_out)
