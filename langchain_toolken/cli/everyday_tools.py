"""Six everyday tools, with examples to learn from, for `toolken demo --model MODEL` on a real LM.

The tools do nothing: they return what a real one would say. The demonstrations are the examples in their docstrings,
the chats `TOLD`, in which a call's result is told, and the chats `PLAIN`, which need no tool.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool


@dataclass(frozen=True)
class EverydayRequest:
    """What the demo asks, and what would be right.

    Attributes:
        text: The request.
        tool: The tool to call; None if words are the right answer.
        arguments: Its arguments, in the order of its signature.
    """

    text: str
    tool: str | None = None
    arguments: tuple[str | float, ...] = ()


@tool
def get_weather(city: str, day: str) -> str:
    """Look up the weather forecast for a city.

    Examples:
        Will it rain in Lisbon on Friday? -> get_weather("Lisbon", "Friday") = Lisbon, Friday: 19 °C, dry
        What will the weather in Graz be like on Sunday? -> get_weather("Graz", "Sunday") = Graz, Sunday: 8 °C, fog
        Is it going to be cold in Oslo tomorrow? -> get_weather("Oslo", "tomorrow") = Oslo, tomorrow: -4 °C, snow
        How hot does it get in Cairo on Monday? -> get_weather("Cairo", "Monday") = Cairo, Monday: 36 °C, clear
        Tell me Tuesday's forecast for Dublin. -> get_weather("Dublin", "Tuesday") = Dublin, Tuesday: 11 °C, showers
    """
    return f"{city}, {day}: 17 °C, sunny spells"


@tool
def start_timer(minutes: int) -> str:
    """Start a countdown timer.

    Examples:
        Start a timer for 12 minutes. -> start_timer(12) = running for 12 minutes
        The eggs need 7 minutes, tell me when they are done. -> start_timer(7) = running for 7 minutes
        Wake me up in 25 minutes. -> start_timer(25) = running for 25 minutes
        Count down 3 minutes for my tea, please. -> start_timer(3) = running for 3 minutes
        Give me 50 minutes on the clock. -> start_timer(50) = running for 50 minutes
    """
    return f"running for {minutes} minutes"


@tool
def send_text(to: str, message: str) -> str:
    """Send a text message to somebody.

    Examples:
        Text Paula that dinner is ready. -> send_text("Paula", "dinner is ready") = sent to Paula
        Let Omar know that the train is full. -> send_text("Omar", "the train is full") = sent to Omar
        Send Mum a message: I have arrived. -> send_text("Mum", "I have arrived") = sent to Mum
        Write to Kenji that we won the match. -> send_text("Kenji", "we won the match") = sent to Kenji
        Tell Ines the keys are under the mat. -> send_text("Ines", "the keys are under the mat") = sent to Ines
    """
    return f"sent to {to}"


@tool
def convert_money(amount: float, source: str, target: str) -> str:
    """Convert an amount of money from one currency to another.

    Examples:
        How many pounds are 80 euros? -> convert_money(80, "euros", "pounds") = 68.00 pounds
        Change 1500 yen into dollars. -> convert_money(1500, "yen", "dollars") = 9.90 dollars
        What are 30 francs worth in euros? -> convert_money(30, "francs", "euros") = 32.10 euros
        I have 200 dollars, what is that in rupees? -> convert_money(200, "dollars", "rupees") = 17600.00 rupees
        Convert 45 pounds to francs. -> convert_money(45, "pounds", "francs") = 49.50 francs
    """
    return f"{amount * 1.1:.2f} {target}"


@tool
def play_music(artist: str) -> str:
    """Play music by an artist.

    Examples:
        Play something by Nina Simone. -> play_music("Nina Simone") = playing Nina Simone
        I want to hear Queen. -> play_music("Queen") = playing Queen
        Put on some Bach, please. -> play_music("Bach") = playing Bach
        Could you play a song of Adele? -> play_music("Adele") = playing Adele
        Music by Miles Davis would be nice now. -> play_music("Miles Davis") = playing Miles Davis
    """
    return f"playing {artist}"


@tool
def add_to_list(item: str) -> str:
    """Put an item on the shopping list.

    Examples:
        Put oat milk on the shopping list. -> add_to_list("oat milk") = oat milk is on the list
        We are out of candles, add them to the list. -> add_to_list("candles") = candles is on the list
        Remember to buy washing powder. -> add_to_list("washing powder") = washing powder is on the list
        I need to get tomatoes at the shop. -> add_to_list("tomatoes") = tomatoes is on the list
        Add a loaf of bread to my groceries. -> add_to_list("a loaf of bread") = a loaf of bread is on the list
    """
    return f"{item} is on the list"


_PLAIN = (
    ("Hello there!", "Hello! What can I do for you?"),
    ("Thanks, that was kind of you.", "You're welcome!"),
    ("Who are you?", "I am a small language model that runs on your own computer."),
    ("Why is the sky blue?", "Air scatters blue light more than red light, so blue reaches us from everywhere."),
    ("Tell me a joke.", "Why did the bicycle fall over? It was two-tired."),
    ("What is the capital of Peru?", "The capital of Peru is Lima."),
    ("How do bees make honey?", "They collect nectar, pass it on from mouth to mouth, and let the water evaporate."),
    ("Give me a synonym for happy.", "A synonym for happy is cheerful."),
    ("What does a composer do?", "A composer writes music."),
    ("Explain what inflation means.", "Inflation means that prices rise, so money buys less."),
    ("How long do cats live?", "Cats usually live for 12 to 18 years."),
    ("Is a tomato a fruit?", "Yes: botanically a tomato is a fruit."),
)

_TOLD = (
    (
        "Do I need an umbrella in Bergen on Wednesday?",
        ("get_weather", {"city": "Bergen", "day": "Wednesday"}, "Bergen, Wednesday: 9 °C, rain"),
        "Yes, it will rain in Bergen on Wednesday.",
    ),
    (
        "Let the rice cook for 18 minutes.",
        ("start_timer", {"minutes": 18}, "running for 18 minutes"),
        "The timer is running for 18 minutes.",
    ),
    (
        "Text Amir that I will be late.",
        ("send_text", {"to": "Amir", "message": "I will be late"}, "sent to Amir"),
        "I have told Amir that you will be late.",
    ),
    (
        "What do 20 dollars make in pounds?",
        ("convert_money", {"amount": 20, "source": "dollars", "target": "pounds"}, "15.80 pounds"),
        "20 dollars are 15.80 pounds.",
    ),
    (
        "Let's listen to Bob Marley.",
        ("play_music", {"artist": "Bob Marley"}, "playing Bob Marley"),
        "Here is Bob Marley.",
    ),
    (
        "Put batteries on the list.",
        ("add_to_list", {"item": "batteries"}, "batteries is on the list"),
        "Batteries are on your list.",
    ),
)


def _told(request: str, call: tuple[str, dict[str, Any], str], answer: str) -> list[BaseMessage]:
    name, arguments, result = call
    asked = AIMessage("", tool_calls=[{"name": name, "args": arguments, "id": "1"}])
    return [HumanMessage(request), asked, ToolMessage(result, tool_call_id="1"), AIMessage(answer)]


PLAIN = [[HumanMessage(asked), AIMessage(answer)] for asked, answer in _PLAIN]
"""Chats in which no tool is called."""

TOLD = [_told(*chat) for chat in _TOLD]
"""Chats with a call, after whose result the user is told what came of it."""

REQUESTS = (
    EverydayRequest("What's the weather going to be in Zagreb on Thursday?", "get_weather", ("Zagreb", "Thursday")),
    EverydayRequest("The pasta takes 9 minutes, start the timer.", "start_timer", (9,)),
    EverydayRequest("What colour do you get from blue and yellow?"),
    EverydayRequest("How much are 65 euros in yen?", "convert_money", (65, "euros", "yen")),
    EverydayRequest("Please play Johnny Cash.", "play_music", ("Johnny Cash",)),
    EverydayRequest("Good morning! How are you?"),
    EverydayRequest("Tell Sofia that the meeting is at noon.", "send_text", ("Sofia", "the meeting is at noon")),
    EverydayRequest("We need more dish soap, put it on the list.", "add_to_list", ("dish soap",)),
)
"""What the demo asks; none of them is among the examples."""
