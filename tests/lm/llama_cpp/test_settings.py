"""Settings of llama.cpp are checked before it is asked."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from langchain_toolken.lm.llama_cpp.settings import MOST_CELLS, LlamaCppArgumentError, LlamaCppSettings


def test_the_context_is_what_the_lm_was_made_for_within_limits() -> None:
    assert LlamaCppSettings().cells(2048) == 2048
    assert LlamaCppSettings().cells(131_072) == MOST_CELLS
    assert LlamaCppSettings(n_ctx=100_000).cells(131_072) == 100_000


def test_settings_reach_llama_cpps_parameters() -> None:
    params = LlamaCppSettings(n_threads=3, flash_attn=True, type_k="q8_0").of_context(SimpleNamespace())
    assert vars(params) == {"n_threads": 3, "n_threads_batch": 3, "flash_attn_type": 1, "type_k": 8, "type_v": 1}
    params = LlamaCppSettings(n_threads_batch=5).of_context(SimpleNamespace())
    assert params.n_threads >= 1
    assert (params.n_threads_batch, params.flash_attn_type) == (5, -1)


@pytest.mark.parametrize(("given", "named"), [({"n_ctx": 3}, "n_ctx=3"), ({"nctx": 3}, "nctx=3.*takes n_ctx, n_gpu")])
def test_a_wrong_setting_is_named(given: dict[str, int], named: str) -> None:
    with pytest.raises(LlamaCppArgumentError, match=named):
        LlamaCppSettings.of(given)
