"""What a KAMEL question asks about: its subject, found by the wording that the questions of a relation share."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher

_ENOUGH_ALIKE = 0.6
# "Who was elected in 1948 South Korean presidential election?", but "What family belongs King Zu Geng to?"
_BEFORE_SUBJECTS = frozenset({"of", "for", "in", "by", "the"})


def kamel_subjects(questions: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Find the subjects of KAMEL's questions.

    KAMEL words all questions of a relation alike: "What teams was … a member of?". What two or more of them begin and
    end with is the wording, and the rest is the subject. Of a relation with one question it is the words from the first
    capital letter or digit on: to the end after "of" and the like, else up to the last such word.

    Args:
        questions: Pairs of a relation and a question; the more files they come from, the more wordings are sure.

    Returns:
        The subject by relation and question. A question without one is left out.
    """
    by_relation: dict[str, dict[str, list[str]]] = defaultdict(dict)
    for relation, question in questions:
        by_relation[relation][question] = question.rstrip("? ").split(" ")
    found = {}
    for relation, asked in by_relation.items():
        before, after = _shared(list(asked.values()))
        for question, words in asked.items():
            kept = words[before : len(words) - after] if len(asked) > 1 else _named(words)
            if kept:
                found[relation, question] = " ".join(kept)
    return found


def _is_name(word: str) -> bool:
    return not word[:1].islower()


def _shared(questions: Sequence[Sequence[str]]) -> tuple[int, int]:
    """Count the words that all questions begin and end with; names among them belong to the subjects."""
    shortest = min(map(len, questions))
    before = next((i for i in range(shortest) if len({words[i] for words in questions}) > 1), shortest - 1)
    rest = shortest - before
    after = next((i for i in range(rest) if len({words[-1 - i] for words in questions}) > 1), rest - 1)
    while before > 1 and _is_name(questions[0][before - 1]):
        before -= 1
    ending = questions[0][len(questions[0]) - after :]
    while ending and _is_name(ending[0]):
        ending = ending[1:]
    return before, len(ending)


def _named(words: Sequence[str]) -> Sequence[str]:
    names = [i for i, word in enumerate(words) if i and _is_name(word)]
    if not names:
        return ()
    to_the_end = words[names[0] - 1] in _BEFORE_SUBJECTS
    return words[names[0] :] if to_the_end else words[names[0] : names[-1] + 1]


def words_for(subject: str, question: str) -> str | None:
    """Find the words of a question that stand for a subject spelt otherwise: "Cyril Connell Sr." for "…, Snr.".

    Returns:
        The span of the question that is most like the subject, or None if none is alike.
    """
    words = re.sub(r"[?.]$", "", question.strip()).split(" ")
    size = len(subject.split(" "))
    spans = {
        " ".join(words[i : i + length]).strip("\"',")
        for length in range(max(1, size - 2), size + 3)
        for i in range(len(words) - length + 1)
    }
    alike = {span: SequenceMatcher(None, span.casefold(), subject.casefold()).ratio() for span in spans}
    best = max(sorted(alike), key=lambda span: alike[span], default="")
    return best if best and alike[best] >= _ENOUGH_ALIKE else None
