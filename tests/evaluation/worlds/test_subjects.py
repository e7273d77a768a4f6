"""Subjects of questions, by the wording that questions of a relation share."""

from __future__ import annotations

import pytest

from langchain_toolken.evaluation.worlds.subjects import kamel_subjects, words_for


def subjects(*questions: str) -> list[str | None]:
    found = kamel_subjects(("r", question) for question in questions)
    return [found.get(("r", question)) for question in questions]


def test_the_subject_is_what_differs_between_the_questions_of_a_relation() -> None:
    asked = ["What teams was Ana Lima a member of?", "What teams was bell hooks a member of?"]
    assert subjects(*asked) == ["Ana Lima", "bell hooks"]


def test_names_that_subjects_share_stay_with_them() -> None:
    assert subjects("Who played The Lake?", "Who played The Hill?") == ["The Lake", "The Hill"]
    asked = ["What district does Oak High School belong to?", "What district does Elm High School belong to?"]
    assert subjects(*asked) == ["Oak High School", "Elm High School"]


def test_a_subject_is_never_empty_even_if_another_question_contains_it() -> None:
    assert subjects("Where is Rome?", "Where is Rome Central?") == ["Rome", "Rome Central"]


@pytest.mark.parametrize(
    ("question", "subject"),
    [
        ("What family belongs King Zu to?", "King Zu"),
        ("Who is the winner of 1971 Northern premier league?", "1971 Northern premier league"),
        ("What court was Smith v. Lee decided in?", "Smith v. Lee"),
        ("What is the use of user guides?", None),
    ],
)
def test_the_only_question_of_a_relation_is_read_by_its_capitals(question: str, subject: str | None) -> None:
    assert subjects(question) == [subject]


def test_the_same_question_of_two_relations_has_a_subject_in_each() -> None:
    pairs = [("a", "Where was Ana Lima born?"), ("b", "Where was Ana Lima born?"), ("b", "Where was Bo Ek born?")]
    assert kamel_subjects(pairs) == dict.fromkeys(pairs[:2], "Ana Lima") | {pairs[2]: "Bo Ek"}


@pytest.mark.parametrize(
    ("subject", "question", "words"),
    [
        ("Cyril Connell, Snr.", "Where is Cyril Connell Sr. from?", "Cyril Connell Sr."),
        ("The Entropy Tango", 'What genre does the book "Entropy Tango" belong to?', "Entropy Tango"),
        ("3589 Loyola", "What do bodies orbit in astronomy?", None),
    ],
)
def test_a_subject_spelt_otherwise_is_found_in_the_question(subject: str, question: str, words: str | None) -> None:
    found = words_for(subject, question)
    assert found is None if words is None else words in str(found)
