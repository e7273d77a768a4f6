"""Plans of many tools in a row (VirtualHome): written by the LM, or toolken after toolken as in ToolkenGPT."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_toolken.decoding.engine import DecodingRequest, Sampling
from langchain_toolken.evaluation.attempts import Attempt, AttemptedCall, TraceStep
from langchain_toolken.evaluation.methods.method import Answerer, Bench
from langchain_toolken.evaluation.methods.text_agent import prompt_ids
from langchain_toolken.evaluation.tasks import TaskQuestion
from langchain_toolken.prompts.requests import Request
from langchain_toolken.toolkens.set import ToolkenSet

END_OF_PLAN = "[END]"
_MOST_STEPS = 48  # toolkens; the longest plan of the data has 40
_MOST_TOKENS = 320


def plain_plans(bench: Bench) -> Answerer:
    """Let the LM write each plan after the three that the question shows."""
    return _written_plans(bench, "")


def in_context_plans(bench: Bench) -> Answerer:
    """As `plain_plans`, with a list of all actions and objects before it."""
    written = bench.task.written or {}
    actions = [text for text in written.values() if text.startswith("[")]
    objects = [text for text in written.values() if not text.startswith("[")]
    return _written_plans(bench, f"Actions: {', '.join(actions)}\nObjects: {', '.join(objects)}\n\n")


def _written_plans(bench: Bench, head: str) -> Answerer:
    engine = bench.engine
    request = DecodingRequest(Sampling(max_tokens=_MOST_TOKENS), stop=(END_OF_PLAN, "\n\n", "\nTask"))

    def answer(questions: Sequence[TaskQuestion]) -> list[Attempt]:
        every = {each: prompt_ids(engine, f"{head}{bench.task.prompt(each)}") for each in questions}
        fits = {each: ids for each, ids in every.items() if len(ids) < engine.context_length}
        why = (TraceStep(kind="stop", text="The prompt is longer than the LM's context."),)
        found = [Attempt(question=each.id, trace=why) for each in questions if each not in fits]
        for each, said in zip(fits, engine.reason(list(fits.values()), request), strict=True):
            plan = said.text.strip() + (f"\n{END_OF_PLAN}" if said.stopped_by == END_OF_PLAN else "")
            trace = (TraceStep(kind="prompt", text=_goal(each)), TraceStep(kind="text", text=plan))
            found.append(
                Attempt(
                    question=each.id,
                    text=plan,
                    prompt_tokens=said.prompt_tokens,
                    generated_tokens=len(said.token_ids),
                    trace=trace,
                )
            )
        return found

    return answer


def toolken_plans(bench: Bench, toolkens: ToolkenSet) -> Answerer:
    """Write plans toolken by toolken: each puts the text of its action or object into the plan."""
    engine, written = bench.engine, bench.task.written or {}
    texts = dict(written)

    def answer(questions: Sequence[TaskQuestion]) -> list[Attempt]:
        plans: list[list[str]] = [[] for _ in questions]
        heads = [bench.task.prompt(each) for each in questions]
        read = [0] * len(questions)
        running = list(range(len(questions)))
        while running:
            prompts = [prompt_ids(engine, heads[row] + plan_text([texts[t] for t in plans[row]])) for row in running]
            requests = [
                Request(_goal(questions[row]), (0, len(ids))) for row, ids in zip(running, prompts, strict=True)
            ]
            ranked = engine.rank(prompts, toolkens=toolkens, requests=requests if toolkens.evidence is not None else ())
            for row, ids, tools in zip(list(running), prompts, ranked, strict=True):
                plans[row].append(tools[0].tool)
                read[row] += len(ids)
                if texts[tools[0].tool] == END_OF_PLAN or len(plans[row]) >= _MOST_STEPS:
                    running.remove(row)
        return [
            Attempt(
                question=each.id,
                text=(plan := plan_text([texts[tool] for tool in tools]).strip()),
                calls=tuple(AttemptedCall(tool=tool, result=texts[tool]) for tool in tools),
                prompt_tokens=tokens,
                generated_tokens=len(tools),
                trace=(TraceStep(kind="prompt", text=_goal(each)), TraceStep(kind="text", text=plan)),
            )
            for each, tools, tokens in zip(questions, plans, read, strict=True)
        ]

    return answer


def plan_text(steps: Sequence[str]) -> str:
    """Write the steps of a plan, up to where the next one comes: an object follows its action after a space."""
    text = ""
    for step in steps:
        if step.startswith("<"):
            text = text.removesuffix("\n") + f" {step}\n"
        else:
            text += ("\n" if text and not text.endswith("\n") else "") + step
    return text


def _goal(question: TaskQuestion) -> str:
    """Return what the last of the tasks in the question asks for."""
    return question.text.rpartition("Goal:\n")[2].removesuffix("Plan:\n").strip()
