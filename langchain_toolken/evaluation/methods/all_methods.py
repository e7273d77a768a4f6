"""All methods by name, in the order in which tables list them."""

from __future__ import annotations

from langchain_toolken.errors import ToolkenError
from langchain_toolken.evaluation.methods.in_context import InContext
from langchain_toolken.evaluation.methods.method import Method
from langchain_toolken.evaluation.methods.ours import IN_TEXT, OURS, PARTS_OFF, ZERO_SHOT
from langchain_toolken.evaluation.methods.plain import ChainOfThought, Direct
from langchain_toolken.evaluation.methods.published import (
    TOKENLEARNING_CODE_METHOD,
    TOKENLEARNING_METHOD,
    TOOLKEN_PLUS,
    TOOLKENGPT_METHOD,
)
from langchain_toolken.evaluation.methods.react import REACT_NEAREST, ReAct, ReActToolkens
from langchain_toolken.evaluation.methods.retrieval import BM25, Retrieval
from langchain_toolken.evaluation.methods.tokmem import TokMem

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Direct(),
        ChainOfThought(),
        InContext(),
        BM25(),
        Retrieval(),
        ReAct(),
        REACT_NEAREST,
        TOOLKENGPT_METHOD,
        TOKENLEARNING_METHOD,
        TOKENLEARNING_CODE_METHOD,
        TOOLKEN_PLUS,
        TokMem(),
        ReActToolkens(),
        OURS,
        IN_TEXT,
        ZERO_SHOT,
        *PARTS_OFF,
    )
}
"""The methods."""


class UnknownMethodError(ToolkenError, ValueError):
    """There is no method of that name."""


def methods_named(names: str) -> list[Method]:
    """Return the methods of a comma-separated list; "all" is all of them.

    Raises:
        UnknownMethodError: There is no such method.
    """
    wanted = list(METHODS) if names == "all" else list(dict.fromkeys(name.strip() for name in names.split(",")))
    for name in wanted:
        if name not in METHODS:
            raise UnknownMethodError(f"there is no method {name!r}; choose among {', '.join(METHODS)}, or all")
    return [METHODS[name] for name in wanted]
