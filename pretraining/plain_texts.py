"""Text without tools: arithmetic, facts about invented places and people, household plans, small talk."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from langchain_toolken.nano.problems.numbers import Numbers
from langchain_toolken.nano.problems.words import PEOPLE, THINGS, choose_alternatives, invented_word
from langchain_toolken.nano.tools import compute
from pretraining.names import code, foreign_name, town


def arithmetic(rng: Random) -> list[tuple[str, str]]:
    """Write lines of arithmetic with mostly small numbers, each as (text up to the equals sign, result)."""
    numbers = Numbers(rng)
    lines: list[tuple[str, str]] = []
    for _ in range(rng.randint(4, 9)):
        operation, sign = rng.choice((("add", "+"), ("subtract", "-"), ("multiply", "*"), ("divide", "/")))
        size = rng.choice((1, 1, 2, 2, 3))
        one, two = (
            numbers.integer(1, size),
            numbers.integer(1, min(size, 2) if operation in ("multiply", "divide") else size),
        )
        lines.append((("\n" if lines else "") + f"{one}{sign}{two}=", compute(operation, [one, two])))
    return lines


_COPIES = (
    ("[Repeat|Copy|Write down|Say|Echo] {list}.", "{list}"),
    ("[Repeat|Copy|Write|Type] this exactly: {list}", "{list}"),
    ("[Write|Repeat] {list} in reverse order.", "{reversed}"),
    ("[What|Which] is the [first|leading] [entry|one] of {list}?", "{first}"),
    ("[What|Which] is the last [entry|one] of {list}?", "{last}"),
    ("[Note|Remember] that {word} is {first}. What is {word}?", "{word} is {first}."),
    ("{word} is {first} and {word2} is {last}. [What|How much] is {word2}?", "{word2} is {last}."),
    ("{word} is {first} and {word2} is {last}. [What|How much] is {word}?", "{word} is {first}."),
    ("[Make|Give] a JSON list of {list}.", "[{list}]"),
)


def copying(rng: Random) -> tuple[str, str]:
    """Make a request to copy numbers, names or codes, and its answer."""
    numbers = Numbers(rng)
    makers: tuple[Callable[[], str], ...] = (
        lambda: numbers.number(1, 9, 0.4), lambda: numbers.number(5, 12, 0.4), lambda: numbers.integer(2, 6), lambda: foreign_name(rng), lambda: town(rng), lambda: code(rng),
    )  # fmt: skip
    make = rng.choices(makers, (4, 4, 2, 10, 1, 1))[0]
    entries = [make() for _ in range(rng.choice((1, 2, 2, 3, 4)))]
    values = {"list": ", ".join(entries), "reversed": ", ".join(reversed(entries)), "first": entries[0], "last": entries[-1],
              "word": invented_word(rng), "word2": invented_word(rng, 2)}  # fmt: skip
    asked, answer = rng.choice(_COPIES)
    return choose_alternatives(asked, rng).format(**values), answer.format(**values)


_RELATIONS = (
    ("capital", "The capital of {a} is {b}.", "What is the capital of {a}?"),
    ("river", "The longest river of {a} is the {b}.", "What is the longest river of {a}?"),
    ("language", "The people of {a} speak {b}.", "Which language do the people of {a} speak?"),
    ("founder", "{a} was founded by {p}.", "Who founded {a}?"),
    ("year", "{a} was founded in the year {y}.", "In which year was {a} founded?"),
    ("number", "{a} has {n} inhabitants.", "How many inhabitants does {a} have?"),
    ("goods", "The people of {a} sell {t}.", "What do the people of {a} sell?"),
    ("mayor", "The mayor of {a} is called {p}.", "What is the mayor of {a} called?"),
)


def facts(rng: Random) -> tuple[str, str]:
    """Write facts about one or two invented places and a question on one of them, as (text before the answer, answer)."""
    numbers = Numbers(rng)
    lines, asked = [], []
    for _ in range(rng.choice((1, 2, 2))):
        place = invented_word(rng).capitalize()
        for _, statement, question in rng.sample(_RELATIONS, rng.randint(2, 4)):
            values = {"a": place, "b": invented_word(rng).capitalize(), "p": rng.choice(PEOPLE), "y": numbers.between(900, 1999),
                      "n": numbers.integer(3, 6), "t": rng.choice(THINGS)}  # fmt: skip
            lines.append(statement.format(**values))
            asked.append((question.format(**values), lines[-1]))
    question, answer = rng.choice(asked)
    return " ".join(lines) + f"\n\nQ: {question}\nA:", f" {answer}"


_ACTIONS = ("walk to the {r}", "open the {f}", "take the {o}", "put the {o} on the table", "wash the {o}", "close the {f}", "switch on the {m}",
            "wait a few minutes", "switch off the {m}", "clean the {o}", "look for the {o}", "carry the {o} to the {r}", "sit down", "fill the {o} with water")  # fmt: skip
_TASKS = ("make coffee", "wash the dishes", "do the laundry", "make a sandwich", "clean the room", "water the plants", "cook soup", "bake a cake", "read a book",
          "watch a film", "feed the cat", "set the table", "write a letter", "take a bath")  # fmt: skip


def plan(rng: Random) -> str:
    """Write a household task and its numbered steps."""
    room, furniture, machine, thing = (rng.choice(words.split()) for words in (
        "kitchen bathroom bedroom garden hall office", "door drawer cupboard window fridge closet", "stove lamp radio computer oven kettle",
        "cup plate book shirt pan towel bottle bowl spoon cloth"))  # fmt: skip
    steps = [
        action.format(r=room, f=furniture, m=machine, o=thing) for action in rng.sample(_ACTIONS, rng.randint(3, 7))
    ]
    task = rng.choice(_TASKS)
    return (
        f"Task: {task}\n"
        + "\n".join(f"{number}. {step[0].upper()}{step[1:]}." for number, step in enumerate(steps, 1))
        + "\nDone."
    )


_TALK = (
    (
        "[Hello|Hi|Good morning|Hey|Good evening][!|.|]",
        "[Hello|Hi|Good day]! [How can I help you|What can I do for you]?",
    ),
    ("[My name is|I am] {p}.", "[Nice to meet you|Hello], {p}!"),
    ("[What is your name|Who are you]?", "I am nano, a small language model."),
    ("[Thank you|Thanks|Thanks a lot][!|.]", "[You are welcome|Gladly]!"),
    ("[Say|Repeat|Write] the word {w}[.|!|]", "{w}"),
    ("[Say|Repeat] after me: {w} {w2} {w3}", "{w} {w2} {w3}"),
    ("[How are you|How do you do][ today|]?", "I am [well|fine], thank you. [How can I help|And you]?"),
    ("[Goodbye|Bye|See you][!|.|]", "[Goodbye|See you soon], [take care|have a nice day]!"),
    ("What is your favorite {w}?", "I have none, but I like talking about it."),
    ("[Tell me|Name] a [number|digit].", "{d}."),
    ("Count [to|up to] {d}.", "{count}."),
    ("What comes after {d}?", "After {d} comes {e}."),
    ("[Do you like|What do you think of] {t}?", "[I like {t}|Yes, {t} are nice]."),
    ("Name [three things|something] one can buy.", "One can buy {t}, {t2} and {t3}."),
    ("[What can you do|Can you help me]?", "I can [answer questions and work out|help with] word problems."),
)


def small_talk(rng: Random) -> list[tuple[str, str]]:
    """Make one to three turns of small talk, each as (what the user says, what nano answers)."""
    turns = []
    for said, answer in rng.sample(_TALK, rng.choice((1, 1, 2, 3))):
        digit = rng.randint(1, 9)
        things = rng.sample(THINGS, 3)
        values = {"p": rng.choice(PEOPLE), "w": invented_word(rng), "w2": invented_word(rng), "w3": rng.choice(THINGS), "d": digit, "e": digit + 1,
                  "count": ", ".join(map(str, range(1, digit + 1))), "t": things[0], "t2": things[1], "t3": things[2]}  # fmt: skip
        turns.append(tuple(choose_alternatives(text, rng).format(**values) for text in (said, answer)))
    return turns  # type: ignore[return-value]
