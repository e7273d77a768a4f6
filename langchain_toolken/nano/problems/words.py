"""People, things, places and invented names for the problems, and those that only evaluation uses."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from random import Random

_WORDS = tomllib.loads((Path(__file__).parent / "words.toml").read_text(encoding="utf-8"))

PEOPLE: list[str] = _WORDS["people"]
HELD_OUT_PEOPLE: list[str] = _WORDS["held_out_people"]
THINGS: list[str] = _WORDS["things"]
HELD_OUT_THINGS: list[str] = _WORDS["held_out_things"]
CONTAINERS: list[str] = _WORDS["containers"]
SHOPS: list[str] = _WORDS["shops"]
WORKERS: list[str] = _WORDS["workers"]
MEMBERS: list[str] = _WORDS["members"]
PLACES: list[str] = _WORDS["places"]
LENGTHS: list[str] = _WORDS["lengths"]
WEIGHTS: list[str] = _WORDS["weights"]
VOLUMES: list[str] = _WORDS["volumes"]
TIMES: list[str] = _WORDS["times"]
VEHICLES: list[str] = _WORDS["vehicles"]
_ONSETS: list[str] = _WORDS["onsets"]
_VOWELS: list[str] = _WORDS["vowels"]
_CODAS: list[str] = _WORDS["codas"]
SINGULARS: dict[str, str] = _WORDS["singulars"]


def invented_word(rng: Random, syllables: int = 0) -> str:
    """Invent a pronounceable lower-case word without meaning, of one to three syllables unless `syllables` is given."""
    count = syllables or rng.choice((2, 2, 2, 3, 1))
    return "".join(rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS) for _ in range(count))


def singular(thing: str) -> str:
    """Return the singular of one of this module's plurals."""
    if thing in SINGULARS:
        return SINGULARS[thing]
    return thing[:-1] if thing.endswith("s") else thing


_ALTERNATIVES = re.compile(r"\[([^\[\]]*)\]")
_ARTICLE = re.compile(r"\b([Aa]) (?=[aeiou])")


def choose_alternatives(template: str, rng: Random) -> str:
    """Replace each `[one|two|]` by one of its alternatives, the innermost first.

    Raises:
        ValueError: If the brackets are unbalanced.
    """
    while "[" in template:
        template, count = _ALTERNATIVES.subn(lambda match: rng.choice(match[1].split("|")), template)
        if not count:
            raise ValueError(f"unbalanced brackets in the template {template!r}")
    return template


def fix_articles(text: str) -> str:
    """Correct "a apple" to "an apple" after nouns were filled in."""
    return _ARTICLE.sub(lambda match: match[1] + "n ", text)
