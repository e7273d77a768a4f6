"""Toolken sets at work on a task: as an agent, as a ranking where a tool is due, or as a plan, toolken by toolken."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import torch
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langchain_core.runnables import RunnableConfig

from langchain_toolken.agents.agent import create_toolken_agent
from langchain_toolken.chat.model import ToolkenChat
from langchain_toolken.evaluation.attempts import Attempt, AttemptedCall, StepKind, TraceStep
from langchain_toolken.evaluation.datasets import ToolQuestion
from langchain_toolken.evaluation.methods.method import Answerer, Bench
from langchain_toolken.evaluation.methods.plans import toolken_plans
from langchain_toolken.evaluation.methods.text_agent import prompt_ids
from langchain_toolken.evaluation.runner import made_calls
from langchain_toolken.evaluation.tasks import TaskQuestion
from langchain_toolken.evaluation.tool_choice import states_where_due, toolken_scores
from langchain_toolken.toolkens.set import ToolkenSet

_RANKED = 10
_KINDS: dict[str, StepKind] = {"reason": "text", "complete": "arguments", "execute": "result", "stop": "stop"}


def with_toolkens(bench: Bench, toolkens: ToolkenSet, *, few_shot: str = "", rerank: bool = False) -> Answerer:
    """Answer a task's questions with toolkens and no tool in the prompt.

    Args:
        bench: The task and the engine.
        toolkens: The toolkens, for the task's tools.
        few_shot: Worked examples before each question; for completion style.
        rerank: Let the LM judge every call by the cards of the likeliest tools, and reject it (Toolken+).
    """
    if bench.task.kind == "plan":
        return toolken_plans(bench, toolkens)
    chat = ToolkenChat.from_engine(
        bench.engine,
        toolkens,
        few_shot=few_shot,
        max_tokens=bench.max_tokens,
        max_argument_tokens=bench.max_tokens,
        rerank="docs" if rerank else None,
        rerank_margin=1.0 if rerank else 0.5,
    )
    if bench.task.kind == "number":
        return _agent(bench, chat)
    chats = bool(bench.task.demonstrations and bench.task.demonstrations[0].before)
    if chats or toolkens.provenance.style == "chat":
        return _ranked_in_chat(bench, chat, toolkens)
    return _ranked_where_due(bench, toolkens)


def _agent(bench: Bench, chat: ToolkenChat) -> Answerer:
    agent = create_toolken_agent(chat, list(bench.task.tools), max_calls=bench.max_calls)
    # A batch's config would put LangChain's limit of steps in place of the agent's.
    limit = (agent.config or {})["recursion_limit"]

    def answer(questions: Sequence[TaskQuestion]) -> list[Attempt]:
        config = RunnableConfig(max_concurrency=bench.batch_size, recursion_limit=limit)
        asked: list[list[AnyMessage]] = [[HumanMessage(each.text)] for each in questions]
        states = agent.batch([{"messages": messages} for messages in asked], config)
        return [_attempt(each, state) for each, state in zip(questions, states, strict=True)]

    return answer


def _attempt(question: TaskQuestion, state: dict[str, object]) -> Attempt:
    messages = state["messages"]
    assert isinstance(messages, list)
    said = [message for message in messages if isinstance(message, AIMessage) and message.usage_metadata]
    made = made_calls(messages[1:])
    trace = [TraceStep(kind="prompt", text=question.text)]
    steps = state["steps"]
    assert isinstance(steps, list)
    for step in steps:
        kind = _KINDS.get(step["kind"])
        if step["kind"] == "reason" and "tool" in step:
            likely = ", ".join(f"{one['name']} {one['probability']:.2f}" for one in step["runners_up"][:2])
            text = f"{step['tool']} {step['probability']:.2f} (then {likely})" if likely else step["tool"]
            trace += [TraceStep(kind="text", text=step["text"])] if step["text"].strip() else []
            trace.append(TraceStep(kind="tool", text=text))
        elif kind is not None:
            words = step.get("result", step.get("text"))
            text = json.dumps(step.get("arguments", {})) if words is None else str(words)
            trace += [TraceStep(kind=kind, text=text)] if text.strip() else []
    return Attempt(
        question=question.id,
        text=str(state["text"]).strip(),
        calls=tuple(AttemptedCall(tool=one.tool, arguments=one.arguments, result=one.result) for one in made),
        prompt_tokens=sum(message.usage_metadata["input_tokens"] for message in said if message.usage_metadata),
        generated_tokens=sum(message.usage_metadata["output_tokens"] for message in said if message.usage_metadata),
        trace=tuple(trace),
    )


def _ranked_in_chat(bench: Bench, chat: ToolkenChat, toolkens: ToolkenSet) -> Answerer:
    tools, evidence = list(bench.task.tools), toolkens.evidence

    def answer(questions: Sequence[TaskQuestion]) -> list[Attempt]:
        asked = [[HumanMessage(each.text)] for each in questions]
        ranked = chat.batch_rank_tools(asked, len(tools), tools=tools)
        threshold = 0.0 if evidence is None or evidence.gate is None else evidence.gate.threshold
        found = []
        for each, one in zip(questions, ranked, strict=True):
            called = min(max(sum(tool.probability for tool in one), 1e-9), 1 - 1e-9)
            odds = math.log(called / (1 - called))
            names = tuple(tool.tool for tool in one[:_RANKED])
            calls = (AttemptedCall(tool=names[0]),) if odds > threshold else ()
            trace = (
                TraceStep(kind="prompt", text=each.text),
                TraceStep(kind="tool", text=", ".join(f"{tool.tool} {tool.probability:.2f}" for tool in one[:5])),
            )
            tokens = chat.get_num_tokens_from_messages([HumanMessage(each.text)])
            found.append(
                Attempt(question=each.id, calls=calls, ranked=names, call_odds=odds, prompt_tokens=tokens, trace=trace)
            )
        return found

    return answer


def _ranked_where_due(bench: Bench, toolkens: ToolkenSet) -> Answerer:
    lm, names = bench.engine.lm, toolkens.names

    def answer(questions: Sequence[TaskQuestion]) -> list[Attempt]:
        asked = [ToolQuestion(bench.task.prompt(each), each.tool or "") for each in questions]
        scores = toolken_scores(toolkens, states_where_due(lm, asked))
        best = torch.argsort(scores, dim=1, descending=True, stable=True)[:, :_RANKED].tolist()
        return [
            Attempt(
                question=each.id,
                ranked=(tools := tuple(names[k] for k in order)),
                prompt_tokens=len(prompt_ids(bench.engine, text.text)),
                trace=(TraceStep(kind="prompt", text=text.text), TraceStep(kind="tool", text=", ".join(tools[:5]))),
            )
            for each, text, order in zip(questions, asked, best, strict=True)
        ]

    return answer
