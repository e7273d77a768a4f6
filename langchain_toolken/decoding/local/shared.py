"""`shared_engine`: loads an LM once per process, and shares it between all that ask for the same one."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from typing import Any

from langchain_toolken.decoding.local.engine import LocalEngine, local_engine
from langchain_toolken.lm.identity import Backend
from langchain_toolken.lm.load import load_language_model

_ENGINES = threading.Lock()
_KEPT = 4
_loaded: OrderedDict[str, LocalEngine] = OrderedDict()  # by their settings, the most recently used last


def shared_engine(
    model: str,
    *,
    revision: str | None = None,
    dtype: str | None = None,
    device: str | int | None = None,
    device_map: Any = None,
    trust_remote_code: bool = False,
    backend: Backend | None = None,
    max_batch_size: int | None = None,
    **from_pretrained: Any,
) -> LocalEngine:
    """Return the engine of an LM, loaded once per process and settings.

    The four most recently used are kept.

    Args:
        model: As in `load_language_model`, like all arguments but `max_batch_size`.
        revision: As in `load_language_model`.
        dtype: As in `load_language_model`.
        device: As in `load_language_model`.
        device_map: As in `load_language_model`.
        trust_remote_code: As in `load_language_model`.
        backend: As in `load_language_model`.
        max_batch_size: Most sequences that run together from now on; None leaves it as it is. Another value does not
            load the LM a second time.
        **from_pretrained: As in `load_language_model`.

    Raises:
        ValueError: `max_batch_size` is less than 1.
        Exception: Whatever `load_language_model` raises.
    """
    arguments = {
        "revision": revision,
        "dtype": dtype,
        "device": device,
        "device_map": device_map,
        "trust_remote_code": trust_remote_code,
        "backend": backend,
        **from_pretrained,
    }
    key = json.dumps([model, arguments], sort_keys=True, default=_described)
    with _ENGINES:
        engine = _loaded.pop(key, None)
        if engine is None:
            engine = local_engine(load_language_model(model, **arguments))
        _loaded[key] = engine
        while len(_loaded) > _KEPT:
            _loaded.popitem(last=False)
    if max_batch_size is not None:
        engine.max_batch_size = max_batch_size
    return engine


def _described(value: Any) -> Any:
    """Describe a setting that is not JSON: a quantisation config by its fields, a dtype by its name."""
    if callable(to_dict := getattr(value, "to_dict", None)):
        return [type(value).__name__, to_dict()]
    return repr(value)
