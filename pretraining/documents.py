"""The corpus as a stream of documents: the kinds of text, their shares, and the loss weight of each part."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Literal

from langchain_toolken.nano.problems.word_problems import (
    OPERATIONS,
    Step,
    WordProblem,
    one_step,
    some_problem,
)
from pretraining.plain_texts import arithmetic, copying, facts, plan, small_talk
from pretraining.tool_requests import (
    as_tools_say_it,
    object_request,
    request_with_call,
    some_other_tools,
)
from pretraining.tool_texts import InventedCall, InventedTool, tool_for_step

Form = Literal["completion", "chat"]

BOS, EOS, PAD, TURN, END = "<s>", "</s>", "<pad>", "<|im_start|>", "<|im_end|>"
CALL, CALL_END = "<tool_call>", "</tool_call>"
SPECIAL_TOKENS = (BOS, EOS, PAD, TURN, END, CALL, CALL_END)

# Questions are mostly random names and numbers, which cannot be learned; a small weight still teaches their words.
ASKED = 0.25
ANSWERED = 1.0
# The model cannot compute, so it can only guess the digits of a result. At full weight the guesses become confident, and a
# confident digit after "=" keeps a toolken from firing there.
COMPUTED = 0.1
GIVEN = 0.0


@dataclass(frozen=True)
class Segment:
    """A part of a document and the loss weight of its tokens. Only `special` text may contain special tokens."""

    text: str
    weight: float
    special: bool = False


Document = list[Segment]

# Also part of the chat template; see tokenizer.py.
TOOLS_INTRODUCTION = "You can call these tools:\n"


def problem_prompt(question: str, form: Form) -> Document:
    """Write the document up to where the answer begins."""
    if form == "completion":
        return [Segment(BOS, GIVEN, special=True), Segment(f"Q: {question}\nA:", ASKED)]
    return [
        Segment(f"{BOS}{TURN}user\n", GIVEN, special=True),
        Segment(question, ASKED),
        Segment(f"{END}\n{TURN}assistant\n", GIVEN, special=True),
    ]


def _ending(form: Form) -> Segment:
    return Segment(EOS if form == "completion" else END, ANSWERED, special=True)


def worked_answer(problem: WordProblem, form: Form) -> Document:
    """Write the answer with its results, and the final line `#### result` that graders read."""
    parts = list(problem.answer)
    if form == "completion":
        parts[0] = f" {parts[0]}"
    body = [Segment(p, ANSWERED) if isinstance(p, str) else Segment(p.result, COMPUTED) for p in parts]
    return [*body, Segment(f"\n#### {problem.result}", ANSWERED), _ending(form)]


def _form(rng: Random) -> Form:
    return "completion" if rng.random() < 0.6 else "chat"


def word_problem(rng: Random) -> Document:
    """Write a word problem and its worked answer."""
    problem, form = some_problem(rng), _form(rng)
    return problem_prompt(problem.question, form) + worked_answer(problem, form)


def card_after_trigger(rng: Random) -> Document:
    """Write a worked answer up to one of its results, then a tool's card and the arguments, where decoding ends."""
    form = _form(rng)
    draw = rng.random()
    if draw < 0.03:  # a forced call that the request does not need: short arguments of any kind
        form = "chat" if rng.random() < 0.7 else "completion"
        document, call = problem_prompt(small_talk(rng)[0][0], form), request_with_call(rng).call
    elif draw < 0.17:  # the request is for an object, and its schema's card follows at once
        request, call = object_request(rng)
        form = "chat" if rng.random() < 0.7 else "completion"
        document = problem_prompt(request, form)
    elif draw < 0.39:
        asked = request_with_call(rng)
        form = "chat" if rng.random() < 0.7 else "completion"
        document, call = problem_prompt(asked.request, form), asked.call
        before, found, _ = asked.reply.rpartition(asked.result)
        if found and rng.random() < 0.5:  # the reply up to the result; otherwise the call comes first
            document.append(Segment((" " if form == "completion" else "") + before, ANSWERED))
    else:
        problem = some_problem(rng)
        document = problem_prompt(problem.question, form)
        answer = worked_answer(problem, form)
        at = rng.choice([index for index, part in enumerate(problem.answer) if isinstance(part, Step)])
        document += answer[:at]
        step = problem.answer[at]
        assert isinstance(step, Step)
        call = tool_for_step(rng, step)
    return [*document, Segment(call.tool.card, GIVEN), Segment(call.json, ANSWERED), _ending(form)]


def _tool_list(tools: list[InventedTool]) -> str:
    return "\n".join(f"- {tool.signature}: {tool.description}" for tool in tools)


def written_call(call: InventedCall) -> str:
    """Write a call as the chat template does between `<tool_call>` and `</tool_call>`."""
    return f'{{"name":{json.dumps(call.tool.name, ensure_ascii=False)},"arguments":{call.json}}}'


def _request(rng: Random) -> tuple[str, InventedCall, str, str]:
    """Return request, call, result and reply of a one-step word problem or of another request."""
    if rng.random() < 0.35:
        problem = one_step(rng, rng.choice(OPERATIONS))
        return (
            problem.question,
            tool_for_step(rng, problem.steps[0]),
            problem.result,
            f"{problem.answer_text}\n#### {problem.result}",
        )
    asked = request_with_call(rng)
    return asked.request, asked.call, as_tools_say_it(rng, asked.result), asked.reply


def _with_others(rng: Random, call: InventedCall) -> list[InventedTool]:
    tools = [call.tool, *some_other_tools(rng, rng.choice((0, 0, 1, 2, 3, 4)), [call.tool.name])]
    rng.shuffle(tools)
    return tools


def tools_in_system_prompt(rng: Random) -> Document:
    """Write a chat whose system message lists tools: the model calls the right one, reads the result, and answers.

    Sometimes there is small talk first, or no request that needs a tool, and the model just answers.
    """
    request, call, result, reply = _request(rng)
    tools = _with_others(rng, call)
    document = [Segment(f"{BOS}{TURN}system\n", GIVEN, special=True), Segment(TOOLS_INTRODUCTION + _tool_list(tools), GIVEN), Segment(f"{END}\n", GIVEN, special=True)]  # fmt: skip
    talk = rng.random()
    if talk < 0.25:
        document += _turns(small_talk(rng)[:1])
        if talk < 0.1:
            return document[:-1]
    if talk > 0.95:  # as with `tool_choice`: a forced call that the request does not need
        request, reply = small_talk(rng)[0]
    return [
        *document,
        Segment(f"{TURN}user\n", GIVEN, special=True), Segment(request, ASKED), Segment(f"{END}\n{TURN}assistant\n", GIVEN, special=True),
        Segment(CALL, ANSWERED if talk <= 0.95 else GIVEN, special=True), Segment(written_call(call), ANSWERED), Segment(f"{CALL_END}{END}", ANSWERED, special=True),
        Segment(f"\n{TURN}tool\n", GIVEN, special=True), Segment(result, GIVEN), Segment(f"{END}\n{TURN}assistant\n", GIVEN, special=True),
        Segment(reply, ANSWERED), Segment(END, ANSWERED, special=True),
    ]  # fmt: skip


def react(rng: Random) -> Document:
    """Write a ReAct transcript: tools, question, thought, action, observation, final answer."""
    request, call, result, reply = _request(rng)
    tools = _with_others(rng, call)
    thought = rng.choice(("I should use {}.", "I need {} for this.", "{} can do this.", "The tool {} fits.")).format(
        call.tool.name
    )
    return [
        Segment(BOS, GIVEN, special=True), Segment(f"Tools:\n{_tool_list(tools)}\n\n", GIVEN), Segment(f"Question: {request}\nThought:", ASKED),
        Segment(f" {thought}\nAction: {call.tool.name}\nAction Input: {call.json}\nObservation:", ANSWERED), Segment(f" {result}\nThought:", GIVEN),
        Segment(f" I now know the final answer.\nFinal Answer: {reply}", ANSWERED), Segment(EOS, ANSWERED, special=True),
    ]  # fmt: skip


def _arithmetic(rng: Random) -> Document:
    sums = [
        piece for written, result in arithmetic(rng) for piece in (Segment(written, ASKED), Segment(result, COMPUTED))
    ]
    return [Segment(BOS, GIVEN, special=True), *sums, Segment(EOS, ASKED, special=True)]


def _copying(rng: Random) -> Document:
    asked, answer = copying(rng)
    form = _form(rng)
    lead = " " if form == "completion" else ""
    return [*problem_prompt(asked, form), Segment(lead + answer, ANSWERED), _ending(form)]


def _facts(rng: Random) -> Document:
    before, answer = facts(rng)
    return [
        Segment(BOS, GIVEN, special=True),
        Segment(before, ASKED),
        Segment(answer, ANSWERED),
        Segment(EOS, ANSWERED, special=True),
    ]


def _plan(rng: Random) -> Document:
    return [Segment(BOS, GIVEN, special=True), Segment(plan(rng), 0.5), Segment(EOS, ANSWERED, special=True)]


def _turns(talk: list[tuple[str, str]]) -> Document:
    document: Document = []
    for said, answer in talk:
        document += [
            Segment(f"{TURN}user\n", GIVEN, special=True), Segment(said, ASKED), Segment(f"{END}\n{TURN}assistant\n", GIVEN, special=True),
            Segment(answer, ANSWERED), Segment(END, ANSWERED, special=True), Segment("\n", GIVEN),
        ]  # fmt: skip
    return document


def _small_talk(rng: Random) -> Document:
    return [Segment(BOS, GIVEN, special=True), *_turns(small_talk(rng))]


def result_inline(rng: Random) -> Document:
    """Write a request and its reply with a tool's result put inline: in a sentence, or alone."""
    asked, form = request_with_call(rng), _form(rng)
    lead = " " if form == "completion" else ""
    before, found, after = asked.reply.rpartition(asked.result)
    document = problem_prompt(asked.request, form)
    if not found or rng.random() < 0.4:
        return [*document, Segment(lead + as_tools_say_it(rng, asked.result), GIVEN), _ending(form)]
    return [
        *document,
        Segment(lead + before, ANSWERED),
        Segment(asked.result, GIVEN),
        Segment(after, ANSWERED),
        _ending(form),
    ]


def result_as_turn(rng: Random) -> Document:
    """Write a chat in which a tool message gives the last result of an answer, and a new turn completes the answer."""
    problem = some_problem(rng)
    *before, last, rest = problem.answer if isinstance(problem.answer[-1], str) else (*problem.answer, "")
    assert isinstance(last, Step)
    text = "".join(part.result if isinstance(part, Step) else part for part in before)
    return [
        *problem_prompt(problem.question, "chat"), Segment(text, ANSWERED),
        Segment(CALL, GIVEN, special=True), Segment(written_call(tool_for_step(rng, last)), GIVEN), Segment(CALL_END, GIVEN, special=True),
        Segment(f"{END}\n{TURN}tool\n", GIVEN, special=True), Segment(last.result, GIVEN), Segment(f"{END}\n{TURN}assistant\n", GIVEN, special=True),
        Segment(f"{last.result}{rest}\n#### {last.result}", ANSWERED), Segment(END, ANSWERED, special=True),
    ]  # fmt: skip


# Shares of documents, not of tokens.
SHORT_KINDS: tuple[tuple[Callable[[Random], Document], float], ...] = (
    (word_problem, 0.43), (card_after_trigger, 0.35), (_arithmetic, 0.02), (_copying, 0.07), (_facts, 0.03), (_plan, 0.01), (_small_talk, 0.03),
    (result_as_turn, 0.03), (result_inline, 0.03),
)  # fmt: skip
LONG_KINDS: tuple[tuple[Callable[[Random], Document], float], ...] = ((tools_in_system_prompt, 0.55), (react, 0.45))


def document(
    seed: int, number: int, kinds: tuple[tuple[Callable[[Random], Document], float], ...] = SHORT_KINDS
) -> Document:
    """Generate one document of the corpus. It depends only on the arguments, not on documents drawn before."""
    rng = Random(f"{seed}:{number}")
    make = rng.choices([kind for kind, _ in kinds], [share for _, share in kinds])[0]
    return make(rng)
