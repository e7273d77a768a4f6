"""Rows of tools that were not demonstrated: they prefer no tool where nothing is asked."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize

from langchain_toolken.toolkens.untrained_rows import described_rows, level_unseen, levelled, request_rows

TOOLS = 4


def test_levelled_rows_do_not_prefer_a_tool_where_nothing_is_asked() -> None:
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(50, 8, generator=generator) + 20
    rows = levelled(torch.randn(5, 8, generator=generator), states)
    at_mean = rows @ states.mean(dim=0)
    torch.testing.assert_close(at_mean, torch.zeros(5), atol=1e-4, rtol=0)


def test_a_description_finds_a_request_like_it_whatever_the_prior_says() -> None:
    generator = torch.Generator().manual_seed(0)
    said = torch.randn(TOOLS, 16, generator=generator) + 20
    prior = 3 * normalize(torch.randn(TOOLS, 16, generator=generator), dim=1)
    rows = described_rows(prior, said, torch.randn(50, 16, generator=generator) + 20)
    asked = said + 0.1 * torch.randn(TOOLS, 16, generator=generator)
    assert (asked @ rows.T).argmax(dim=1).tolist() == [*range(TOOLS)]
    torch.testing.assert_close(rows.norm(dim=1).mean(), prior.norm(dim=1).mean())


def test_plain_requests_show_which_directions_say_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(TOOLS, 8, generator=generator)
    loud = torch.zeros(8)
    loud[0] = 20.0

    def asked(tool: torch.Tensor) -> torch.Tensor:
        chatter = torch.randn(len(tool), 1, generator=generator) * loud
        return means[tool] + 0.3 * torch.randn(len(tool), 8, generator=generator) + chatter + 30.0

    one_each, many = torch.arange(TOOLS), torch.arange(TOOLS).repeat(50)
    request, further = asked(one_each), asked(many)
    plain = torch.randn(200, 8, generator=generator) + torch.randn(200, 1, generator=generator) * loud + 30.0

    def right(rows: torch.Tensor) -> float:
        return float(((further @ rows.T).argmax(dim=1) == many).float().mean())

    blind = right(request_rows(request, one_each, TOOLS, 0.1))
    assert right(request_rows(request, one_each, TOOLS, 0.1, plain=plain)) > blind + 0.1


def test_at_the_calls_a_tool_without_any_gets_what_tools_have_whose_calls_are_others() -> None:
    logits = torch.randn(4, 4, generator=torch.Generator().manual_seed(1))
    tool, called = torch.tensor([0, 1, 1, 3]), torch.tensor([True, True, False, True])
    level = level_unseen(logits, tool, called)
    assert level is not None
    assert level[called].tolist() == [0.0, 0.0, 0.0]
    usual = [logits[0, [1, 3]], logits[1, [0, 3]], logits[2, [0, 3]], logits[3, [0, 1]]]
    raised = (logits + level)[:, 2].mean()
    assert raised == pytest.approx(float(torch.stack([one.mean() for one in usual]).mean()), abs=1e-4)


@pytest.mark.parametrize("called", [[True, False, False], [True, True, True]])
def test_nothing_is_levelled_where_one_tool_is_called_or_all_are(called: list[bool]) -> None:
    assert level_unseen(torch.randn(2, 3), torch.tensor([0, 0]), torch.tensor(called)) is None
