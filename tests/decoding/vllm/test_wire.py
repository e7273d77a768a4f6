"""Reports survive the way through vLLM's log-probabilities, and nothing else is read as one."""

from __future__ import annotations

import math

import pytest
import torch

from langchain_toolken.decoding.vllm.wire import Report, Status, mask_of, mask_text

WORDS = 300


def through_vllm(report: Report, tools: int, listed: int, end: int = 2) -> dict[int, float]:
    """What vLLM lists at the end of a text: the end's own log-probability, and the likeliest ones."""
    logits = torch.full((WORDS + tools + 5,), float("-inf"))
    for index, value in report.logits(WORDS).items():
        logits[index] = value
    logprobs = logits.log_softmax(dim=-1).clamp_min(-9999.0)
    best = logprobs.topk(listed)
    return {end: float(logprobs[end])} | dict(zip(best.indices.tolist(), best.values.tolist(), strict=True))


@pytest.mark.parametrize("tools", [(), ((3, 0.9), (0, 0.05)), ((2, 1.0),), ((7, 1e-12), (1, 1e-14)), ((4, 0.5),)])
def test_a_report_is_read_as_it_was_written(tools: tuple[tuple[int, float], ...]) -> None:
    report = Report(Status.DONE, tools)
    read = Report.of_logprobs(through_vllm(report, 8, listed=6), WORDS)
    assert read is not None
    assert read.status is Status.DONE
    assert [number for number, _ in read.tools] == [number for number, _ in tools]
    for (_, found), (_, given) in zip(read.tools, tools, strict=True):
        assert found == pytest.approx(given, rel=1e-4)


@pytest.mark.parametrize("status", Status)
def test_every_status_arrives(status: Status) -> None:
    read = Report.of_logprobs(through_vllm(Report(status), 4, listed=1, end=0), WORDS)
    assert read == Report(status)


@pytest.mark.parametrize(
    "listed",
    [
        {},
        {2: -0.1},
        {2: -0.1, 17: -3.0},
        {2: -0.1, int(Status.DONE): -4.0},
        {int(Status.DONE): -0.5, int(Status.FAILED): -2.0},
        {WORDS + 1: -0.1},
    ],
)
def test_what_a_server_without_the_plugin_lists_is_no_report(listed: dict[int, float]) -> None:
    assert Report.of_logprobs(listed, WORDS) is None


def test_masks_of_many_tools_survive() -> None:
    names = [f"tool_{k}" for k in range(1_000)]
    for active in ({"tool_0"}, {"tool_999"}, set(names[::7]), set(names), set()):
        text = mask_text(active, names)
        assert mask_of(text, len(names)) == [name in active for name in names]
        assert text is not None
        assert len(text) <= math.ceil(len(names) / 4)
    assert mask_of(mask_text(None, names), len(names)) is None
