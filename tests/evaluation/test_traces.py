"""evaluation.traces: each method's steps by question, of its first seed, and the whole answer."""

from __future__ import annotations

import json
from pathlib import Path

from langchain_toolken.evaluation.attempts import Attempt, TraceStep
from langchain_toolken.evaluation.results import Setting
from langchain_toolken.evaluation.traces import as_json, traces_of
from tests.support.small_task import small_task


def test_traces_are_gathered_by_task_question_and_method(tmp_path: Path) -> None:
    assert traces_of(tmp_path, lambda _: small_task()) == {}
    steps = (TraceStep(kind="prompt", text="9 + 4?"), TraceStep(kind="tool", text="plus"))
    for ablation, text in (("", "it is 13"), ("lam=0.1", "it is 12")):
        setting = Setting(task="small", method="ours", demonstrations=2, ablation=ablation)
        setting.file(tmp_path, 0).append([Attempt(question="0", text=text, prompt_tokens=9, trace=steps)])
        setting.file(tmp_path, 1).append([Attempt(question="0", text="of another seed", trace=steps)])
    traces = traces_of(tmp_path, lambda _: small_task())
    (question,) = traces["small, 2 demonstrations a tool"].values()
    assert (question.text, question.answer) == ("9 + 4?", "13")
    said = {name: (trace.right, trace.tokens, trace.answer) for name, trace in question.methods.items()}
    assert said == {"ours": (True, 9, "it is 13"), "ours (lam=0.1)": (False, 9, "it is 12")}
    assert question.methods["ours"].steps == steps[1:]
    kept = json.loads(as_json(traces))["small, 2 demonstrations a tool"]["0"]["methods"]["ours"]
    assert kept["steps"] == [{"kind": "tool", "text": "plus"}]
