"""The pre-training text: what it contains, and what it must not contain because nano is evaluated on it."""

from __future__ import annotations

import re
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_toolken.nano.problems.numbers import Numbers, is_held_out
from langchain_toolken.nano.problems.word_problems import OPERATIONS, HeldOut, Step, multi_step, one_step
from langchain_toolken.nano.problems.wordings import HELD_OUT_EVENTS, multi_step_templates, one_step_templates
from langchain_toolken.nano.problems.words import HELD_OUT_PEOPLE, HELD_OUT_THINGS, choose_alternatives
from langchain_toolken.nano.tools import compute
from langchain_toolken.tools.spec import tool_spec
from pretraining.documents import LONG_KINDS, SHORT_KINDS, SPECIAL_TOKENS, document

SEEDS = st.integers(0, 10**9)


def whole_text(seed: int, number: int) -> str:
    kinds = LONG_KINDS if number % 5 == 4 else SHORT_KINDS
    return "".join(segment.text for segment in document(seed, number, kinds))


def test_documents_are_the_same_every_time_and_differ_from_each_other() -> None:
    first = [whole_text(3, number) for number in range(200)]
    assert first == [whole_text(3, number) for number in range(200)]
    assert len(set(first)) > 195


@given(SEEDS, st.sampled_from(["nothing", "numbers", "wordings"]), st.sampled_from(OPERATIONS))
@settings(max_examples=300, deadline=None)
def test_every_result_in_an_answer_is_what_the_tool_computes(seed: int, held_out: HeldOut, operation: str) -> None:
    rng = Random(seed)
    for problem in (one_step(rng, operation, held_out=held_out), multi_step(rng, held_out=held_out)):
        assert problem.steps
        for step in problem.steps:
            assert step.result == compute(step.operation, list(step.operands))
        assert "{" not in problem.question + problem.answer_text
        assert "[" not in problem.question + problem.answer_text


@given(SEEDS, st.sampled_from(OPERATIONS))
@settings(max_examples=200, deadline=None)
def test_what_is_written_before_a_result_names_its_operands(seed: int, operation: str) -> None:
    problem = one_step(Random(seed), operation)
    (step,) = problem.steps
    before = problem.question + "".join(part for part in problem.answer if isinstance(part, str))
    for operand in step.operands:
        digits = operand.lstrip("-")
        written = digits in before.replace(",", "")
        percent = operation == "power"  # 3% is written as a percentage and becomes 1.03, "doubles" becomes 2
        assert written or percent, (operand, before)


def test_pre_training_never_shows_held_out_names_or_templates() -> None:
    names = re.compile(r"\b(" + "|".join(HELD_OUT_PEOPLE + HELD_OUT_THINGS) + r")\b")
    held_out = [t for templates in one_step_templates().values() for t in templates if t.held_out]
    held_out += [t for t in multi_step_templates() if t.held_out]
    # the longest stretch of fixed words in each held-out question, which no training text may contain
    fixed = [max(re.split(r"[{\[][^}\]]*[}\]]", t.question), key=len).strip() for t in held_out]
    fixed += [max(re.split(r"[{\[][^}\]]*[}\]]", event), key=len).strip() for event, _ in HELD_OUT_EVENTS]
    long_enough = [stretch for stretch in fixed if len(stretch.split()) >= 3]
    assert len(long_enough) > 30
    for number in range(4000):
        text = whole_text(1, number)
        assert not names.search(text), text
        assert not any(stretch in text for stretch in long_enough), text


@given(SEEDS)
def test_numbers_for_training_stay_out_of_the_ranges_kept_for_evaluation(seed: int) -> None:
    drawn = Numbers(Random(seed))
    numbers = [drawn.number() for _ in range(40)] + [drawn.integer(3, 8) for _ in range(40)]
    assert not any(is_held_out(number) for number in numbers)
    kept = Numbers(Random(seed), held_out=True)
    assert all(is_held_out(kept.integer(3, 8)) for _ in range(40))


@given(SEEDS)
@settings(max_examples=100, deadline=None)
def test_special_tokens_stand_only_in_segments_marked_special(seed: int) -> None:
    for kinds in (SHORT_KINDS, LONG_KINDS):
        for segment in document(seed, 0, kinds):
            if not segment.special:
                assert not any(token in segment.text for token in SPECIAL_TOKENS), segment


def test_card_documents_show_signatures_in_the_form_of_real_tool_specs() -> None:
    def divide(dividend: float, divisor: float, digits: int = 2) -> float:
        """Divides the first number by the second."""
        raise NotImplementedError

    def total(numbers: list[float]) -> float:
        """Adds the numbers."""
        raise NotImplementedError

    cards = "".join(whole_text(1, number) for number in range(3000))
    generic = re.sub(r"\w+\(", "f(", cards)
    for tool in (divide, total):
        signature = tool_spec(tool).signature
        assert re.sub(r"\w+\(", "f(", signature).replace(", digits?: integer", "") in generic


def test_alternatives_are_chosen_innermost_first_and_unbalanced_brackets_are_refused() -> None:
    assert choose_alternatives("[a|a] b[| |]c", Random(0)).startswith("a b")
    with pytest.raises(ValueError, match="unbalanced"):
        choose_alternatives("[a", Random(0))


def test_a_problem_of_several_steps_uses_earlier_results() -> None:
    rng = Random(5)
    chained = 0
    for _ in range(200):
        steps = multi_step(rng).steps
        assert len(steps) >= 2
        chained += any(
            earlier.result in later.operands
            for n, later in enumerate(steps)
            for earlier in steps[:n]
            if isinstance(later, Step)
        )
    assert chained > 180
