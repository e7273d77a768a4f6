"""One loaded LM for everyone in the process who asks for the same one."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from typing import Any

from langchain_toolken.decoding.local.engine import TransformersEngine
from langchain_toolken.lm.load import load_language_model

_ENGINES = threading.Lock()
_KEPT = 4
_loaded: OrderedDict[str, TransformersEngine] = OrderedDict()  # by what they were loaded with, the last used at the end


def shared_engine(
    model: str,
    *,
    revision: str | None = None,
    dtype: str | None = None,
    device: str | None = None,
    device_map: Any = None,
    trust_remote_code: bool = False,
    max_batch_size: int | None = None,
    **from_pretrained: Any,
) -> TransformersEngine:
    """The engine of an LM, loaded once per process and settings (the four used last are kept).

    max_batch_size: most sequences that run together, from now on; None leaves what it is. It is no reason to load an LM
    a second time.

    Raises:
        ValueError: max_batch_size is less than 1.
        others: as `load_language_model`.
    """
    arguments = {
        "revision": revision,
        "dtype": dtype,
        "device": device,
        "device_map": device_map,
        "trust_remote_code": trust_remote_code,
        **from_pretrained,
    }
    key = json.dumps([model, arguments], sort_keys=True, default=_described)
    with _ENGINES:
        engine = _loaded.pop(key, None)
        if engine is None:
            engine = TransformersEngine(load_language_model(model, **arguments))
        _loaded[key] = engine
        while len(_loaded) > _KEPT:
            _loaded.popitem(last=False)
    if max_batch_size is not None:
        engine.max_batch_size = max_batch_size
    return engine


def _described(value: Any) -> Any:
    """A setting that is not JSON: quantisation configs say what they hold, dtypes have a name."""
    if callable(to_dict := getattr(value, "to_dict", None)):
        return [type(value).__name__, to_dict()]
    return repr(value)
