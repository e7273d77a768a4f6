"""Toolkens fitted on one backend and used on another: a note says how well the states agree, or they are refused."""

from __future__ import annotations

import warnings
from dataclasses import replace

import pytest

from langchain_toolken.decoding.local.engine import TransformersEngine
from langchain_toolken.lm.transformers_model import TransformersModel
from langchain_toolken.toolkens.errors import ToolkenSetError, ToolkenSetWarning
from langchain_toolken.toolkens.set import ToolkenSet
from tests.support.toolken_sets import make_toolkens


def fitted_elsewhere(lm: TransformersModel, sketch: tuple[float, ...]) -> ToolkenSet:
    toolkens = make_toolkens(lm, ["add", "log"])
    changes = {"backend": "llama_cpp", "sketch": sketch}
    return replace(toolkens, provenance=toolkens.provenance.model_copy(update=changes))


def test_a_note_says_how_well_the_states_agree(tiny_llama: TransformersModel) -> None:
    engine = TransformersEngine(tiny_llama)
    close = (tiny_llama.sketch[0] + 0.02, *tiny_llama.sketch[1:])
    with pytest.warns(ToolkenSetWarning, match=r"fitted on llama_cpp and are used on transformers.*cosine of 0\.9998"):
        engine.rank([[1, 2]], toolkens=fitted_elsewhere(tiny_llama, close))


def test_states_that_are_far_apart_are_refused(tiny_llama: TransformersModel) -> None:
    engine = TransformersEngine(tiny_llama)
    far = tuple(-value for value in tiny_llama.sketch)
    with pytest.raises(ToolkenSetError, match=r"agree to a mean cosine of .* only.*backend='llama_cpp'"):
        engine.rank([[1, 2]], toolkens=fitted_elsewhere(tiny_llama, far))


def test_sets_of_the_same_backend_and_of_earlier_versions_need_no_note(tiny_llama: TransformersModel) -> None:
    engine = TransformersEngine(tiny_llama)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ToolkenSetWarning)
        engine.rank([[1, 2]], toolkens=make_toolkens(tiny_llama, ["add"]))
        engine.rank([[1, 2]], toolkens=fitted_elsewhere(tiny_llama, ()))
