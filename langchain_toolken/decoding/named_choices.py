"""Which of a parameter's fixed choices a text names: "urine", "Tuesday's", "error rate" for error_rate.

Nothing is learnt: it works for tools that no demonstration shows, and for choices that none has. What other words mean
("in Swiss francs") is learnt from demonstrations (`toolkens.lexicon`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# Words of English that say nothing, and are units, languages or countries elsewhere: "in" (inch), "it", "no", "us".
_EVERYWHERE = re.compile("a|am|an|as|at|be|by|do|go|he|i|if|in|is|it|me|my|no|of|on|or|so|to|up|us|we")
_PARTING = re.compile(r"[\s_-]+")
_ENDING = r"(?:['’]?s)?"


def named_choices(choices: Iterable[str], text: str) -> dict[str, list[tuple[int, int]]]:
    """Find the choices that stand in a text as words of it, case aside, alone or with an s.

    Choices of one or two letters have to stand there as they are written. What is a part of a longer choice that stands
    there is not found, so that "error rate" does not name "error".

    Args:
        choices: The choices.
        text: The text.

    Returns:
        For each choice that is found, where: (start, end) in characters.
    """
    found: dict[str, list[tuple[int, int]]] = {}
    taken: list[tuple[int, int]] = []
    lowered = text.lower()
    for choice in sorted(dict.fromkeys(choices), key=len, reverse=True):
        words = [word for word in _PARTING.split(choice) if word]
        # Most of hundreds of countries are not there, and need no pattern.
        if not words or words[0].lower() not in lowered or _EVERYWHERE.fullmatch(choice):
            continue
        case = re.NOFLAG if len(choice) <= 2 else re.IGNORECASE
        ending = _ENDING if choice[-1].isalpha() and len(choice) > 2 else ""
        pattern = r"(?<![\w'’])" + r"[\s_-]*".join(map(re.escape, words)) + ending + r"(?!\w)"
        spans = [match.span() for match in re.finditer(pattern, text, case)]
        spans = [(start, end) for start, end in spans if not any(a <= start and end <= b for a, b in taken)]
        if spans:
            found[choice] = spans
            taken += spans
    return found
