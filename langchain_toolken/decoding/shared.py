"""One loaded LM for everyone in the process who asks for the same one."""

from __future__ import annotations

import threading
from functools import lru_cache

from langchain_toolken.decoding.lm import load_language_model
from langchain_toolken.decoding.transformers_engine import TransformersEngine

_ENGINES = threading.Lock()


@lru_cache(maxsize=4)
def _load_engine(
    model: str, revision: str | None, dtype: str | None, device: str | None, device_map: str | None, trust: bool
) -> TransformersEngine:
    return TransformersEngine(
        load_language_model(
            model,
            revision=revision,
            dtype=dtype,
            device=device,
            device_map=device_map,
            trust_remote_code=trust,
        )
    )


def shared_engine(
    model: str,
    *,
    revision: str | None = None,
    dtype: str | None = None,
    device: str | None = None,
    device_map: str | None = None,
    trust_remote_code: bool = False,
) -> TransformersEngine:
    """The engine of an LM, loaded once per process and settings (the four used last are kept)."""
    with _ENGINES:
        return _load_engine(model, revision, dtype, device, device_map, trust_remote_code)
