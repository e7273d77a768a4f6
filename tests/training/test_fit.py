"""`fit` from tools and demonstrations to toolkens that fire."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
import torch
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from langchain_toolken.chat.model import ToolkenChat
from langchain_toolken.decoding.engine import DecodingRequest, Sampling
from langchain_toolken.decoding.local.engine import TransformersEngine
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.prompts.content import encode_content
from langchain_toolken.prompts.format import PromptFormat
from langchain_toolken.prompts.requests import request_of
from langchain_toolken.prompts.turns import Turn
from langchain_toolken.toolkens.priors import PriorConfig, prior_rows
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.tools.spec import ToolSpec
from langchain_toolken.training.demonstrations.demonstration import DemonstrationError
from langchain_toolken.training.fit import fit, fit_toolkens
from langchain_toolken.training.fit_warnings import ToolkenFitWarning

SPECS = [
    ToolSpec(name=name, description=f"Do {name}.", json_schema={"type": "object", "properties": {}})
    for name in ("add", "multiply")
]


def replace_name(spec: ToolSpec, name: str) -> ToolSpec:
    return spec.model_copy(update={"name": name})


def rows() -> list[dict[str, object]]:
    made = []
    for a in range(2, 8):
        for sign, name, result in (("+", "add", a + 9), ("*", "multiply", 9 * a)):
            text = f"Q: What is {a} {sign} 9?\nA: It is {a} {sign} 9 = {result}."
            made.append(
                {"text": text, "calls": [{"start": text.index(f"= {result}") + 2, "tool": name, "result": result}]}
            )
    return made


@pytest.mark.filterwarnings("ignore::langchain_toolken.training.fit_warnings.ToolkenFitWarning")
def test_a_set_knows_that_its_demonstrations_make_several_calls_in_a_message(tiny_llama: LanguageModel) -> None:
    calls = [{"name": name, "args": {}, "id": name} for name in ("add", "multiply")]
    results = [{"role": "tool", "content": "9", "tool_call_id": name} for name in ("add", "multiply")]
    called = {"role": "assistant", "content": "", "tool_calls": calls}
    answer = {"role": "assistant", "content": "Both are 9."}
    chat = {"messages": [{"role": "user", "content": "Do both."}, called, *results, answer]}
    assert fit(tiny_llama, SPECS, [chat], lam=1e-7, style="chat").toolkens.provenance.parallel_calls


def test_after_the_fit_the_right_toolken_fires_where_the_demonstrations_call(tiny_llama: LanguageModel) -> None:
    result = fit(tiny_llama, SPECS, rows(), lam=1e-7, calls_from="answer")
    assert result.lm_passes == 1
    assert result.tool_positions == 12
    assert result.solution is not None
    assert result.solution.converged
    engine = TransformersEngine(tiny_llama)
    questions = ["What is 4 + 9?", "What is 5 * 9?"]
    prompts = [f"Q: {asked}\nA: It is {asked[8:13]} = " for asked in questions]
    layout = PromptFormat("completion", "inline")
    asked = tuple(request_of(tiny_llama.tokenizer, [Turn("user", text)], layout) for text in questions)
    decoding = DecodingRequest(Sampling(max_tokens=1), toolkens=result.toolkens, requests=asked)
    answers = engine.reason([encode_content(tiny_llama.tokenizer, prompt) for prompt in prompts], decoding)
    assert [a.trigger.tool if a.trigger else None for a in answers] == ["add", "multiply"]
    # Just before, where a word follows in the demonstrations, no toolken fires.
    early = [encode_content(tiny_llama.tokenizer, prompt.removesuffix("= ").rstrip()) for prompt in prompts]
    assert not any(answer.trigger for answer in engine.reason(early, decoding))


def test_provenance_says_what_the_toolkens_were_fitted_on(tiny_llama: LanguageModel, tmp_path: Path) -> None:
    prior = PriorConfig(source="hidden", text="both")
    toolkens = fit_toolkens(tiny_llama, SPECS, rows(), prior=prior, lam=0.5, calls_from="answer")
    toolkens.save(tmp_path / "set")
    found = ToolkenSet.load(tmp_path / "set").provenance
    assert not found.parallel_calls
    assert (found.lam, found.prior, found.style) == (0.5, "hidden/both/average", "completion")
    assert (found.demonstrations, found.tool_positions) == (12, 12)
    assert found.word_positions > 12
    assert found.head_fingerprint == tiny_llama.head_fingerprint
    torch.testing.assert_close(toolkens.prior, prior_rows(tiny_llama, SPECS, prior))


def test_without_demonstrations_the_toolkens_are_their_priors_and_that_is_said(tiny_llama: LanguageModel) -> None:
    with pytest.warns(ToolkenFitWarning, match="no demonstrations were given"):
        result = fit(tiny_llama, SPECS, gate=False)
    assert torch.equal(result.toolkens.matrix, prior_rows(tiny_llama, SPECS, PriorConfig()))
    assert torch.equal(result.toolkens.matrix, result.toolkens.prior)
    assert result.lm_passes == 0
    assert result.toolkens.provenance.lam is None
    assert result.style == "chat"


@pytest.mark.filterwarnings("ignore:no demonstrations were given")
def test_names_that_say_nothing_are_warned_about_and_their_descriptions_used(tiny_llama: LanguageModel) -> None:
    coded = [replace_name(SPECS[0], "P12"), replace_name(SPECS[1], "multiply")]
    with pytest.warns(ToolkenFitWarning, match="the names P12 say nothing, so the descriptions"):
        toolkens = fit(tiny_llama, coded, prior=PriorConfig(), gate=False).toolkens
    described = prior_rows(tiny_llama, SPECS[:1], PriorConfig(text="description"))
    torch.testing.assert_close(
        torch.nn.functional.normalize(toolkens.prior[:1]), torch.nn.functional.normalize(described)
    )
    with pytest.warns(ToolkenFitWarning, match="the names f1 say nothing and there is no description"):
        fit(tiny_llama, [ToolSpec(name="f1", description="", json_schema=SPECS[0].json_schema)])
    with warnings.catch_warnings():
        warnings.simplefilter("error", ToolkenFitWarning)
        warnings.filterwarnings("ignore", "no demonstrations were given")
        fit(tiny_llama, coded, prior=PriorConfig(text="description"))
        fit(tiny_llama, SPECS)


def test_dropped_rows_are_warned_about_with_their_lines(tiny_llama: LanguageModel, tmp_path: Path) -> None:
    path = tmp_path / "demos.jsonl"
    lines = [json.dumps(row) for row in rows()]
    in_question = {"text": "Q: 7?\nA: 7.", "calls": [{"start": 3, "tool": "add", "result": "7"}]}
    path.write_text("\n".join([*lines[:3], "oops", *lines[3:], json.dumps(in_question)]), encoding="utf-8")
    with pytest.warns(ToolkenFitWarning, match="2 demonstrations were dropped. line 4: not JSON.*line 14: .*outside"):
        result = fit(tiny_llama, SPECS, path, calls_from="answer")
    assert [row.line for row in result.dropped] == [4, 14]
    assert result.demonstrations == 12


@pytest.mark.filterwarnings("ignore:too little data")
def test_tools_without_demonstrations_are_named(tiny_llama: LanguageModel) -> None:
    only_add = [row for row in rows() if row["calls"][0]["tool"] == "add"]  # type: ignore[index]
    with pytest.warns(ToolkenFitWarning, match="no demonstration calls multiply"):
        result = fit(tiny_llama, SPECS, only_add)
    assert result.unseen == ("multiply",)


def test_a_fit_in_which_nothing_is_amiss_warns_of_nothing(tiny_llama: LanguageModel) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # the others are errors anyway
        fit(tiny_llama, SPECS, rows())


@pytest.mark.filterwarnings("ignore:too little data")
def test_the_style_follows_the_demonstrations(tiny_llama: LanguageModel) -> None:
    plain = [{"text": "The sum of 2 and 3 is 5.", "calls": [{"start": 22, "tool": "add", "result": "5"}]}]
    for style, expected in ((None, "chat"), ("completion", "completion")):
        with pytest.warns(ToolkenFitWarning, match="multiply"):
            found = fit(tiny_llama, SPECS, plain, style=style)  # type: ignore[arg-type]
        assert found.style == expected
    assert fit(tiny_llama, SPECS, rows(), calls_from="answer").style == "completion"
    assert fit(tiny_llama, SPECS, rows(), style="chat").toolkens.provenance.style == "chat"


def test_the_same_seed_gives_the_same_toolkens(tiny_llama: LanguageModel) -> None:
    first, second = (fit_toolkens(tiny_llama, SPECS, rows(), negatives_per_demonstration=3, seed=5) for _ in range(2))
    assert torch.equal(first.matrix, second.matrix)


def test_no_tools_are_refused(tiny_llama: LanguageModel) -> None:
    with pytest.raises(ValueError, match="no tools"):
        fit(tiny_llama, [], rows())


def two_numbers(name: str, examples: str = "") -> ToolSpec:
    numbers = {"a": {"type": "number"}, "b": {"type": "number"}}
    return ToolSpec(
        name=name, description=f"Do {name}.\n{examples}", json_schema={"type": "object", "properties": numbers}
    )


def history(question: str, name: str, a: int, b: int, result: int) -> list[BaseMessage]:
    call = {"name": name, "args": {"a": a, "b": b}, "id": "1", "type": "tool_call"}
    return [
        HumanMessage(question),
        AIMessage("", tool_calls=[call]),
        ToolMessage(str(result), tool_call_id="1"),
        AIMessage(f"It is {result}."),
    ]


def test_live_histories_are_learnt_where_the_chat_model_decodes(tiny_llama: LanguageModel) -> None:
    specs = [two_numbers("add"), two_numbers("multiply")]
    chats = [history(f"What is {a} + 9?", "add", a, 9, a + 9) for a in range(2, 6)]
    chats += [history(f"What is {a} * 9?", "multiply", a, 9, a * 9) for a in range(2, 6)]
    with pytest.warns(ToolkenFitWarning, match="no demonstration is without a call"):
        fit(tiny_llama, specs, chats, lam=1e-7, bias=0.0)
    chats += [[HumanMessage("Hello!"), AIMessage("Good morning.")]]
    result = fit(tiny_llama, specs, chats, lam=1e-7, strict=True, negatives="none")
    assert (result.style, result.demonstrations, result.tool_positions) == ("chat", 17, 8)
    chat = ToolkenChat.from_engine(TransformersEngine(tiny_llama), result.toolkens, reinjection="turn", max_tokens=4)
    for messages, name in ((chats[1], "add"), (chats[5], "multiply")):
        first = chat.reason(messages[:1], tools=specs)
        assert (first.text, first.trigger.tool if first.trigger else None) == ("", name)
        assert chat.reason(messages[:3], tools=specs, max_tokens=1).trigger is None


@pytest.mark.filterwarnings("ignore:too little data", "ignore:no demonstration is without a call")
def test_docstring_examples_are_learnt_unless_they_are_not_wanted(tiny_llama: LanguageModel) -> None:
    examples = "\nExamples:\n    How much is 2 and 3? -> add(2, 3) = 5\n    >>> add(4, 5)\n    9\n    6? -> add(6, c=1)"
    specs = [two_numbers("add", examples)]
    with pytest.warns(ToolkenFitWarning, match=r"1 demonstrations were dropped\. docstring of 'add', line 7: .*'c'"):
        result = fit(tiny_llama, specs)
    assert (result.demonstrations, result.tool_positions, result.style) == (2, 2, "chat")
    with pytest.warns(ToolkenFitWarning, match="docstring of 'add'"):
        assert fit(tiny_llama, specs, rows()[::2]).demonstrations == 8
    assert fit(tiny_llama, specs, rows()[::2], docstring_examples=False).demonstrations == 6
    with pytest.raises(DemonstrationError, match="the tools' docstrings: 1 row can't be used"):
        fit(tiny_llama, specs, strict=True)
    with pytest.warns(ToolkenFitWarning, match="no demonstrations were given"):
        assert fit(tiny_llama, specs, docstring_examples=False).lm_passes == 0


def test_strict_makes_bad_rows_an_error_even_those_that_only_the_layout_shows(tiny_llama: LanguageModel) -> None:
    in_question = {"text": "Q: 7?\nA: 7.", "calls": [{"start": 3, "tool": "add", "result": "7"}]}
    with pytest.raises(DemonstrationError, match="line 13: .*is outside the answer"):
        fit(tiny_llama, SPECS, [*rows(), in_question], strict=True)
    with pytest.raises(DemonstrationError, match="line 13: unknown tool"):
        fit(tiny_llama, SPECS, [*rows(), {"text": "x", "calls": [{"start": 0, "tool": "halve"}]}], strict=True)


def test_what_is_left_open_is_chosen_on_held_out_demonstrations(tiny_llama: LanguageModel, tmp_path: Path) -> None:
    result = fit(tiny_llama, SPECS, rows(), calls_from="answer")
    assert result.lm_passes == 1
    assert result.selection is not None
    assert result.bias is not None
    assert (result.toolkens.provenance.prior, result.toolkens.provenance.lam) == (
        result.selection.prior,
        result.selection.lam,
    )
    assert len({point.lam for point in result.selection.path}) > 1
    assert len({point.prior for point in result.selection.path}) > 1
    assert result.toolkens.bias == result.bias.bias
    assert result.toolkens.calibration is not None
    assert result.toolkens.calibration.fitted_bias == 0
    assert result.toolkens.calibration.f1 == pytest.approx(result.bias.calibrated.f1)
    result.toolkens.save(tmp_path / "set")
    assert ToolkenSet.load(tmp_path / "set").calibration == result.toolkens.calibration


def test_a_bias_of_ones_own_is_fitted_with_and_kept(tiny_llama: LanguageModel) -> None:
    result = fit(tiny_llama, SPECS, rows(), lam=1e-3, bias=-1.5, prior=PriorConfig())
    assert (result.toolkens.bias, result.selection, result.toolkens.calibration) == (-1.5, None, None)
    chosen = fit(tiny_llama, SPECS, rows(), bias=-1.5).toolkens
    assert chosen.bias == -1.5
    assert chosen.calibration is not None
    assert chosen.calibration.fitted_bias == -1.5


def test_too_few_demonstrations_to_choose_by_are_said(tiny_llama: LanguageModel) -> None:
    with pytest.warns(ToolkenFitWarning, match="9 demonstrations, 10 are needed"):
        result = fit(tiny_llama, SPECS, rows()[:9], calls_from="answer")
    assert (result.toolkens.bias, result.toolkens.provenance.lam) == (0.0, 1e-5)
    assert result.toolkens.calibration is None


def test_a_cap_on_false_calls_is_kept_and_may_not_stand_beside_a_bias(tiny_llama: LanguageModel) -> None:
    calibration = fit(tiny_llama, SPECS, rows(), max_false_call_rate=0.0).toolkens.calibration
    assert calibration is not None
    assert (calibration.false_call_rate, calibration.max_false_call_rate) == (0.0, 0.0)
    with pytest.raises(ValueError, match="only one of the two"):
        fit(tiny_llama, SPECS, rows(), bias=0.0, max_false_call_rate=0.1)
    with pytest.raises(ValueError, match="max_false_call_rate is 1.5"):
        fit(tiny_llama, SPECS, rows(), max_false_call_rate=1.5)
