"""How copies of a chat model treat its engine: copies share it, and another process loads it again."""

from __future__ import annotations

from dataclasses import dataclass
from pickle import PicklingError
from typing import Any, Self

from langchain_toolken.decoding.engine import Engine

LOADED_BY = ("model", "revision", "dtype", "device", "device_map", "trust_remote_code", "model_kwargs")
"""The chat model's fields that determine its engine."""


@dataclass(frozen=True, eq=False)
class LoadedEngine:
    """A chat model's engine, which deep copies share because weights are never copied.

    It is pickled as None, so that an unpickled chat model loads its engine at first use.

    Attributes:
        engine: The engine.
        by_name: Whether the chat model loaded it from its own settings (`LOADED_BY`). If not, no other process could
            load it, and pickling raises PicklingError.
    """

    engine: Engine
    by_name: bool

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> tuple[type, tuple[()]]:
        if not self.by_name:
            raise PicklingError(
                f"this ToolkenChat was made from an engine in memory ({self.engine.model_id}), which another process "
                "cannot load. Create it with ToolkenChat(model=…, toolkens=…), or call ToolkenChat.from_engine in each "
                "process"
            )
        return type(None), ()
