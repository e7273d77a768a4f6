"""An MCP server of 20 everyday tools, made with the official `mcp` package. Its data is made up and kept in memory.

python integrations/mcp/server.py        # over stdio, as servers.json starts it
python integrations/mcp/server.py 8123   # over streamable HTTP at http://127.0.0.1:8123/mcp
"""

from __future__ import annotations

import sys

from mcp.server import MCPServer
from mcp.types import ToolAnnotations

server = MCPServer("office")
READS = ToolAnnotations(read_only_hint=True)
ADDS = ToolAnnotations(destructive_hint=False)
DESTROYS = ToolAnnotations(destructive_hint=True)

events: dict[str, str] = {"dentist": "Monday 9:00", "team lunch": "Friday 12:30"}
tasks: list[str] = ["water the plants"]
files: dict[str, str] = {"budget.txt": "Rent 900, food 400.", "notes.txt": "Ask Mia about the keys."}
contacts: dict[str, str] = {"Mia": "555-0101", "Omar": "555-0199"}


@server.tool(annotations=ADDS)
def create_event(title: str, day: str, time: str) -> str:
    """Put an event into the calendar."""
    events[title] = f"{day} {time}"
    return f"{title} is on {day} at {time}."


@server.tool(annotations=READS)
def list_events(day: str) -> str:
    """List the events of a day from the calendar."""
    found = [f"{title} ({when})" for title, when in events.items() if day.lower() in when.lower()]
    return ", ".join(found) or f"Nothing on {day}."


@server.tool(annotations=DESTROYS)
def cancel_event(title: str) -> str:
    """Cancel an event of the calendar."""
    return f"{title} is cancelled." if events.pop(title, None) else f"There is no event {title}."


@server.tool(annotations=ADDS)
def send_email(to: str, text: str) -> str:
    """Send an email to a person."""
    return f"Sent to {to}."


@server.tool(annotations=READS)
def search_emails(words: str) -> str:
    """Search the inbox for emails about something."""
    return f"One email about {words}, from Mia."


@server.tool(annotations=ADDS)
def add_task(task: str) -> str:
    """Add a task to the to-do list."""
    tasks.append(task)
    return f"{task} is on the list."


@server.tool(annotations=DESTROYS)
def finish_task(task: str) -> str:
    """Mark a task of the to-do list as done."""
    if task not in tasks:
        return f"There is no task {task}."
    tasks.remove(task)
    return f"{task} is done."


@server.tool(annotations=ADDS)
def set_timer(minutes: int) -> str:
    """Start a timer that rings after some minutes."""
    return f"The timer rings in {minutes} minutes."


@server.tool(annotations=READS)
def get_weather(city: str) -> str:
    """Get the weather forecast for a city."""
    return f"{city}: 18 degrees, light rain."


@server.tool(annotations=READS)
def convert_currency(amount: float, source: str, target: str) -> str:
    """Convert an amount of money from one currency to another."""
    return f"{amount:g} {source} are {amount * 1.1:.2f} {target}."


@server.tool(annotations=READS)
def translate(text: str, language: str) -> str:
    """Translate a text into another language."""
    return f"{text} in {language}: (translated)."


@server.tool(annotations=READS)
def find_file(words: str) -> str:
    """Find files by the words in their names."""
    return ", ".join(name for name in files if words.lower() in name.lower()) or f"No file named {words}."


@server.tool(annotations=READS)
def read_file(name: str) -> str:
    """Open a file and return what is in it."""
    return files.get(name, f"There is no file {name}.")


@server.tool(annotations=DESTROYS)
def delete_file(name: str) -> str:
    """Delete a file for good."""
    return f"{name} is deleted." if files.pop(name, None) else f"There is no file {name}."


@server.tool(annotations=ADDS)
def add_contact(name: str, phone: str) -> str:
    """Save a person's phone number in the address book."""
    contacts[name] = phone
    return f"{name} is in the address book."


@server.tool(annotations=READS)
def find_contact(name: str) -> str:
    """Look up a person's phone number in the address book."""
    return f"{name}: {contacts.get(name, 'not in the address book')}."


@server.tool(annotations=READS)
def get_stock_price(company: str) -> str:
    """Get the price of a company's shares."""
    return f"{company}: 142.50 dollars."


@server.tool(annotations=READS)
def track_parcel(number: str) -> str:
    """Say where a parcel is, by its tracking number."""
    return f"Parcel {number} arrives tomorrow."


@server.tool(annotations=READS)
def search_flights(origin: str, destination: str, day: str) -> str:
    """Search for flights between two cities on a day."""
    return f"{origin} to {destination}, {day}: 9:40, 189 euros."


@server.tool(annotations=ADDS)
def play_music(title: str) -> str:
    """Play a song, an album or an artist."""
    return f"Playing {title}."


if __name__ == "__main__":
    if len(sys.argv) > 1:
        server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
    else:
        server.run("stdio")
