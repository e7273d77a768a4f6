"""Texts as worked answers, and chains of them: each text after some of the others, as worked answers come before it.

An LM that reads worked answers first is in other states than one that reads the question alone: toolkens that were
fitted to the latter are too rarely called. In a chain "Q: … A: … Q: … A: …" of texts that share words, the first is
read alone and the last after all others, and every answer is learned from. The LM reads no more tokens than without.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

from langchain_toolken.prompts.format import ANSWER
from langchain_toolken.prompts.requests import question_of
from langchain_toolken.toolkens.lexical import LexicalMatch
from langchain_toolken.toolkens.worked_answers import WorkedAnswer
from langchain_toolken.training.demonstrations.demonstration import Demonstration
from langchain_toolken.training.demonstrations.load import LoadedDemonstrations
from langchain_toolken.training.evidence.choose import calls_at_once

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from langchain_toolken.lm.model import LanguageModel
    from langchain_toolken.training.options import FitOptions

LENGTH = 6
"""Most texts of a chain."""


def worked_answer(demonstration: Demonstration) -> WorkedAnswer | None:
    """Return a text with a question as a worked answer; None for other demonstrations."""
    place = None if demonstration.before else question_of(demonstration.text)
    if place is None:
        return None
    question, answer = demonstration.text[slice(*place)].strip(), demonstration.text[place[1] + len(ANSWER) :].strip()
    tools = tuple(dict.fromkeys(call.tool for call in demonstration.calls))
    return WorkedAnswer(question=question, answer=answer, tools=tools) if question and answer else None


def chained(
    loaded: LoadedDemonstrations, tokenizer: PreTrainedTokenizerBase, most_tokens: int, seed: int
) -> LoadedDemonstrations:
    """Return the demonstrations, in their order, each text with a question after the earlier ones of its chain.

    Args:
        loaded: The demonstrations.
        tokenizer: The LM's tokenizer.
        most_tokens: Most tokens of a chain's texts together.
        seed: Decides which texts chains are made for.
    """
    found = {i: worked for i, one in enumerate(loaded.demonstrations) if (worked := worked_answer(one)) is not None}
    made = list(loaded.demonstrations)
    for chain in _chains(found, tokenizer, most_tokens, seed):
        before: list[BaseMessage] = []
        for i in chain:
            made[i] = _answering(made[i], before)
            before += [HumanMessage(found[i].question), AIMessage(found[i].answer)]
    return replace(loaded, demonstrations=tuple(made))


def in_chains(lm: LanguageModel, loaded: LoadedDemonstrations, options: FitOptions) -> LoadedDemonstrations:
    """Put the demonstrations in chains, if the caller names a number of worked answers for calls inside answers."""
    if options.worked_answers in ("auto", 0) or calls_at_once(loaded.demonstrations):
        return loaded
    return chained(loaded, lm.tokenizer, lm.context_length // 2, options.seed)


def _chains(
    found: dict[int, WorkedAnswer], tokenizer: PreTrainedTokenizerBase, most_tokens: int, seed: int
) -> list[list[int]]:
    """Take a text and its nearest among those that are left, the nearest last but itself, until none is left."""
    numbers = list(found)
    match = LexicalMatch("demonstrations", 1.0, tuple(one.question for one in found.values()))
    lengths = {i: len(tokenizer(f"{one.question}{one.answer}")["input_ids"]) + 8 for i, one in found.items()}
    left = dict.fromkeys(Random(f"chains {seed}").sample(numbers, len(numbers)))
    chains = []
    while left:
        last = next(iter(left))
        del left[last]
        scores = match.scores(found[last].question).tolist()
        nearest = sorted((k for k, i in enumerate(numbers) if i in left), key=lambda k: -scores[k])
        chain, room, questions = [last], most_tokens - lengths[last], {found[last].question}
        for i in map(numbers.__getitem__, nearest):
            if len(chain) == LENGTH or lengths[i] > room:
                break
            if found[i].question not in questions:
                chain.append(i)
                room -= lengths[i]
                questions.add(found[i].question)
                del left[i]
        chains.append(chain[::-1])
    return chains


def _answering(demonstration: Demonstration, before: Sequence[BaseMessage]) -> Demonstration:
    """Return a text as the answer to its question after `before`."""
    text = demonstration.text
    place = question_of(text)
    assert place is not None
    begin = place[1] + len(ANSWER)
    begin += len(text[begin:]) - len(text[begin:].lstrip())
    calls = tuple(call.model_copy(update={"start": max(call.start - begin, 0)}) for call in demonstration.calls)
    asked = HumanMessage(text[slice(*place)].strip())
    return demonstration.model_copy(update={"text": text[begin:].rstrip(), "calls": calls, "before": (*before, asked)})
