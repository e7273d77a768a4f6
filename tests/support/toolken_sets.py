"""Toolken sets that tests make up: of no LM, of a tiny LM, of the scripted engine, and any that hypothesis draws."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import strategies as st

from langchain_toolken.lm.identity import LMIdentity
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.toolkens.provenance import Calibration, Provenance
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.tools.spec import ToolSpec

PROVENANCE = Provenance(
    model_id="org/tiny",
    revision="main",
    head_fingerprint="h" * 64,
    tokenizer_fingerprint="t" * 64,
    style="completion",
    prior="head/name/average",
    lam=0.001,
    demonstrations=5,
    tool_positions=6,
    word_positions=70,
    package_version="0.1.0",
)


def spec(name: str) -> ToolSpec:
    schema = {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]}
    return ToolSpec(name=name, description=f"Does {name}.", json_schema=schema)


CALIBRATION = Calibration(
    temperature=1.5,
    fitted_bias=0.0,
    ece_before=0.1,
    ece_after=0.05,
    f1=0.9,
    recall=0.8,
    false_call_rate=0.01,
    max_false_call_rate=None,
)


def make(names: list[str], seed: int = 0, hidden: int = 4, bias: float = 0.25, **provenance: Any) -> ToolkenSet:
    generator = torch.Generator().manual_seed(seed)
    shape = (len(names), hidden)
    return ToolkenSet(
        specs=tuple(spec(name) for name in names),
        matrix=torch.randn(shape, generator=generator),
        prior=torch.randn(shape, generator=generator),
        bias=bias,
        provenance=PROVENANCE.model_copy(update=provenance),
    )


def same(a: ToolkenSet, b: ToolkenSet) -> bool:
    return (
        a.specs == b.specs
        and torch.equal(a.matrix, b.matrix)
        and torch.equal(a.prior, b.prior)
        and a.bias == b.bias
        and (a.tool_biases is None) == (b.tool_biases is None)
        and (a.tool_biases is None or torch.equal(a.tool_biases, b.tool_biases))  # type: ignore[arg-type]
        and (a.call_states is None) == (b.call_states is None)
        and (a.call_states is None or torch.equal(a.call_states, b.call_states))  # type: ignore[arg-type]
        and a.calibration == b.calibration
        and a.examples == b.examples
        and a.provenance == b.provenance
    )


def make_toolkens(
    lm: LanguageModel, names: list[str], *, bias: float = 0.0, scale: float = 1.0, seed: int = 0
) -> ToolkenSet:
    """Random toolkens for tools of two numbers."""
    numbers = {"a": {"type": "number"}, "b": {"type": "number"}}
    schema = {"type": "object", "properties": numbers, "required": ["a", "b"]}
    specs = tuple(ToolSpec(name=name, description=f"Compute {name}.", json_schema=schema) for name in names)
    matrix = torch.randn(len(names), lm.hidden_size, generator=torch.Generator().manual_seed(seed)) * scale
    return ToolkenSet(specs=specs, matrix=matrix, prior=matrix.clone(), bias=bias, provenance=provenance_of(lm))


def provenance_of(lm: LanguageModel, style: str = "completion") -> Provenance:
    """The provenance of toolkens that a test makes up."""
    return Provenance.of(lm.identity, style, "random")


def scripted_toolkens(*specs: ToolSpec, style: str = "completion") -> ToolkenSet:
    """Toolkens for a `ScriptedEngine`, all zero."""
    rows = torch.zeros(len(specs), 4)
    provenance = Provenance.of(LMIdentity("scripted", None, "h", "t", hidden_size=4), style, "test")
    return ToolkenSet(specs=specs, matrix=rows, prior=rows, bias=0.0, provenance=provenance)


texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
names_lists = st.lists(texts, unique=True, max_size=5)
finite = st.floats(allow_nan=False, allow_infinity=False, width=32)


@st.composite
def sets(draw: st.DrawFn) -> ToolkenSet:
    names = draw(names_lists)
    hidden = draw(st.integers(1, 4))
    rows = st.lists(st.lists(finite, min_size=hidden, max_size=hidden), min_size=len(names), max_size=len(names))
    bias = draw(st.floats(-3e38, 3e38))
    lam = draw(st.none() | st.floats(0, 10))
    return ToolkenSet(
        specs=tuple(ToolSpec(name=n, description=draw(texts), json_schema={"default": draw(texts)}) for n in names),
        matrix=torch.tensor(draw(rows)).reshape(len(names), hidden),
        prior=torch.tensor(draw(rows)).reshape(len(names), hidden),
        bias=bias,
        provenance=PROVENANCE.model_copy(update={"model_id": draw(texts), "lam": lam}),
        tool_biases=draw(st.none() | st.lists(finite, min_size=len(names), max_size=len(names)).map(torch.tensor)),
        calibration=draw(st.sampled_from([None, CALIBRATION])),
        call_states=draw(st.none() | rows.map(lambda found: torch.tensor(found).reshape(len(names), hidden))),
    )
