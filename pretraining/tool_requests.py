"""Requests that are no word problems: for the weather, an order, a function's value, each with the call that it asks for.

Tools' names are invented or put together from a stem; functions are asked for by the very name of their tool. LangChain's standard
tests, which nano is tested with, use other names, places and sentences than these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from langchain_toolken.nano.problems.numbers import Numbers
from langchain_toolken.nano.problems.word_problems import DAYS, MONTHS, OPERATIONS, Step
from langchain_toolken.nano.problems.words import PEOPLE, SHOPS, THINGS, choose_alternatives, invented_word
from pretraining.names import address, code, date, foreign_name, town
from pretraining.objects import minified, structured_answer
from pretraining.tool_texts import InventedCall, InventedTool, invented_name, tool_for_step


@dataclass(frozen=True)
class _Request:
    """``parameters``: (kind of value, type shown, parameter names separated by blanks). ``result``: a template, or a list to choose from."""

    stems: str
    description: str
    ask: str
    parameters: tuple[tuple[str, str, str], ...]
    result: str
    reply: str


_TOWN = ("city", "string", "city place spot town area where position site region locality")
_ON = ("day", "string", "day date when")
_INPUT = (("number", "integer", "x value n number argument of arg"),)
_SKY = "[sunny|cloudy|rainy|windy|foggy|snowy|clear|warm|stormy]"

_REQUESTS = (
    _Request("forecast sky climate sky_report", "[Tells|Returns|Looks up|Gives] the [weather|forecast][ of| for| in] a [city|place|town].", "[What is the weather like|How is the weather|What will the weather be|How does the sky look] in {city}[ today| now| tomorrow|]?", (_TOWN,), _SKY, "[It is|The weather is] {result} in {city}."),
    _Request("forecast sky outlook_on", "[Tells|Returns] the weather of a city on a day.", "[What is the weather like|How is the weather|Will it rain] in {city} on {day}?", (_TOWN, _ON), _SKY, "On {day} it will be {result} in {city}."),
    _Request("temperature thermometer degrees heat", "[Tells|Returns|Measures] the temperature [in a city|at a place].", "[How warm is it|What is the temperature|How cold is it|How hot will it be] in {city}?", (_TOWN,), "{small}", "It is {result} degrees in {city}."),
    _Request("clock time_in local_time", "[Tells|Returns] the [local |]time of a [city|place].", "What time is it in {city}[ now|]?", (_TOWN,), "{time}", "It is {result} in {city}."),
    _Request("population inhabitants census", "[Tells|Returns] how many people live in a [city|place].", "How many people live in {city}?", (_TOWN,), "{large}", "{result} people live in {city}."),
    _Request("book_table reserve seats", "Books a table at a restaurant.", "[Book|Reserve] a table for {count} at {city} on {day}.", (("city", "string", "place restaurant venue"), ("count", "integer", "people guests size"), _ON), "number {small}", "The table for {count} is booked: {result}."),
    _Request("send_message write_to tell notify", "Sends a message to a person.", "[Send a message|Write|Send a note] to {person}: {phrase}.", (("person", "string", "to person recipient"), ("phrase", "string", "text message body")), "[sent|done|ok]", "The message to {person} was sent."),
    _Request("email post_mail mail", "Sends an e-mail.", "[E-mail|Mail|Write to] {address}[ and say|:] {phrase}.", (("address", "string", "to address recipient"), ("phrase", "string", "text body subject")), "[sent|queued|ok]", "The mail to {address} is {result}."),
    _Request("set_alarm wake alarm", "Sets an alarm[ clock|].", "[Set an alarm|Wake me] at {time} on {day}.", (("time", "string", "time at clock"), _ON), "[set|ok|done]", "The alarm is set for {time}."),
    _Request("remind reminder note", "[Makes|Sets] a reminder.", "Remind me [on|at] {date}: {phrase}.", (("date", "string", "date on when"), ("phrase", "string", "text what title")), "[saved|ok]", "I will remind you on {date}."),
    _Request("order buy purchase shop", "Orders goods[ from the shop|].", "[Order|Buy|Get me] {count} {things}[ for me|].", (("things", "string", "item product goods"), ("count", "integer", "quantity amount count")), "number {small}", "Your {things} are ordered: {result}."),
    _Request("convert exchange change_money", "Converts an amount of money.", "[Convert|Change] {amount} {coin} [to|into] {coin2}.", (("amount", "number", "amount value sum"), ("coin", "string", "source from_currency old"), ("coin2", "string", "target to_currency new")), "{large}", "{amount} {coin} are {result} {coin2}."),
    _Request("add_event calendar schedule", "Adds an event to the calendar.", "[Put|Add] {phrase} on {day} [in|to] my calendar.", (("phrase", "string", "title event name"), _ON), "[added|ok]", "It is in your calendar."),
    _Request("find_flights flights routes trains", "Finds [flights|trains] between two cities.", "[Find|Show me|Are there] [flights|trains] from {city} to {city2} in {month}[.|?]", (("city", "string", "origin source start"), ("city2", "string", "destination target goal"), ("month", "string", "month date when")), "{code}", "The best one to {city2} is {result}."),
    _Request("capital main_city", "Returns the capital of a country.", "What is the capital of {city}?", (("city", "string", "country name land"),), "{town}", "The capital of {city} is {result}."),
    _Request("age how_old years", "Returns how old a person is.", "How old is {person}?", (("person", "string", "person name who"),), "{small}", "{person} is {result} years old."),
    _Request("lookup define meaning dictionary", "Looks a word up[ in the dictionary|].", "What does the word {word} mean?", (("word", "string", "word term query"),), "a kind of {things}", "The word {word} means {result}."),
    _Request("track parcel shipment delivery", "[Tells|Finds] where [a parcel|an order] is.", "[Where is|Track|Find] [parcel|order|package|shipment] {code}[?|.]", (("code", "string", "id number parcel order_id code"),), "[in {city2}|on the way|delivered|lost]", "[It|{code}] is {result}."),
    _Request("cancel stop_order refund", "Cancels [an order|a booking].", "[Cancel|Delete] [order|booking|ticket] {code}[, please|].", (("code", "string", "id number booking code"),), "[canceled|done|ok]", "{code} is canceled."),
    _Request("account balance status", "[Returns|Shows] the [state|balance] of an account.", "[What is on|Show me] account {code}[?|.]", (("code", "string", "id account key"),), "{large}", "Account {code} shows {result}."),
    _Request("register new_member sign_up add_supplier", "[Registers|Adds|Enters|Tool for adding|Signs up] a [member|supplier|client|guest|vendor] [by name|with a note|with any kind of name|].", "[Register|Add|Enter|Sign up|Put in|We have] a [new |][member|supplier|client|guest|company|vendor] [called|with the name|by the name of|:] {quoted}[ ({word})| ({word} {word2})|][ - | - |, |: | is ]{article} {about}[.|]", (("foreign", "string", "{role}_name title label full_{role} name_of_{role}"), ("about", "string", "about note details info remark profile summary kind_of_{role} about_{role}")), "[Added|Registered] {foreign}.", "{foreign} is registered."),
    _Request("register new_member sign_up add_supplier", "[Registers|Adds|Enters|Signs up] a [member|supplier|client|guest|vendor] [by name|].", "[Register|Add|Enter|Sign up|Put in|We have] a [new |][member|supplier|client|guest|company|vendor] [called|with the name|by the name of|:] {quoted}[.|]", (("foreign", "string", "{role}_name title label full_{role} name_of_{role}"),), "[Added|Registered] {foreign}.", "{foreign} is registered."),
    _Request("greet say_hello welcome", "[Greets|Welcomes] somebody[ by name|].", "[Greet|Say hello to|Welcome] {quoted}[.|!|]", (("foreign", "string", "name who person {role}_name"),), "Hello {foreign}!", "{foreign} was greeted."),
    _Request("paint compose sing make_text", "[Makes|Writes|Paints] a [song|poem|picture|letter] in a [given |certain |] [manner|style|way][ of painting| of writing|].", "[Using|With] [the tool|it|your tool], [write|make|compose|paint] [a|some] {manner} [song|poem|picture|letter][.|!|]", (("manner", "string", "style manner song_style of_what way"),), "[la la la|done|ready]", "Here is the {manner} one: {result}."),
    _Request("decorate dress_up costume", "Dresses a [room|person|shop] up.", "[Dress|Make] {word} up as a {manner} {furnishing}[.|!|]", (("word", "string", "who what room"), ("manner", "string", "style theme look")), "[done|ok]", "{word} looks {manner} now."),
    _Request("find_person search_name contact", "Finds a [person|contact] by name.", "[Find|Look up|Search for|Show] {foreign}[.|]", (("foreign", "string", "name query person"),), "{code}", "{foreign} has the number {result}."),
    _Request("translate in_language", "Translates a text.", "[Translate|Put] \"{phrase}\" into {language}.", (("phrase", "string", "text phrase source"), ("language", "string", "language target to")), "{word}", "In {language} it is {result}."),
    _Request("search find_web look_for query", "[Searches|Looks] for [pages|information][ on a topic|].", "[Search for|Look for|Find something on] {topic}.", (("topic", "string", "query topic text q"),), "{small} pages", "I found {result} on {topic}."),
    _Request("set_light lamp switch", "Switches a light on or off.", "[Switch|Turn] the {word} light {state}.", (("word", "string", "room lamp name"), ("state", "'on' | 'off'", "state position")), "{state}", "The {word} light is {state}."),
    _Request("heating dial level volume", "Sets [a dial|the level] to a number.", "[Set|Turn] the {word} to {number}[ percent|].", (("word", "string", "name device what"), ("number", "integer", "value level to")), "{number}", "The {word} is at {number}."),
    _Request("is_prime prime check_prime", "Checks whether a number is prime.", "Is {number} a prime number?", (("number", "integer", "n number value"),), "[yes|no]", "The answer is {result}."),
    _Request("apply run", "Applies the {word} function to a number.", "[What does|How much is|Compute|Evaluate|Give me|Find] {word}({number})[ give|][?|.]", _INPUT, "{large}", "{word}({number}) [is|gives] {result}."),
    _Request("apply value", "[Applies|Computes] the {word} [rule|function] [of|to] a number.", "[What is|Tell me] the {word} of {number}?", _INPUT, "{large}", "The {word} of {number} is {result}."),
    _Request("=", "[Applies|Computes|Runs|Gives] [the|a|some] {adjective} [function|rule|spell|formula][ of a number| to a number|].", "[What does|How much is|Compute|Evaluate|Give me|Find|Run|Call] {tool}({number})[ give| return|][?|.][ Use the function.| Call it.| Use it.| Please call the tool.|]", _INPUT, "{large}", "{tool}({number}) [is|gives] {result}."),
    _Request("=", "[Computes|Runs|Gives] [the|a|some] {adjective} [function|rule|number|constant].", "[What does|How much is|Compute|Run|Call] {tool}()[ give| return|][?|.][ Use the function.| Call it.|]", (), "{large}", "{tool}() [is|gives] {result}."),
    _Request("=", "[Puts|Takes] two numbers together[ in a {adjective} way|].", "[What does|How much is|Compute|Run|Call] {tool}({number}, {count})[ give|][?|.]", (("number", "integer", "a x first left"), ("count", "integer", "b y second right")), "{large}", "{tool}({number}, {count}) [is|gives] {result}."),
)  # fmt: skip
_PHRASES = ("see you soon", "dinner is ready", "happy birthday", "call me back", "the meeting is moved", "good luck", "dentist", "lunch with the team",
            "thank you for the gift", "piano lesson", "I am late", "the train leaves early", "please buy milk", "yoga class", "where are you", "bring the keys", "pay the rent", "all is well")  # fmt: skip
_FURNISHINGS = ("house", "garden", "sailor", "cook", "knight", "farm", "robot")
_COINS = ["dollars", "euros", "pounds", "yen", "francs", "crowns", "pesos", "rupees"]
_KINDS = (
    "Danish",
    "Korean",
    "Polish",
    "Turkish",
    "Greek",
    "Indian",
    "small",
    "new",
    "local",
    "young",
    "French",
    "Thai",
    "Cuban",
)
_ROLES = ("member", "supplier", "client", "guest", "vendor", "partner", "firm", "person")
_TRADES = (
    "shipping firm",
    "bank",
    "choir",
    "doctor",
    "maker of {things}",
    "dealer in {things}",
    "school",
    "travel office",
    "chemical plant",
    "{word} company",
    "house of {things}",
)
_ADJECTIVES = ("secret", "strange", "hidden", "special", "wild", "curious", "golden", "silly")


# Names in foreign scripts are bytes to nano: it takes many to learn to copy them.
_FOREIGN_WEIGHT = 3
_WEIGHTS = tuple(_FOREIGN_WEIGHT if "{foreign}" in kind.reply else 1 for kind in _REQUESTS)


@dataclass(frozen=True)
class RequestWithCall:
    """A request in words, the call that it asks for, what the tool answers, and the sentence that reports it."""

    request: str
    call: InventedCall
    result: str
    reply: str


def _firm_or_person(rng: Random) -> str:
    name = invented_word(rng).capitalize()
    return rng.choice(
        (
            f"{rng.choice(PEOPLE)} {name}",
            f"{name} & {invented_word(rng).capitalize()}",
            f"{name} Ltd.",
            name,
            f"The {name} {rng.choice(SHOPS)}",
        )
    )


def _what_they_are(rng: Random) -> str:
    """A kind of person or firm in two to six words."""
    trade = rng.choice((*SHOPS, *_TRADES)).format(things=rng.choice(THINGS), word=invented_word(rng))
    kind = rng.choice(
        (rng.choice(_KINDS), invented_word(rng).capitalize(), invented_word(rng), rng.choice(_ADJECTIVES))
    )
    where = rng.choice(("", "", f" from {town(rng)}", f" in {town(rng)}"))
    return f"{kind} {trade}{where}"


def request_with_call(rng: Random) -> RequestWithCall:
    """A request that is no word problem, for a tool of some name."""
    kind = rng.choices(_REQUESTS, _WEIGHTS)[0]
    numbers = Numbers(rng)
    foreign = foreign_name(rng) if rng.random() < 0.5 else _firm_or_person(rng)
    left, right = rng.choice(('""', "''", "“”", "«»", "  "))
    values = {
        "city": town(rng), "city2": town(rng), "town": town(rng), "day": rng.choice(DAYS), "month": rng.choice(MONTHS), "date": date(rng), "code": code(rng), "address": address(rng),
        "person": rng.choice(PEOPLE), "phrase": rng.choice(_PHRASES), "time": f"{rng.randint(0, 23)}:{rng.randint(0, 59):02d}", "foreign": foreign, "quoted": f"{left}{foreign}{right}".strip(),
        "about": _what_they_are(rng), "word2": invented_word(rng), "role": rng.choice(_ROLES), "language": rng.choice(("Latin", "Danish", "Thai", "Greek", "Korean")),
        "topic": f"{rng.choice(('old', 'blue', 'the best', 'cheap', 'how to make', 'the history of'))} {rng.choice(THINGS)}", "adjective": rng.choice(_ADJECTIVES),
        "count": numbers.between(2, 20), "things": rng.choice(THINGS), "amount": numbers.number(1, 4), "number": numbers.integer(1, 4), "word": invented_word(rng), "state": rng.choice(("on", "off")),
        "small": numbers.between(2, 99), "large": numbers.number(1, 5, 0.2),
    }  # fmt: skip
    values["manner"] = rng.choice(
        (invented_word(rng).capitalize(), invented_word(rng), rng.choice(_KINDS), rng.choice(_ADJECTIVES))
    )
    values["furnishing"] = rng.choice(_FURNISHINGS)
    values["article"] = "an" if values["about"][0] in "AEIOUaeiou" else "a"
    values["coin"], values["coin2"] = rng.sample(_COINS, 2)
    values["tool"] = tool_name = invented_name(rng, "" if kind.stems == "=" else rng.choice(kind.stems.split()))
    parameters: list[tuple[str, str, bool]] = []
    arguments: list[tuple[str, str]] = []
    for value, shown, names in kind.parameters:
        # Now and then a name that says nothing: what it takes is in the request, whatever it is called.
        parameter = rng.choice(names.split()).format(**values) if rng.random() < 0.85 else invented_word(rng)
        while any(parameter == name for name, _, _ in parameters):
            parameter += "_2"
        parameters.append((parameter, shown, False))
        text = values[value]
        arguments.append((parameter, text if shown in ("integer", "number") else minified(text)))
    if rng.random() < 0.3:
        order = rng.sample(range(len(parameters)), len(parameters))
        parameters, arguments = [parameters[i] for i in order], [arguments[i] for i in order]
    description = choose_alternatives(kind.description, rng).format(**values)
    bare = choose_alternatives(kind.result, rng).format(**values)
    ask, reply = (choose_alternatives(text, rng).format(**values, result=bare) for text in (kind.ask, kind.reply))
    tool = InventedTool(tool_name, tuple(parameters), description)
    return RequestWithCall(ask, InventedCall(tool, tuple(arguments)), bare, reply)


def as_tools_say_it(rng: Random, result: str) -> str:
    """A result as tools give it: bare, as JSON, or in a sentence."""
    number = result.replace(".", "", 1).isdigit()
    key = rng.choice(("result", "value", "answer", "output", "status"))
    draw = rng.random()
    if draw < 0.7:
        return result
    if draw < 0.85:
        return f'{{"{key}": {result if number else minified(result)}}}'
    return rng.choice(("It is {}.", "Now: {}.", "Result: {}", "OK: {}")).format(result)


def object_request(rng: Random) -> tuple[str, InventedCall]:
    """A request to be answered with an object, and that as a call of what its schema's card shows."""
    answer = structured_answer(rng)
    tool = InventedTool(answer.name, answer.fields, answer.description)
    return answer.request, InventedCall(tool, tuple((name, minified(value)) for name, value in answer.values.items()))


def some_other_tools(rng: Random, count: int, taken: Sequence[str]) -> list[InventedTool]:
    """Tools that the document's request does not need, under other names."""
    others: list[InventedTool] = []
    while len(others) < count:
        if rng.random() < 0.5:
            operation = rng.choice(OPERATIONS)
            operands = ("12",) if operation in ("sqrt", "log", "ln") else ("12", "34")
            tool = tool_for_step(rng, Step(operation, operands, "0")).tool
        else:
            tool = request_with_call(rng).call.tool
        if tool.name not in taken and all(tool.name != other.name for other in others):
            others.append(tool)
    return others
