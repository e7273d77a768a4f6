"""TokMem (arXiv 2510.00444): one trained token for each tool, which the frozen LM writes *and reads*.

A toolken is only a row of the output head. TokMem's memory token is also the input that follows: the LM writes the
arguments right after it, without a card. So it is trained through the LM, on sequences

    question, memory token, arguments, result, memory token, ..., end

with the next-token loss on memory tokens, arguments and the end; everything but the tokens stays frozen. The paper
trains with Adam at 5e-3. Here each demonstration is one sequence, gone through three times, and the arguments are
decoded under the tool's schema, as for every other method.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import DynamicCache

from langchain_toolken.evaluation.attempts import Attempt, AttemptedCall, TraceStep
from langchain_toolken.evaluation.methods.method import Answerer, Bench, Change
from langchain_toolken.evaluation.methods.text_agent import asked_text, prompt_ids, run_tool
from langchain_toolken.evaluation.methods.worked_examples import ANSWERED, QUESTION, Worked
from langchain_toolken.evaluation.tasks import TaskKind, TaskQuestion
from langchain_toolken.lm.transformers_model import TransformersModel
from langchain_toolken.prompts.call_cards import without_separators, written_arguments
from langchain_toolken.prompts.content import encode_content
from langchain_toolken.training.demonstrations.demonstration import Demonstration

LEARNING_RATE = 5e-3
EPOCHS = 3
_BATCH = 4
_RANKED = 10


@dataclass(frozen=True)
class TokMem:
    """Memory tokens."""

    name: str = "tokmem"
    says: str = "TokMem: a trained token a tool, at the output and at the input; no tool and no example in the prompt"
    kinds: frozenset[TaskKind] = frozenset({"number", "tool"})
    random: bool = True
    learns: bool = True
    changed_by: frozenset[Change] = frozenset()

    def prepare(self, bench: Bench) -> Answerer:
        """Train the tokens, or take those of a run before."""
        lm = bench.engine.lm
        if not isinstance(lm, TransformersModel):
            raise ValueError(
                f"tokmem trains through the LM, which {type(lm).__name__} can't: load it with transformers"
            )
        file = bench.place("tokmem", bench.seed).with_suffix(".safetensors")
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            save_file({"memory": train(bench, lm)}, file)
        memory = load_file(file)["memory"]
        if bench.task.kind == "tool":
            return lambda questions: [_ranked(bench, lm, memory, each) for each in questions]
        return lambda questions: [_called(bench, lm, memory, each) for each in questions]


@dataclass(frozen=True)
class _Sequence:
    """Ids of a demonstration, memory token k as V + k, and which of them are supervised."""

    ids: list[int]
    supervised: list[bool]


def train(bench: Bench, lm: TransformersModel) -> Tensor:
    """Train the memory tokens on the task's demonstrations; (K, d) float32."""
    sequences = [one for each in bench.task.demonstrations if (one := _sequence(bench, lm, each)) is not None]
    random = Random(bench.seed)
    # They begin where the vocabulary lies, apart by a little noise.
    embeddings = lm.input_embeddings.detach().float()
    noise = torch.randn(len(bench.task.specs), lm.hidden_size, generator=torch.Generator().manual_seed(bench.seed))
    memory = (embeddings.mean(dim=0) + noise * embeddings.std(dim=0)).requires_grad_()
    adam = torch.optim.Adam([memory], lr=LEARNING_RATE)
    batches = -(-len(sequences) // _BATCH)
    for epoch in range(EPOCHS):
        order = random.sample(sequences, len(sequences))
        for number in range(batches):
            adam.zero_grad()
            _loss(lm, memory, order[number * _BATCH : (number + 1) * _BATCH]).backward()
            adam.step()
            if bench.progress is not None:
                bench.progress(epoch * batches + number + 1, EPOCHS * batches, "tokmem")
    return memory.detach()


def _sequence(bench: Bench, lm: TransformersModel, demonstration: Demonstration) -> _Sequence | None:
    worked = Worked.of(demonstration)
    if worked is None:
        return None
    names = [spec.name for spec in bench.task.specs]
    text = without_separators(worked.question) if bench.task.kind == "number" else worked.question
    ids = prompt_ids(bench.engine, f"{QUESTION} {text}{ANSWERED}")
    supervised = [False] * len(ids)

    def add(more: Sequence[int], learned: bool) -> None:
        ids.extend(more)
        supervised.extend([learned] * len(more))

    for call in worked.calls:
        add([lm.vocab_size + names.index(call.tool)], True)
        if isinstance(call.args, dict):
            add(encode_content(lm.tokenizer, written_arguments(call.args), continued=True), True)
        add(encode_content(lm.tokenizer, f" {(call.result or '').strip()}", continued=True), False)
    add([min(lm.eos_ids)], True)
    return _Sequence(ids, supervised) if len(ids) < lm.context_length else None


def _loss(lm: TransformersModel, memory: Tensor, batch: Sequence[_Sequence]) -> Tensor:
    width = max(len(one.ids) for one in batch)
    ids = torch.tensor([one.ids + [0] * (width - len(one.ids)) for one in batch], device=lm.device)
    mask = torch.tensor([[1] * len(one.ids) + [0] * (width - len(one.ids)) for one in batch], device=lm.device)
    learned = torch.tensor([one.supervised + [False] * (width - len(one.ids)) for one in batch], device=lm.device)
    hidden = _decoded(lm, _embedded(lm, memory, ids), attention_mask=mask)
    # The state before a supervised token predicts it.
    due = hidden[:, :-1][learned[:, 1:]]
    return cross_entropy(_logits(lm, memory, due), ids[:, 1:][learned[:, 1:]])


def _embedded(lm: TransformersModel, memory: Tensor, ids: Tensor) -> Tensor:
    words = lm.input_embeddings[ids.clamp(max=lm.vocab_size - 1).clamp(max=len(lm.input_embeddings) - 1)]
    own = memory[(ids - lm.vocab_size).clamp(min=0)].to(words.dtype)
    return torch.where((ids >= lm.vocab_size)[..., None], own, words)


def _decoded(lm: TransformersModel, embedded: Tensor, **more: Any) -> Tensor:
    model: Any = lm.model  # transformers leaves get_decoder untyped
    hidden: Tensor = model.get_decoder()(inputs_embeds=embedded, **more).last_hidden_state
    return hidden


def _logits(lm: TransformersModel, memory: Tensor, hidden: Tensor) -> Tensor:
    return torch.cat([lm.head.word_logits(hidden), hidden.float() @ memory.T], dim=1)


@torch.inference_mode()
def _ranked(bench: Bench, lm: TransformersModel, memory: Tensor, question: TaskQuestion) -> Attempt:
    ids = prompt_ids(bench.engine, f"{QUESTION} {asked_text(question, bench.task.kind)}{ANSWERED}")
    hidden = _decoded(lm, _embedded(lm, memory, torch.tensor([ids], device=lm.device)))[0, -1]
    order = (hidden.float() @ memory.T).argsort(descending=True, stable=True)[:_RANKED].tolist()
    tools = tuple(bench.task.specs[k].name for k in order)
    trace = (TraceStep(kind="prompt", text=question.text), TraceStep(kind="tool", text=", ".join(tools[:5])))
    return Attempt(question=question.id, ranked=tools, prompt_tokens=len(ids), generated_tokens=1, trace=trace)


@torch.inference_mode()
def _called(bench: Bench, lm: TransformersModel, memory: Tensor, question: TaskQuestion) -> Attempt:
    engine, end = bench.engine, min(lm.eos_ids)
    ids = prompt_ids(engine, f"{QUESTION} {asked_text(question, bench.task.kind)}{ANSWERED}")
    cache, read, written = DynamicCache(), len(ids), 0
    calls: list[AttemptedCall] = []
    trace = [TraceStep(kind="prompt", text=question.text)]

    def run(more: Sequence[int]) -> Tensor:
        embedded = _embedded(lm, memory, torch.tensor([list(more)], device=lm.device))
        hidden = _decoded(lm, embedded, use_cache=True, **{lm.cache_parameter: cache})
        return _logits(lm, memory, hidden[:, -1])[0]

    logits = run(ids)
    while len(calls) < bench.max_calls:
        own = logits[lm.vocab_size :]
        if calls and logits[end] > own.max():
            break
        k = int(own.argmax())
        spec, tool = bench.task.specs[k], bench.task.tools[k]
        trace.append(TraceStep(kind="tool", text=spec.name))
        logits, matcher = run([lm.vocab_size + k]), engine.grammars.matcher(spec)
        pending = matcher.force()
        while True:
            logits = run(pending) if pending else logits
            if matcher.done or len(matcher.ids) >= bench.max_tokens:
                break
            token = int(logits[: lm.vocab_size].masked_fill(~matcher.mask(), float("-inf")).argmax())
            matcher.consume(token)
            pending = [token, *matcher.force()]
        written += 1 + len(matcher.ids)
        trace.append(TraceStep(kind="arguments", text=matcher.text()))
        arguments = matcher.arguments()
        if arguments is None:
            calls.append(AttemptedCall(tool=spec.name))
            break
        result = run_tool(tool, arguments)
        calls.append(AttemptedCall(tool=spec.name, arguments=arguments, result=result))
        trace.append(TraceStep(kind="result", text=result))
        logits = run(encode_content(lm.tokenizer, f" {result.strip()}", continued=True))
    return Attempt(
        question=question.id,
        text=(calls[-1].result or "") if calls else "",
        calls=tuple(calls),
        prompt_tokens=read,
        generated_tokens=written,
        trace=tuple(trace),
    )
