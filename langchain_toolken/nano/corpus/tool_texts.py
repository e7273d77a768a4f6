"""Invented tools for the corpus: their names, parameters, one-line descriptions and the calls that requests ask for.

Names are drawn anew for every document (thousands of them, many without meaning), so that nano learns to read a tool's card and
not to know tools by heart.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from langchain_toolken.nano.corpus.numbers import Numbers
from langchain_toolken.nano.corpus.word_problems import DAYS, MONTHS, Step
from langchain_toolken.nano.corpus.words import PEOPLE, THINGS, choose_alternatives, invented_word


@dataclass(frozen=True)
class InventedTool:
    """A tool as a card shows it: name, ``(parameter, type, optional)`` and a one-line description."""

    name: str
    parameters: tuple[tuple[str, str, bool], ...]
    description: str

    @property
    def signature(self) -> str:
        """The form of :attr:`langchain_toolken.tools.ToolSpec.signature`."""
        inside = ", ".join(f"{name}{'?' if optional else ''}: {kind}" for name, kind, optional in self.parameters)
        return f"{self.name}({inside})"

    @property
    def card(self) -> str:
        """The form of :func:`langchain_toolken.prompts.format.tool_card`."""
        return f"\nTool: {self.signature}\n{self.description}\nArguments: "


@dataclass(frozen=True)
class InventedCall:
    """A tool together with the arguments (JSON text of each, in order) that a request asks for."""

    tool: InventedTool
    arguments: tuple[tuple[str, str], ...]

    @property
    def json(self) -> str:
        return "{" + ",".join(f"{json.dumps(name)}:{value}" for name, value in self.arguments) + "}"


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
    """A tool name: a stem or an invented word, alone or with a prefix or suffix, in snake, camel or kebab style."""
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
    """A tool that does this arithmetic step, under some name and parameters, and the call that computes it."""
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


@dataclass(frozen=True)
class _Request:
    stem: str
    description: str
    ask: str
    parameters: tuple[tuple[str, str, str], ...]  # (kind of value, type shown, parameter names separated by blanks)
    reply: str


_REQUESTS = (
    _Request("weather", "[Tells|Returns] the weather of a city[ on a day|].", "[What is the weather like|How is the weather] in {city} on {day}?", (("city", "string", "city place location"), ("day", "string", "day date when")), "On {day} it will be {result} in {city}."),
    _Request("temperature", "[Tells|Returns] the temperature in a city.", "[How warm is it|What is the temperature] in {city}?", (("city", "string", "city place town"),), "It is {result} degrees in {city}."),
    _Request("book_table", "Books a table at a restaurant.", "[Book|Reserve] a table for {count} at {city} on {day}.", (("city", "string", "place restaurant venue"), ("count", "integer", "people guests size"), ("day", "string", "day date")), "The table for {count} is booked: {result}."),
    _Request("send_message", "Sends a message to a person.", "[Send a message|Write] to {person}: {phrase}.", (("person", "string", "to person recipient"), ("phrase", "string", "text message body")), "The message to {person} was sent."),
    _Request("set_alarm", "Sets an alarm[ clock|].", "[Set an alarm|Wake me] at {time} on {day}.", (("time", "string", "time at clock"), ("day", "string", "day date")), "The alarm is set for {time}."),
    _Request("order", "Orders goods[ from the shop|].", "[Order|Buy] {count} {things}[ for me|].", (("things", "string", "item product goods"), ("count", "integer", "quantity amount count")), "Your {things} are ordered: {result}."),
    _Request("convert", "Converts an amount of money.", "Convert {amount} {coin} to {coin2}.", (("amount", "number", "amount value sum"), ("coin", "string", "source from_currency old"), ("coin2", "string", "target to_currency new")), "{amount} {coin} are {result} {coin2}."),
    _Request("add_event", "Adds an event to the calendar.", "[Put|Add] {phrase} on {day} [in|to] my calendar.", (("phrase", "string", "title event name"), ("day", "string", "day date")), "It is in your calendar."),
    _Request("find_flights", "Finds flights between two cities.", "[Find|Show me] flights from {city} to {city2} in {month}.", (("city", "string", "origin source start"), ("city2", "string", "destination target goal"), ("month", "string", "month date when")), "The best flight to {city2} is {result}."),
    _Request("capital", "Returns the capital of a country.", "What is the capital of {city}?", (("city", "string", "country name place"),), "The capital of {city} is {result}."),
    _Request("age", "Returns how old a person is.", "How old is {person}?", (("person", "string", "person name who"),), "{person} is {result} years old."),
    _Request("lookup", "Looks a word up[ in the dictionary|].", "What does the word {word} mean?", (("word", "string", "word term query"),), "The word {word} means {result}."),
    _Request("apply", "Applies the {word} function to a number.", "[What is the value of|Compute] {word}({number})?", (("number", "integer", "input x value"),), "The value of {word}({number}) is {result}."),
    _Request("apply", "Applies the {word} function to a number.", "[What is|Tell me] the {word} of {number}?", (("number", "integer", "input x value n"),), "The {word} of {number} is {result}."),
    _Request("set_light", "Switches a light on or off.", "[Switch|Turn] the {word} light {state}.", (("word", "string", "room lamp name"), ("state", "'on' | 'off'", "state position")), "The {word} light is {state}."),
    _Request("is_prime", "Checks whether a number is prime.", "Is {number} a prime number?", (("number", "integer", "n number value"),), "The answer is {result}."),
)  # fmt: skip
_PHRASES = ("see you soon", "dinner is ready", "happy birthday", "call me back", "the meeting is moved", "good luck", "dentist", "lunch with the team",
            "thank you for the gift", "piano lesson", "I am late", "the train leaves early", "please buy milk", "yoga class")  # fmt: skip
_COINS = ["dollars", "euros", "pounds", "yen", "francs", "crowns", "pesos", "rupees"]


@dataclass(frozen=True)
class RequestWithCall:
    """A request in words, the call that it asks for, what the tool answers, and the sentence that reports it."""

    request: str
    call: InventedCall
    result: str
    reply: str


def request_with_call(rng: Random) -> RequestWithCall:
    """A request that is no word problem, for a tool of some name."""
    kind = rng.choice(_REQUESTS)
    numbers = Numbers(rng)
    values = {
        "city": invented_word(rng).capitalize(), "city2": invented_word(rng).capitalize(), "day": rng.choice(DAYS), "month": rng.choice(MONTHS),
        "person": rng.choice(PEOPLE), "phrase": rng.choice(_PHRASES), "time": f"{rng.randint(0, 23)}:{rng.randint(0, 59):02d}",
        "count": numbers.between(2, 20), "things": rng.choice(THINGS), "amount": numbers.number(1, 4), "number": numbers.integer(1, 4),
        "word": invented_word(rng), "state": rng.choice(("on", "off")),
    }  # fmt: skip
    values["coin"], values["coin2"] = rng.sample(_COINS, 2)
    result = {
        "weather": rng.choice(("sunny", "cloudy", "rainy", "windy", "foggy")), "capital": invented_word(rng).capitalize(), "lookup": f"a kind of {rng.choice(THINGS)}",
        "is_prime": rng.choice(("yes", "no")), "book_table": f"number {rng.randint(10, 999)}", "order": f"number {rng.randint(10, 999)}",
    }.get(kind.stem, numbers.number(1, 3, 0.2))  # fmt: skip
    parameters: list[tuple[str, str, bool]] = []
    arguments: list[tuple[str, str]] = []
    for value, shown, names in kind.parameters:
        parameter = rng.choice(names.split())
        while any(parameter == name for name, _, _ in parameters):
            parameter += "_2"
        parameters.append((parameter, shown, False))
        text = values[value]
        arguments.append((parameter, text if shown in ("integer", "number") else json.dumps(text)))
    description = choose_alternatives(kind.description, rng).format(**values)
    tool = InventedTool(invented_name(rng, kind.stem), tuple(parameters), description)
    ask, reply = (choose_alternatives(text, rng).format(**values, result=result) for text in (kind.ask, kind.reply))
    return RequestWithCall(ask, InventedCall(tool, tuple(arguments)), result, reply)


def some_other_tools(rng: Random, count: int, taken: Sequence[str]) -> list[InventedTool]:
    """Tools that the document's request does not need, under other names."""
    others: list[InventedTool] = []
    while len(others) < count:
        if rng.random() < 0.5:
            operation = rng.choice(tuple(_OPERATIONS))
            operands = ("12",) if operation in ("sqrt", "log", "ln") else ("12", "34")
            tool = tool_for_step(rng, Step(operation, operands, "0")).tool
        else:
            tool = request_with_call(rng).call.tool
        if tool.name not in taken and all(tool.name != other.name for other in others):
            others.append(tool)
    return others
