"""The sources of the choice among tools are judged on calls that they were not fitted on."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from langchain_toolken.toolkens.untrained_rows import request_rows
from langchain_toolken.tools.spec import ToolSpec
from langchain_toolken.training.evidence.which import Calls, choose_which

TOOLS = 4
SPECS = [
    ToolSpec(name=name, description=text, json_schema={"type": "object", "properties": {}})
    for name, text in (("rain", "Tells the weather."), ("table", "Books."), ("song", "Plays."), ("mail", "Writes."))
]


def calls(each: int = 20, *, folds: int = 5, apart: float = 2.0) -> Calls:
    """Requests whose mean states tell the tool and whose words say nothing; toolkens' logits are noise."""
    generator = torch.Generator().manual_seed(0)
    tool = torch.arange(TOOLS).repeat(each)
    count = len(tool)
    means = torch.randn(TOOLS, 8, generator=generator) * apart
    return Calls(
        tool=tool,
        request=means[tool] + torch.randn(count, 8, generator=generator) + 30.0,
        texts=tuple(f"do what number {i} says" for i in range(count)),
        demonstration=torch.arange(count),
        fold=torch.arange(count) // TOOLS % folds,
        logits=torch.randn(count, TOOLS, generator=generator),
    )


def test_the_requests_state_counts_where_it_tells_the_tool_and_the_words_do_not() -> None:
    given = calls(80)
    choice = choose_which(given, SPECS, 1.0)
    assert not choice.assumed
    assert choice.judged == len(given) == 320
    assert choice.weights["request"] > 0
    assert choice.weights["description"] == 0
    assert choice.evidence.request_rows is not None
    assert choice.evidence.lexical == ()
    before, after = choice.top1
    assert after > 0.9 > before
    assert given.request is not None
    assert ((given.request @ choice.evidence.request_rows.T).argmax(dim=1) == given.tool).float().mean() > 0.9


def test_the_fewer_calls_are_judged_the_nearer_weights_stay_to_the_assumed_ones() -> None:
    assumed, few, more, many = (choose_which(calls(each), SPECS, 1.0).weights for each in (1, 10, 60, 80))
    assert few["description"] == pytest.approx(assumed["description"] * 30 / 70), "the words say nothing here"
    assert more["description"] == pytest.approx(assumed["description"] * 30 / 270)
    assert many["description"] == 0


def test_a_source_that_only_the_folds_had_room_for_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    given = calls(10)
    monkeypatch.setattr("langchain_toolken.training.evidence.words._MOST_NUMBERS", 160)  # 44 words by 4 tools are more
    choice = choose_which(given, SPECS, 1.0)
    assert choice.judged == 40
    assert "classifier" not in choice.weights


def test_with_one_demonstration_a_tool_nothing_is_judged() -> None:
    choice = choose_which(calls(1), SPECS, 1.0)
    assert choice.assumed
    assert choice.judged == 0
    assert choice.evidence.lexical, "what was assumed counts the words"


def test_calls_whose_tool_is_in_no_other_fold_are_not_judged() -> None:
    given = calls()
    alone = Calls(**{**vars(given), "fold": torch.where(given.tool == 0, 0, given.fold)})
    choice = choose_which(alone, SPECS, 1.0)
    assert choice.judged == int((given.tool != 0).sum())


@pytest.mark.parametrize("each", [1, 20])
def test_nothing_of_the_texts_is_kept_if_the_demonstrations_are_private(each: int) -> None:
    told = replace(calls(each), texts=tuple(f"{SPECS[i % TOOLS].name} secret {i}" for i in range(TOOLS * each)))
    kept = choose_which(told, SPECS, 1.0).evidence
    private = choose_which(replace(told, keep_texts=False), SPECS, 1.0).evidence
    assert "secret" in str([vars(source) for source in kept.lexical]) or each == 20
    assert "secret" not in str([vars(source) for source in private.lexical])
    assert {source.kind for source in private.lexical} <= {"description"}


def test_rows_for_requests_need_no_constant() -> None:
    given = calls()
    assert given.request is not None
    rows = request_rows(given.request, given.tool, TOOLS + 1, 1.0)
    mean = given.request.mean(dim=0)
    torch.testing.assert_close(rows @ mean, torch.zeros(TOOLS + 1), atol=1e-2, rtol=0)
    assert torch.equal(rows[TOOLS], torch.zeros(8)), "a tool without calls is as good as the average"


def test_a_description_stands_for_a_tool_without_calls() -> None:
    given = calls(apart=4.0)
    assert given.request is not None
    means = torch.stack([given.request[given.tool == k].mean(dim=0) for k in range(TOOLS)])
    shown = given.tool != 3
    # Descriptions differ from requests in their wording, all in the same way.
    described = means + 5 * torch.randn(8, generator=torch.Generator().manual_seed(1))
    rows = request_rows(given.request[shown], given.tool[shown], TOOLS, 1.0, described)
    found = (given.request[~shown] @ rows.T).argmax(dim=1)
    assert (found == 3).float().mean() > 0.9
    without = request_rows(given.request[shown], given.tool[shown], TOOLS, 1.0)
    assert not without[3].any()
