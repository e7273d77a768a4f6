"""The report of a fit: figures that agree with a count by hand, and pages that nothing in a name can break."""

from __future__ import annotations

import json
import os
import warnings
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard

from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.toolkens.errors import ToolkenSetError
from langchain_toolken.toolkens.evidence import Evidence
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.tools.spec import ToolSpec
from langchain_toolken.training.evidence.reliable import Reliable
from langchain_toolken.training.evidence.which import WhichChoice
from langchain_toolken.training.fit import fit
from langchain_toolken.training.report.model_card import model_card
from langchain_toolken.training.report.neighbours import nearest_tools, nearest_words
from langchain_toolken.training.report.page import report_page
from langchain_toolken.training.report.records import NO_CALL, REPORT_FILE, ReportError, read_report
from langchain_toolken.training.result import FitResult

EVIL = "</script><script>alert(1)</script> | `x` <b>bold</b>"


def specs(description: str = "Do it.") -> list[ToolSpec]:
    return [
        ToolSpec(name=name, description=description, json_schema={"type": "object", "properties": {}})
        for name in ("add", "multiply", "idle")
    ]


def rows() -> list[dict[str, object]]:
    made = []
    for a in range(2, 12):
        for sign, name, result in (("+", "add", a + 9), ("*", "multiply", 9 * a)):
            text = f"Q: What is {a} {sign} 9?\nA: It is {a} {sign} 9 = {result}."
            made.append(
                {"text": text, "calls": [{"start": text.index(f"= {result}") + 2, "tool": name, "result": result}]}
            )
    return made


@pytest.fixture(scope="module")
def fitted(tiny_llama: LanguageModel) -> FitResult:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fit(tiny_llama, specs(), rows(), calls_from="answer")


def test_held_out_figures_equal_a_count_by_hand(fitted: FitResult) -> None:
    report = fitted.report()
    assert fitted.selection is not None
    assert fitted.selection.logits is not None
    assert fitted.features is not None
    assert fitted.bias is not None
    own = 0.0 if fitted.bias.tool_biases is None else fitted.bias.tool_biases
    logits = fitted.selection.logits.double() + own + fitted.bias.bias
    due_of = {"add": 0.0, "multiply": 0.0, "idle": 0.0, NO_CALL: 0.0}
    pairs: dict[tuple[str, str], float] = {}
    names = ["add", "multiply", "idle"]
    for row, target, word, weight in zip(
        logits, fitted.features.target, fitted.features.word_max, fitted.features.weight, strict=True
    ):
        due = NO_CALL if target < 0 else names[int(target)]
        called = names[int(row.argmax())] if float(row.max()) > float(word) else NO_CALL
        due_of[due] += float(weight)
        pairs[due, called] = pairs.get((due, called), 0.0) + float(weight)
    for tool in report.tools:
        right = pairs.get((tool.name, tool.name), 0.0)
        made = sum(count for (_, called), count in pairs.items() if called == tool.name)
        assert tool.calls == due_of[tool.name]
        assert tool.recall == (pytest.approx(right / due_of[tool.name]) if due_of[tool.name] else None)
        assert tool.precision == (pytest.approx(right / made) if made else None)
        both = made + due_of[tool.name]
        assert tool.f1 == (pytest.approx(2 * right / both) if both else None)
    wrong = {pair: count for pair, count in pairs.items() if pair[0] != pair[1]}
    assert {(pair.due, pair.called): pair.count for pair in report.confusions} == pytest.approx(wrong)
    # The bins' error is the one that the set carries.
    assert report.calibration is not None
    for bins, error in (
        (report.reliability_before, report.calibration.ece_before),
        (report.reliability_after, report.calibration.ece_after),
    ):
        assert sum(b.mass * abs(b.probability - b.right) for b in bins) == pytest.approx(error)
    assert report.unseen == ["idle"]


def test_the_report_says_what_the_probabilities_of_the_evidence_mean(fitted: FitResult) -> None:
    called, true = torch.tensor([0.9, 0.8, 0.2, 0.1]), torch.tensor([True, True, False, False])
    reliable = Reliable.of((torch.full((4,), 0.5), true), (called, true))
    which = WhichChoice(Evidence(), {"toolkens": 0.5, "description": 1.0}, False, 4, (0.5, 1.0), reliable)
    report = replace(fitted, which=which).report()
    assert report.which is not None
    assert report.which.ece_before > report.which.ece_after == pytest.approx(reliable.errors[1])
    assert [one.probability for one in report.which.after] == pytest.approx([0.1, 0.2, 0.8, 0.9])
    page = report_page(report)
    assert "Which tool: what the first tool&#39;s probability means" in page.replace("'", "&#39;")
    assert "share of right tools" in page


def test_the_nearest_words_and_tools_are_those_of_a_plain_cosine_search(
    fitted: FitResult, tiny_llama: LanguageModel
) -> None:
    toolkens = fitted.toolkens
    head = tiny_llama.head.weight.detach().float()
    cosine = torch.nn.functional.cosine_similarity(toolkens.matrix[:, None], head[None], dim=2)
    special = set(tiny_llama.tokenizer.all_special_ids)
    for k, found in enumerate(nearest_words(toolkens, tiny_llama, count=3)):
        order = [
            i
            for i in cosine[k, : len(tiny_llama.tokenizer)].argsort(descending=True).tolist()
            if i not in special
            and tiny_llama.tokenizer.decode([i]).strip()
            and "\ufffd" not in tiny_llama.tokenizer.decode([i])
        ]
        assert [i for i, _ in found] == order[: len(found)]
        assert [s for _, s in found] == pytest.approx([float(cosine[k, i]) for i, _ in found], abs=1e-5)
    among = torch.nn.functional.cosine_similarity(toolkens.matrix[:, None], toolkens.matrix[None], dim=2)
    for k, near in enumerate(nearest_tools(toolkens)):
        others = [j for j in among[k].argsort(descending=True).tolist() if j != k]
        assert [tool.name for tool in near] == [toolkens.names[j] for j in others]


def test_a_saved_report_is_read_back_whole_and_the_set_with_it(fitted: FitResult, tmp_path: Path) -> None:
    report = fitted.save(tmp_path / "set")
    assert read_report(tmp_path / "set") == report
    assert ToolkenSet.load(tmp_path / "set").names == fitted.toolkens.names
    assert {file.name for file in (tmp_path / "set").iterdir()} == {
        *("toolkens.safetensors", "toolkens.json", "report.json", "report.html", "README.md", "evidence.json")
    }
    fitted.save(tmp_path / "set")  # its own files are replaced without fuss


def test_a_model_card_that_someone_has_edited_is_not_lost(fitted: FitResult, tmp_path: Path) -> None:
    fitted.save(tmp_path / "set")
    card = tmp_path / "set" / "README.md"
    card.write_text("my own words", encoding="utf-8")
    with pytest.raises(ToolkenSetError, match=r"holds README\.md, changed since it was saved there"):
        fitted.save(tmp_path / "set")
    assert card.read_text(encoding="utf-8") == "my own words"


@pytest.mark.parametrize("name", ["toolkens.json", "../README.md", "a/b", "..", ""])
def test_nothing_is_saved_beside_toolkens_under_a_name_that_is_not_a_plain_files(
    fitted: FitResult, tmp_path: Path, name: str
) -> None:
    with pytest.raises(ValueError, match="can't be saved with toolkens"):
        fitted.toolkens.save(tmp_path / "set", extra_files={name: "x"})
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("content", ["{", "[]", '{"report_version": 99}', '{"report_version": 1}'])
def test_a_damaged_report_is_refused_by_name(tmp_path: Path, content: str) -> None:
    (tmp_path / "report.json").write_text(content, encoding="utf-8")
    with pytest.raises(ReportError, match=r"report\.json"):
        read_report(tmp_path)


class _Page(HTMLParser):
    """Scripts of a page, its text, and where it would go to the network."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.scripts: list[str] = []
        self.text = ""
        self.remote: list[str] = []
        self._in_script = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_script = tag == "script"
        if self._in_script:
            self.scripts.append("")
        self.remote += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        self._in_script = False

    def handle_data(self, data: str) -> None:
        if self._in_script:
            self.scripts[-1] += data
        else:
            self.text += data


def test_the_page_shows_every_tool_and_needs_no_network(fitted: FitResult) -> None:
    page = _Page(report_page(fitted.report()))
    assert page.remote == []
    for heading in ("How λ and the prior were chosen", "What the probabilities mean", "Toolkens among"):
        assert heading in page.text
    for name in fitted.toolkens.names:
        assert name in page.text


def test_names_and_descriptions_stay_text_in_page_and_card(fitted: FitResult) -> None:
    report = fitted.report()
    innocent = _Page(report_page(report))
    tools = [tool.model_copy(update={"name": tool.name + EVIL, "description": EVIL}) for tool in report.tools]
    assert report.confusions
    confusions = [
        pair.model_copy(
            update={side: name + EVIL for side in ("due", "called") if (name := getattr(pair, side)) != NO_CALL}
        )
        for pair in report.confusions
    ]
    evil = report.model_copy(update={"tools": tools, "confusions": confusions, "unseen": [EVIL]})
    page = _Page(report_page(evil))
    assert len(page.scripts) == len(innocent.scripts)
    assert not any("alert(1)</script>" in script for script in page.scripts)
    assert EVIL in page.text
    card = model_card(evil)
    assert "<script>" not in card
    lines = [line for line in card.splitlines() if line.startswith("| ") and "alert" in line]
    assert len(lines) == len(tools)
    for line in lines:  # seven columns, whatever stands in them
        assert line.replace("\\|", "").count("|") == 8


def test_the_card_is_one_that_the_hub_reads(fitted: FitResult) -> None:
    card = ModelCard(model_card(fitted.report().model_copy(update={"model_id": "Qwen/Qwen3-0.6B"})))
    assert card.data.library_name == "langchain-toolken"
    assert card.data.base_model == "Qwen/Qwen3-0.6B"
    assert "tool-calling" in (card.data.tags or [])
    assert ModelCard(model_card(fitted.report())).data.base_model is None  # no Hub id


def test_a_fit_without_demonstrations_has_a_report_too(tiny_llama: LanguageModel, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = fit(tiny_llama, specs())
    report = result.save(tmp_path / "priors")
    assert report.calibration is None
    assert [tool.f1 for tool in report.tools] == [None] * 3
    assert [tool.moved for tool in report.tools] == [0.0] * 3
    assert "Nothing was held out" in (tmp_path / "priors" / "README.md").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "priors" / "report.json").read_text(encoding="utf-8"))["path"] == []


@pytest.mark.parametrize("put", ["pipe", "deep", "digits", "text"])
def test_a_report_that_is_none_is_named_and_not_waited_for(tmp_path: Path, put: str) -> None:
    file = tmp_path / REPORT_FILE
    if put == "pipe":
        os.mkfifo(file)
    else:
        file.write_text({"deep": "[" * 200_000, "digits": "1" * 5000, "text": "[]"}[put])
    with pytest.raises(ReportError, match=r"report.json (is not a report|can't be read)"):
        read_report(tmp_path)
