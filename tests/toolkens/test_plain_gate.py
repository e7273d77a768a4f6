"""A gate from a few requests: it tells calls from plain requests that it has not seen."""

from __future__ import annotations

import torch

from langchain_toolken.toolkens.plain_gate import plain_gate

SIZE = 16


def asked(calls: int, plain: int, seed: int, apart: float = 3.0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    call = torch.arange(calls + plain) < calls
    along = apart * call[:, None] * torch.eye(SIZE)[0]
    return torch.randn(calls + plain, SIZE, generator=generator) + along + 20, call


def test_calls_are_told_from_plain_requests_of_others() -> None:
    requests, call = asked(60, 85, 0)
    gate = plain_gate(requests, call, torch.arange(145))
    requests, call = asked(500, 500, 1)
    odds = gate.log_odds(requests, requests)
    assert float((odds[call] > gate.threshold).float().mean()) > 0.7
    assert float((odds[~call] > gate.threshold).float().mean()) < 0.1
    loose, strict = gate.threshold_at(0.3), gate.threshold_at(0.0)
    assert loose is not None
    assert strict is not None
    assert loose < strict


def test_after_a_result_few_requests_are_surer_than_all_that_were_read() -> None:
    gate = plain_gate(*asked(60, 85, 0), torch.arange(145))
    requests, call = asked(500, 500, 1)
    assert gate.after_result is not None
    assert gate.after_result >= gate.threshold
    assert float((gate.log_odds(requests, requests)[call] > gate.after_result).float().mean()) < 0.05


def test_log_odds_say_how_often_a_call_is_due() -> None:
    gate = plain_gate(*asked(60, 85, 0, apart=1.5), torch.arange(145))
    requests, call = asked(2000, 2000, 1, apart=1.5)
    said = gate.log_odds(requests, requests).sigmoid()
    likely = said > 0.5
    assert abs(float(said[likely].mean() - call[likely].float().mean())) < 0.1


def test_wordings_of_one_description_are_held_out_together() -> None:
    # Calls that are told from plain requests by nothing but which tool they are of: no held-out tool is found.
    requests, call = asked(60, 60, 0, apart=0.0)
    group = torch.cat([torch.arange(12).repeat(5), torch.arange(60)])
    requests[:60] = torch.randn(12, SIZE, generator=torch.Generator().manual_seed(2)).repeat(5, 1) + 20
    together, apart = (plain_gate(requests, call, one) for one in (group, torch.arange(120)))
    assert together.request.norm() < apart.request.norm()
