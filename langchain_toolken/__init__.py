"""Tool calls through toolkens: one extra row in a frozen LM's output head per tool (DESIGN §1).

The names below are imported when first used, so that `import langchain_toolken` and `toolken --help` stay fast and
load no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langchain_toolken.agents import create_toolken_agent
    from langchain_toolken.chat.model import ToolkenChat
    from langchain_toolken.toolkens.set import ToolkenSet
    from langchain_toolken.tools.spec import ToolSpec
    from langchain_toolken.training.fit import fit_toolkens

from langchain_toolken._version import __version__

__all__ = [
    "ToolSpec",
    "ToolkenChat",
    "ToolkenSet",
    "__version__",
    "create_toolken_agent",
    "fit_toolkens",
    "load_tools",
]

_HOME = {
    "ToolSpec": "tools.spec",
    "ToolkenChat": "chat.model",
    "ToolkenSet": "toolkens.set",
    "create_toolken_agent": "agents",
    "fit_toolkens": "training.fit",
    "load_tools": "tools.load",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
