"""Twelve everyday tools. They do nothing outside this process, and the same call always has the same result."""

from __future__ import annotations

from typing import Literal
from zlib import crc32

from langchain_core.tools import tool

Currency = Literal["USD", "EUR", "GBP", "JPY", "CHF", "SEK", "INR", "CAD"]

_IN_DOLLARS = {"USD": 1.0, "EUR": 1.1, "GBP": 1.3, "JPY": 0.0068, "CHF": 1.15, "SEK": 0.096, "INR": 0.012, "CAD": 0.73}
_SKIES = ("sunny", "cloudy", "light rain", "heavy rain", "windy", "foggy", "clear")


def _picked(text: str, count: int) -> int:
    return crc32(text.casefold().encode()) % count


@tool(parse_docstring=True)
def weather(city: str, day: str | None = None) -> str:
    """Get the weather forecast for a city.

    Args:
        city: The city.
        day: The day, such as tomorrow or Sunday. Leave it out for now.
    """
    place = f"{city} {day or 'today'}"
    return f"{city}, {day or 'today'}: {_picked(place, 34) - 3} °C, {_SKIES[_picked(place[::-1], len(_SKIES))]}"


@tool(parse_docstring=True)
def set_timer(minutes: int, label: str | None = None) -> str:
    """Start a timer that rings after a number of minutes.

    Args:
        minutes: The number of minutes.
        label: What the timer is for, if that was said.
    """
    return f"Timer{f' for {label}' if label else ''} started: {minutes} minutes."


@tool(parse_docstring=True)
def send_message(to: str, text: str) -> str:
    """Send a text message to a contact.

    Args:
        to: The name of the contact.
        text: What the message says.
    """
    return f"Sent to {to}: {text}"


@tool(parse_docstring=True)
def convert_currency(amount: float, source: Currency, target: Currency) -> str:
    """Convert an amount of money from one currency to another at today's rate.

    Args:
        amount: How much money.
        source: The currency to convert from.
        target: The currency to convert to.
    """
    return f"{amount * _IN_DOLLARS[source] / _IN_DOLLARS[target]:.2f} {target}"


@tool(parse_docstring=True)
def play_music(what: str, shuffle: bool = False) -> str:
    """Play a song, an album, an artist or a kind of music.

    Args:
        what: What to play.
        shuffle: Whether to play in random order.
    """
    return f"Playing {what}{', shuffled' if shuffle else ''}."


@tool(parse_docstring=True)
def add_calendar_event(title: str, date: str, time: str | None = None) -> str:
    """Put an appointment into the calendar.

    Args:
        title: What the appointment is.
        date: The day, such as tomorrow or May 3.
        time: The time of day, such as 9:30 or 3 pm. Leave it out if there is none.
    """
    return f"Added: {title}, {date}{f', {time}' if time else ''}."


@tool(parse_docstring=True)
def translate(text: str, language: str) -> str:
    """Translate a text into another language.

    Args:
        text: The text to translate.
        language: The language to translate it into.
    """
    return f"{text} ({language})"


@tool(parse_docstring=True)
def search_flights(origin: str, destination: str, date: str) -> str:
    """Search for flights between two cities.

    Args:
        origin: The city that the flight leaves from.
        destination: The city that it goes to.
        date: The day of the flight.
    """
    price = 60 + _picked(f"{origin} {destination} {date}", 500)
    return f"{_picked(destination, 7) + 2} flights from {origin} to {destination} on {date}, from {price} euros."


@tool(parse_docstring=True)
def percentage(percent: float, amount: float) -> str:
    """Calculate a percentage of an amount: tips, taxes, discounts, shares.

    Args:
        percent: The percentage.
        amount: The amount that it is taken of.
    """
    return f"{percent * amount / 100:.2f}".removesuffix(".00")


@tool(parse_docstring=True)
def set_thermostat(degrees: float, room: str | None = None) -> str:
    """Set the temperature of the heating.

    Args:
        degrees: The temperature in degrees Celsius.
        room: The room. Leave it out for the whole house.
    """
    return f"Heating set to {degrees:g} °C{f' in the {room}' if room else ''}."


@tool(parse_docstring=True)
def add_to_shopping_list(items: list[str]) -> str:
    """Put things on the shopping list.

    Args:
        items: The things to buy.
    """
    return f"On the list: {', '.join(items)}."


@tool(parse_docstring=True)
def switch_lights(room: str, on: bool) -> str:
    """Switch the lights in a room on or off.

    Args:
        room: The room.
        on: Whether the lights should be on.
    """
    return f"Lights in the {room} are {'on' if on else 'off'}."


TOOLS = [
    *(weather, set_timer, send_message, convert_currency, play_music, add_calendar_event),
    *(translate, search_flights, percentage, set_thermostat, add_to_shopping_list, switch_lights),
]
