"""Tool calls through toolkens: one learned row per tool in the output head of a frozen LM.

The names below are imported on first use, so `import langchain_toolken` and `toolken --help` are fast and load no
torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from langchain_toolken._version import __version__

if TYPE_CHECKING:
    from langchain_toolken.agents.agent import create_toolken_agent
    from langchain_toolken.chat.model import ToolkenChat
    from langchain_toolken.decisions import ToolkenDecisionModel
    from langchain_toolken.errors import ToolkenError
    from langchain_toolken.lm.load import load_language_model
    from langchain_toolken.middleware import ToolkenSelectorMiddleware
    from langchain_toolken.toolkens.new_tools import add_tools
    from langchain_toolken.toolkens.set import ToolkenSet
    from langchain_toolken.tools.load import load_tools
    from langchain_toolken.tools.mcp import mcp
    from langchain_toolken.tools.spec import ToolSpec
    from langchain_toolken.training.fit import fit, fit_toolkens
    from langchain_toolken.training.result import FitResult
    from langchain_toolken.training.sync import keep_in_sync, sync_folder

__all__ = [
    "FitResult",
    "ToolSpec",
    "ToolkenChat",
    "ToolkenDecisionModel",
    "ToolkenError",
    "ToolkenSelectorMiddleware",
    "ToolkenSet",
    "__version__",
    "add_tools",
    "create_toolken_agent",
    "fit",
    "fit_toolkens",
    "keep_in_sync",
    "load_language_model",
    "load_tools",
    "mcp",
    "sync_folder",
]

_MODULE_OF = {
    "FitResult": "training.result",
    "ToolSpec": "tools.spec",
    "ToolkenChat": "chat.model",
    "ToolkenDecisionModel": "decisions",
    "ToolkenError": "errors",
    "ToolkenSelectorMiddleware": "middleware",
    "ToolkenSet": "toolkens.set",
    "add_tools": "toolkens.new_tools",
    "create_toolken_agent": "agents.agent",
    "fit": "training.fit",
    "fit_toolkens": "training.fit",
    "keep_in_sync": "training.sync",
    "load_language_model": "lm.load",
    "load_tools": "tools.load",
    "mcp": "tools.mcp",
    "sync_folder": "training.sync",
}


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
