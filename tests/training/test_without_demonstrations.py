"""A fit without demonstrations: the set that it makes, and what is learned from descriptions where some are there."""

from __future__ import annotations

import pytest

from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.tools.spec import ToolSpec
from langchain_toolken.training.fit import fit
from langchain_toolken.training.fit_warnings import ToolkenFitWarning

SPECS = [
    ToolSpec(name=word, description=f"Finds a {word}.", json_schema={"type": "object", "properties": {}})
    for word in ("weather", "table", "song", "mail")
]


def test_the_set_has_a_gate_and_tells_how_it_was_chosen(tiny_llama: LanguageModel) -> None:
    with pytest.warns(ToolkenFitWarning, match="no demonstrations were given"):
        result = fit(tiny_llama, SPECS, style="chat")
    assert result.when is not None
    assert result.toolkens.evidence is not None
    assert result.toolkens.evidence.gate is not None
    assert result.toolkens.provenance.prior == "head/both/weighted, levelled"
    assert result.lm_passes == 0, "no demonstration went through the LM"


def test_with_a_demonstration_each_the_levelled_prior_is_one_to_choose(tiny_llama: LanguageModel) -> None:
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"please look for the {one.name}"},
                {
                    "role": "assistant",
                    "content": "",
                    "tool_calls": [{"type": "function", "function": {"name": one.name, "arguments": "{}"}}],
                },
            ]
        }
        for one in SPECS
    ]
    with pytest.warns(ToolkenFitWarning, match="too little data|without a call"):
        result = fit(tiny_llama, SPECS, rows, style="chat")
    assert result.selection is not None
    assert result.selection.prior == "head/both/weighted, levelled"
    assert result.which is not None
    assert result.which.assumed
