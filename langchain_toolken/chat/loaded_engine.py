"""What a chat model's copies do with its engine: they share it; another process loads it again."""

from __future__ import annotations

from dataclasses import dataclass
from pickle import PicklingError
from typing import Any, Self

from langchain_toolken.decoding.engine import Engine

LOADED_BY = ("model", "revision", "dtype", "device", "device_map", "trust_remote_code", "model_kwargs")
"""The chat model's fields that decide which engine it has."""


@dataclass(frozen=True, eq=False)
class LoadedEngine:
    """A chat model's engine: a deep copy of the chat model has the same one, since weights are never copied.

    by_name: loaded by the chat model's own settings (`LOADED_BY`). Pickled it is None, so whoever gets the chat model
    loads the engine again when it is first used; with an engine of another origin, pickling raises PicklingError.
    """

    engine: Engine
    by_name: bool

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> tuple[type, tuple[()]]:
        if not self.by_name:
            raise PicklingError(
                f"this ToolkenChat was made from an engine in memory ({self.engine.model_id}), which another process "
                "can't load again by itself. Make it with ToolkenChat(model=…, toolkens=…), or make one with "
                "ToolkenChat.from_engine in each process"
            )
        return type(None), ()
