"""Arithmetic as a world: FuncQA's 13 tools or GSM8K-XL's 4, exact, with a record of what was computed from what."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce, wraps
from typing import TYPE_CHECKING, Any, Literal

import networkx as nx
from langchain_core.tools import BaseTool, StructuredTool, tool

from langchain_toolken.evaluation.graders import final_number
from langchain_toolken.evaluation.worlds.drawing import Box, draw_boxes
from langchain_toolken.nano.operations import OPERATIONS, MathToolError, exact, round_result
from langchain_toolken.nano.tools import MATH_TOOLS, Numbers, add, multiply

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GIVEN = "given"


def _from_left(name: str, numbers: Sequence[int | float]) -> str:
    try:
        return round_result(reduce(OPERATIONS[name][0], map(exact, numbers)))
    except MathToolError as error:
        raise MathToolError(f"{name}: {error}") from None


# GSM8K-XL's demonstrations subtract and divide by several numbers (199 of 4,036 and 5 of 3,428); FuncQA's take two.
@tool("subtract")
def subtract_all(numbers: Numbers) -> str:
    """Subtract all further numbers from the first: what is left."""
    return _from_left("subtract", numbers)


@tool("divide")
def divide_all(numbers: Numbers) -> str:
    """Divide the first number by all further ones: how much each part gets."""
    return _from_left("divide", numbers)


for _tool in (subtract_all, divide_all):
    _tool.handle_tool_error = True

GSM8K_XL_TOOLS: list[BaseTool] = [add, subtract_all, multiply, divide_all]


class ArithmeticWorld:
    """Tools that compute, and what was computed with them.

    Attributes:
        graph: A node for each call, `"1 multiply"`, and for each number that no call computed, `"67"`; an edge leads
            from each operand to the call. A call's node has its `result`.
    """

    def __init__(self, kind: Literal["funcqa", "gsm8k_xl"] = "funcqa") -> None:
        self._tools = MATH_TOOLS if kind == "funcqa" else GSM8K_XL_TOOLS
        self.graph = nx.DiGraph()

    def tools(self) -> list[BaseTool]:
        """Return the tools; each call is recorded in `graph`."""
        return [self._recorded(each) for each in self._tools]

    def _recorded(self, original: BaseTool) -> BaseTool:
        assert isinstance(original, StructuredTool)
        compute: Callable[..., str] = original.func  # type: ignore[assignment]

        @wraps(compute)
        def recorded(*args: Any, **arguments: Any) -> str:
            result = compute(*args, **arguments)
            self._record(original.name, [*args, *arguments.values()], result)
            return result

        return original.model_copy(update={"func": recorded})

    def _record(self, name: str, values: Sequence[Any], result: str) -> None:
        results = {final_number(data["result"]): node for node, data in self.graph.nodes(data=True) if "result" in data}
        node = f"{1 + sum('result' in data for _, data in self.graph.nodes(data=True))} {name}"
        operands = [number for value in values for number in (value if isinstance(value, list) else [value])]
        sources = [results.get(final_number(str(number)), str(number)) for number in operands]
        self.graph.add_node(node, result=result)
        self.graph.add_edges_from((source, node) for source in sources)

    def draw(self) -> Figure:
        """Draw the calls so far, each below what it was computed from. Needs matplotlib.

        Raises:
            DrawingError: If matplotlib is not installed.
        """
        boxes, groups = [], []
        for number, generation in enumerate(nx.topological_generations(self.graph)):
            groups.append(GIVEN if number == 0 else f"step {number}")
            for node in generation:
                result = self.graph.nodes[node].get("result")
                label = node if result is None else f"{node}\n= {result}"
                boxes.append(Box(node, groups[-1], label, bold=not self.graph.out_degree(node)))
        return draw_boxes(boxes, [(a, b, "", False) for a, b in self.graph.edges], groups)
