"""From demonstrations to a set's evidence: what the request is, and whether calls come straight after it."""

from __future__ import annotations

import pytest
import torch
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.toolkens.priors import PriorConfig
from langchain_toolken.tools.spec import ToolSpec
from langchain_toolken.training.demonstrations.demonstration import DemonstratedCall, Demonstration
from langchain_toolken.training.evidence import gate as evidence_gate
from langchain_toolken.training.evidence.choose import calls_at_once, request_text
from langchain_toolken.training.evidence.gate import WhenFigures
from langchain_toolken.training.fit import fit
from langchain_toolken.training.fit_warnings import ToolkenFitWarning

TEXT = "Q: How many pens?\nA: There are 2*3=6."
INSIDE = Demonstration(text=TEXT, calls=(DemonstratedCall(start=TEXT.index("6"), tool="multiply"),))
AT_ONCE = Demonstration(
    text="",
    calls=(DemonstratedCall(start=0, tool="rain"),),
    before=(HumanMessage("Hi"), AIMessage("?"), HumanMessage("Rain?")),
)
SPECS = [
    ToolSpec(name=name, description=text, json_schema={"type": "object", "properties": {}})
    for name, text in (("rain", "Tells the weather of tomorrow."), ("table", "Books a table in a restaurant."))
]


def test_the_request_is_what_the_user_said_last() -> None:
    assert request_text(AT_ONCE) == "Rain?"
    assert request_text(INSIDE) == "How many pens?"
    nike = Demonstration(text="Nike is owned by Mark.", calls=(DemonstratedCall(start=17, tool="owner"),))
    assert request_text(nike) == "Nike is owned by "


def test_calls_inside_of_answers_are_not_at_once() -> None:
    assert calls_at_once([AT_ONCE, AT_ONCE, INSIDE])
    assert not calls_at_once([AT_ONCE, INSIDE, INSIDE])
    answered = (HumanMessage("?"), AIMessage("", tool_calls=[{"name": "rain", "args": {}, "id": "1"}]))
    later = INSIDE.model_copy(update={"before": (*answered, ToolMessage("wet", tool_call_id="1"))})
    assert calls_at_once([AT_ONCE, later, later])
    begins = Demonstration(text="Q: Rain?\nA: yes", calls=(DemonstratedCall(start=12, tool="rain"),))
    assert calls_at_once([begins])


def demonstrations(count: int) -> list[Demonstration]:
    def call(tool: str, request: str) -> Demonstration:
        made = DemonstratedCall(start=0, tool=tool)
        return Demonstration(text="", calls=(made,), before=(HumanMessage(request),))

    found = []
    for i in range(count):
        found += [call("rain", f"will it be wet on day {i}"), call("table", f"we want to eat at {i}")]
        found.append(Demonstration(text="fine", calls=(), before=(HumanMessage(f"how are you {i}"),)))
    return found


def test_a_fit_learns_when_and_which_from_the_request(tiny_llama: LanguageModel) -> None:
    result = fit(tiny_llama, SPECS, demonstrations(16), style="chat", negatives="none", prior=PriorConfig())
    assert result.when is not None
    assert result.which is not None
    assert not result.which.assumed
    plain = fit(
        tiny_llama,
        SPECS,
        demonstrations(16),
        style="chat",
        negatives="none",
        gate=False,
        evidence=False,
        prior=PriorConfig(),
    )
    assert plain.toolkens.evidence is None
    assert plain.when is plain.which is None
    assert torch.equal(plain.toolkens.matrix, result.toolkens.matrix), "the rows are the papers' objective either way"


def test_a_tool_that_no_demonstration_calls_is_level_with_the_others_where_a_gate_says_when(
    tiny_llama: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    # This LM's toolkens are right in all calls as well.
    monkeypatch.setattr(evidence_gate, "_compared", lambda *_: (True, WhenFigures(0.0, 0.0, 0.5), 0.0))
    song = ToolSpec(name="song", description="Plays music.", json_schema={"type": "object", "properties": {}})

    def level(**options: bool) -> list[float] | None:
        with pytest.warns(ToolkenFitWarning, match="no demonstration calls song"):
            result = fit(
                tiny_llama,
                [*SPECS, song],
                demonstrations(16),
                style="chat",
                negatives="none",
                prior=PriorConfig(),
                **options,
            )
        biases = result.toolkens.tool_biases
        return None if biases is None else biases.tolist()

    biases = level()
    assert biases is not None
    assert biases[2] > 0 == biases[0] == biases[1]
    assert level(gate=False) is None


def inside(tool: str, text: str) -> Demonstration:
    return Demonstration(text=text, calls=(DemonstratedCall(start=text.rindex(" ") + 1, tool=tool),))


@pytest.mark.parametrize(
    "given",
    [
        [one for one in demonstrations(1) if one.calls],
        [inside("rain", "Is it wet in Bern? It will be dry"), inside("table", "A table for us? You sit at nine")],
    ],
    ids=["straight after requests", "inside texts"],
)
def test_with_one_demonstration_a_tool_descriptions_count_as_another(
    tiny_llama: LanguageModel, given: list[Demonstration]
) -> None:
    def fitted(last: str) -> torch.Tensor:
        specs = [*SPECS, ToolSpec(name="song", description=last, json_schema={"type": "object", "properties": {}})]
        with pytest.warns(ToolkenFitWarning, match="too little data|no demonstration"):
            result = fit(tiny_llama, specs, given, style="chat", negatives="none")
        assert result.which is not None
        assert result.which.assumed
        assert result.toolkens.evidence is not None
        assert result.toolkens.evidence.lexical, "the words count too"
        assert result.toolkens.evidence.request_rows is not None
        return result.toolkens.evidence.request_rows[2]

    row = fitted("Plays a song that somebody likes.")
    assert row.norm() > 0, "no demonstration calls it"
    assert not torch.equal(row, fitted("Paints a picture of a cow."))
