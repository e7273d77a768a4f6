"""training.slot_rows: the value's span becomes the likeliest of all, also with few values."""

from __future__ import annotations

import torch
from torch import Tensor

from langchain_toolken.training.slot_rows import SharedRows, SpannedText, _Spans, fit_rows

FIRST, INSIDE, LAST, OTHER = range(4)


def text(*words: int, value: tuple[int, int] | None, noise: int = 0) -> SpannedText:
    """A text whose words' features tell what they are, with some that tell nothing and a constant."""
    draw = torch.Generator().manual_seed(noise)
    kinds = torch.nn.functional.one_hot(torch.tensor(words), 4).float()
    useless = torch.randn(len(words), 6, generator=draw)
    features = torch.cat([kinds, useless, torch.ones(len(words), 1)], dim=1)
    return SpannedText(features, () if value is None else (value,))


def scores(rows: Tensor, read: SpannedText) -> dict[tuple[int, int], float]:
    begins, inside, ends = (read.features @ rows.T).T.tolist()
    words = range(len(begins))
    return {(i, j): begins[i] + sum(inside[i : j + 1]) + ends[j] for i in words for j in words if i <= j}


WITH = [text(OTHER, FIRST, LAST, OTHER, OTHER, value=(1, 2), noise=n) for n in range(4)]
LONGER = text(OTHER, OTHER, FIRST, INSIDE, INSIDE, LAST, OTHER, value=(2, 5), noise=9)
WITHOUT = [text(OTHER, OTHER, OTHER, OTHER, value=None, noise=20 + n) for n in range(4)]


def test_the_value_of_a_new_text_is_the_likeliest_span() -> None:
    found = scores(fit_rows([*WITH[:3], LONGER]), WITH[3])
    assert max(found, key=lambda span: found[span]) == (1, 2)


def test_a_span_scores_above_0_where_there_is_a_value_and_none_does_where_there_is_none() -> None:
    rows = fit_rows([*WITH[:3], *WITHOUT[:3]])
    assert max(scores(rows, WITH[3]).values()) > 0 > max(scores(rows, WITHOUT[3]).values())


def test_one_value_is_enough_with_what_other_tools_show_of_values() -> None:
    words, value = (OTHER, FIRST, INSIDE, LAST, OTHER), (1, 3)
    others = [(tool, text(*words, value=value, noise=60 + n)) for tool in ("a", "b") for n in range(6)]
    shared = SharedRows.of(others)
    assert shared is not None
    alone = text(FIRST, INSIDE, LAST, OTHER, OTHER, OTHER, value=(0, 2), noise=50)
    found = scores(fit_rows([WITH[0]], shared.of_tool("new")), alone)
    assert max(found, key=lambda span: found[span]) == (0, 2)


def test_what_a_tool_shares_is_not_learnt_from_its_own_values() -> None:
    moved = [text(FIRST, OTHER, OTHER, value=(0, 0), noise=30 + n) for n in range(3)]
    one, two = (SharedRows.of([("a", each) for each in own] + [("b", WITH[0])]) for own in (WITH[:3], moved))
    assert one is not None
    assert two is not None
    assert torch.equal(one.of_tool("a"), two.of_tool("a"))
    assert not torch.equal(one.of_tool("b"), two.of_tool("b"))
    assert SharedRows.of([("a", WITH[0])]) is None


def test_the_gradient_is_that_of_the_likelihood() -> None:
    texts = [WITH[0], LONGER, WITHOUT[0]]
    rows = torch.randn(3, 11, generator=torch.Generator().manual_seed(1)).requires_grad_()
    none = torch.tensor([0.3], requires_grad=True)
    loss = torch.zeros(1)
    for each in texts:
        begins, inside, ends = (each.features @ rows.T).T
        spans = {
            (i, j): begins[i] + inside[i : j + 1].sum() + ends[j]
            for i in range(len(begins))
            for j in range(i, len(begins))
        }
        right = spans[each.values[0]] if each.values else none[0]
        loss = loss + torch.stack([*spans.values(), none[0]]).logsumexp(0) - right
    loss.backward()  # type: ignore[no-untyped-call]
    of_rows, of_none = _Spans.of(texts).gradient(rows.detach(), none.detach())
    torch.testing.assert_close(of_rows, rows.grad, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(of_none, none.grad, rtol=1e-4, atol=1e-5)
