"""Invented tools for the corpus: names, parameters, one-line descriptions, and the calls that requests ask for.

Every document has new names, many without meaning, so that nano learns to read a tool's card instead of learning tools by heart.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from langchain_toolken.nano.problems.word_problems import Step
from langchain_toolken.nano.problems.words import choose_alternatives, invented_word
from pretraining.objects import minified


@dataclass(frozen=True)
class InventedTool:
    """A tool as a card shows it: name, parameters as (name, type, optional), and a one-line description."""

    name: str
    parameters: tuple[tuple[str, str, bool], ...]
    description: str

    @property
    def signature(self) -> str:
        """The tool in the form of `ToolSpec.signature`."""
        inside = ", ".join(f"{name}{'?' if optional else ''}: {kind}" for name, kind, optional in self.parameters)
        return f"{self.name}({inside})"

    @property
    def card(self) -> str:
        """The form of :func:`langchain_toolken.prompts.format.tool_card`."""
        return f"\nTool: {self.signature}\n{self.description}\nArguments: "


@dataclass(frozen=True)
class InventedCall:
    """A tool and the arguments of a call, each as (name, JSON text)."""

    tool: InventedTool
    arguments: tuple[tuple[str, str], ...]

    @property
    def json(self) -> str:
        """The arguments as minified JSON."""
        return "{" + ",".join(f"{minified(name)}:{value}" for name, value in self.arguments) + "}"


_OPERATIONS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "add": (("add", "sum", "total", "plus", "addition"), ("Adds [the |]numbers[ together|].", "[Returns|Gives|Computes] the sum of [the |]numbers.")),
    "subtract": (("subtract", "minus", "difference", "take_away"), ("Subtracts the second number from the first.", "[Returns|Gives] the difference of two numbers.")),
    "multiply": (("multiply", "times", "product", "mul"), ("Multiplies [the |]numbers[ together|].", "[Returns|Gives] the product of [the |]numbers.")),
    "divide": (("divide", "quotient", "ratio", "div"), ("Divides the first number by the second.", "[Returns|Gives] the quotient of two numbers.")),
    "power": (("power", "raise", "exponent", "pow"), ("Raises a [number|base] to a power.", "[Returns|Gives] the base raised to the exponent.")),
    "sqrt": (("sqrt", "root", "square_root"), ("[Returns|Gives|Takes] the square root of a number.",)),
    "log": (("log", "log10", "logarithm"), ("[Returns|Gives] the logarithm of a number[| to base 10].",)),
    "ln": (("ln", "natural_log", "log_e"), ("[Returns|Gives] the natural logarithm of a number.",)),
    "lcm": (("lcm", "least_common_multiple", "common_multiple"), ("[Finds|Returns] the least common multiple of [the |]numbers.",)),
    "gcd": (("gcd", "greatest_common_divisor", "common_divisor", "hcf"), ("[Finds|Returns] the greatest common divisor of [the |]numbers.",)),
    "remainder": (("remainder", "modulo", "left_over", "mod"), ("[Returns|Gives] what is left over when one number is divided by another.", "[Returns|Gives] the remainder of a division.")),
    "choose": (("choose", "combinations", "select"), ("Counts the ways to choose k of n items, without order.",)),
    "permutate": (("permutate", "permutations", "arrange"), ("Counts the ways to arrange k of n items in order.",)),
}  # fmt: skip
_PAIRS = {
    "subtract": (("minuend", "subtrahend"), ("start", "amount"), ("whole", "part")),
    "divide": (("dividend", "divisor"), ("total", "parts"), ("numerator", "denominator")),
    "power": (("base", "exponent"), ("base", "power"), ("number", "times")),
    "remainder": (("dividend", "divisor"), ("number", "modulus"), ("total", "size")),
    "choose": (("n", "k"), ("total", "chosen"), ("items", "size")),
    "permutate": (("n", "k"), ("total", "places"), ("items", "size")),
}
_ANY_PAIR = (
    ("a", "b"),
    ("x", "y"),
    ("first", "second"),
    ("left", "right"),
    ("one", "two"),
    ("num1", "num2"),
    ("p", "q"),
)
_SINGLE = ("x", "n", "number", "value", "a", "num", "argument")
_LIST = ("numbers", "values", "items", "terms", "nums", "operands", "xs")


def invented_name(rng: Random, stem: str = "") -> str:
    """Invent a tool name: a stem or an invented word, alone or with a prefix or suffix, in snake or camel case."""
    word = stem if stem and rng.random() < 0.6 else invented_word(rng)
    extra = rng.choice(("", "", "", "get", "run", "do", "calc", "compute", "find", "my", "fast", invented_word(rng, 1)))
    parts = [extra, word] if extra else [word]
    if rng.random() < 0.15:
        parts.append(rng.choice(("tool", "it", "fn", "v2", str(rng.randint(1, 99)))))
    style = rng.random()
    if style < 0.7:
        return "_".join(parts)
    words = [piece for part in parts for piece in part.split("_")]
    return words[0] + "".join(piece.capitalize() for piece in words[1:])


def tool_for_step(rng: Random, step: Step) -> InventedCall:
    """Invent a tool for an arithmetic step, and the call that computes the step."""
    stems, descriptions = _OPERATIONS[step.operation]
    description = choose_alternatives(rng.choice(descriptions), rng)
    if rng.random() < 0.05:
        description = f"Applies the {invented_word(rng)} rule."
    optional = ((rng.choice(("digits", "unit", "mode", "base", "precision")), rng.choice(("integer", "string", "number")), True),) if rng.random() < 0.15 else ()  # fmt: skip
    name = invented_name(rng, rng.choice(stems))
    operands = step.operands
    if len(operands) == 1:
        parameter = rng.choice(_SINGLE)
        return InventedCall(
            InventedTool(name, ((parameter, "number", False), *optional), description), ((parameter, operands[0]),)
        )
    variadic = step.operation in ("add", "multiply", "lcm", "gcd")
    if len(operands) > 2 or (variadic and rng.random() < 0.6):
        parameter = rng.choice(_LIST)
        tool = InventedTool(name, ((parameter, "list[number]", False), *optional), description)
        return InventedCall(tool, ((parameter, f"[{','.join(operands)}]"),))
    named = _PAIRS.get(step.operation, _ANY_PAIR)
    one, two = rng.choice(named if rng.random() < 0.6 else _ANY_PAIR)
    kind = "integer" if all(operand.isdigit() for operand in operands) and rng.random() < 0.3 else "number"
    tool = InventedTool(name, ((one, kind, False), (two, kind, False), *optional), description)
    return InventedCall(tool, ((one, operands[0]), (two, operands[1])))
