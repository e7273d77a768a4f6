"""What `fit.py` measures on: the papers' datasets, with the hyperparameters of their recipes."""

from __future__ import annotations

from dataclasses import dataclass, field

# How a question is laid out, so that it ends where the tool is due: the first is ToolkenGPT's, made for LLaMA and with
# other questions and answers before it. A small LM has forgotten the question by "is"; the second asks and stops.
KAMEL_PROMPTS = {"papers' layout": "Question: {question}\nAnswer: The answer is", "bare question": "{question}"}


@dataclass(frozen=True)
class Benchmark:
    """One dataset.

    learning_rate, epochs: the recipes', as the papers' READMEs have them, epochs up to the checkpoint that is evaluated
    (SimpleToolQuestions: as KAMEL; a guess).
    tools: how many of its tools, from the first; None for all. questions: a test file with the right tool. held_out: a
    file of demonstrations that nothing was fitted on. unseen: tools that nobody trained, and questions about them.
    """

    folder: str
    learning_rate: float
    epochs: int
    train: str = "train.jsonl"
    tools: int | None = None
    questions: str | None = None
    prompts: dict[str, str] = field(default_factory=lambda: {"": "{question}"})
    held_out: str | None = None
    unseen: tuple[str, str] | None = None


BENCHMARKS = {
    "FuncQA": Benchmark("funcqa", 1e-4, 8, held_out="dev.jsonl"),
    "GSM8K-XL": Benchmark("gsm8k_xl", 1e-3, 4, held_out="dev.jsonl"),
    **{
        f"KAMEL-{n}": Benchmark(
            "kamel",
            1e-3,
            5,
            "train_synthetic.jsonl",
            n,
            f"test_{n}.jsonl",
            KAMEL_PROMPTS,
            held_out="dev_synthetic.jsonl",
        )
        for n in (30, 60, 100, 234)
    },
    "STQuestions": Benchmark(
        "stquestions", 1e-3, 5, questions="test.jsonl", unseen=("tools_unseen.jsonl", "test_unseen.jsonl")
    ),
}
