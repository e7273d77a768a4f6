"""Made-up look-up tools, up to 1,000, with demonstrations and questions such as "How long is the river Lona?".

Demonstrations and questions are worded differently, and no question needs any data but this file.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import product
from random import Random

from langchain_toolken.evaluation.questions import ExpectedCall
from langchain_toolken.evaluation.task_loaders import QUESTION, grade_number
from langchain_toolken.evaluation.tasks import Task, TaskQuestion
from langchain_toolken.evaluation.worlds.knowledge import Fact, KnowledgeWorld, LookUp
from langchain_toolken.tools.spec import tool_specs
from langchain_toolken.training.demonstrations.demonstration import DemonstratedCall, Demonstration

_FOUND = ["river", "mountain", "lake", "island", "planet", "tree", "bird", "city", "road", "singer", "scientist"]
_MADE = ["bridge", "museum", "castle", "airport", "hotel", "film", "novel", "song", "painting", "newspaper", "ship"]
KINDS = [*_FOUND, *_MADE, "club", "company", "university"]

# The tools that the questions are about.
FIRST = [("river", "length"), ("museum", "visitors"), ("mountain", "height"), ("club", "members")]

# A property, two wordings for demonstrations, and one for questions; X is the thing.
PROPERTIES = [
    line.split(" | ")
    for line in """age | How old is X? | What is the age of X? | For how many years has X existed?
length | How long is X? | What is the length of X? | How many metres is X from end to end?
height | How high is X? | What is the height of X? | How tall is X?
width | How wide is X? | What is the width of X? | What does X measure across?
depth | How deep is X? | What is the depth of X? | How far down does X go?
weight | How heavy is X? | What is the weight of X? | How many tonnes does X weigh?
price | How much does X cost? | What is the price of X? | What do I pay for X?
rating | How good is X rated? | What is the rating of X? | How many points do people give X?
visitors | How many visitors has X? | What is the number of visitors of X? | How many people go to see X each day?
workers | How many workers has X? | What is the number of workers of X? | How many people work for X?
fans | How many fans has X? | What is the number of fans of X? | How many people love X?
prizes | How many prizes has X won? | What is the number of prizes of X? | How many awards were given to X?
speed | How fast is X? | What is the speed of X? | How quickly does X move?
temperature | How warm is X? | What is the temperature of X? | How many degrees has X?
area | How large is X? | What is the area of X? | How many square metres does X cover?
postcode | What is the postcode of X? | Which postcode has X? | What do I write on a letter to X?
opening_year | When was X opened? | What is the opening year of X? | Since which year can people use X?
closing_year | When was X closed? | What is the closing year of X? | In which year did X end?
budget | What is the budget of X? | How big is the budget of X? | How much money was planned for X?
income | What is the income of X? | How big is the income of X? | How much does X earn?
debt | What is the debt of X? | How big is the debt of X? | How much does X owe?
photos | How many photos are there of X? | What is the number of photos of X? | How many pictures were taken of X?
distance | How far away is X? | What is the distance to X? | How many kilometres do I travel to X?
rank | What is the rank of X? | Which rank has X? | Which place does X take among its kind?
rooms | How many rooms has X? | What is the number of rooms of X? | In how many rooms can one be at X?
copies | How many copies are there of X? | What is the number of copies of X? | How often was X copied?
languages | In how many languages is X known? | What is the number of languages of X? | How many tongues name X?
noise | How loud is X? | What is the noise level of X? | How many decibels does X reach?
entrance_fee | What is the entrance fee of X? | How high is the entrance fee of X? | What is a ticket for X?
page | On which page is X? | What is the page of X? | Where in the book do I read about X?
phone_number | What is the phone number of X? | Which phone number has X? | Whom do I ring about X?
members | How many members has X? | What is the number of members of X? | How many have joined X?
accidents | How many accidents had X? | What is the number of accidents of X? | How often did things go wrong with X?
neighbours | How many neighbours has X? | What is the number of neighbours of X? | How many are next to X?
owners | How many owners had X? | What is the number of owners of X? | How many people has X belonged to?
repairs | How many repairs had X? | What is the number of repairs of X? | How often was X fixed?
lamps | How many lamps has X? | What is the number of lamps of X? | How many lights shine on X?
steps | How many steps has X? | What is the number of steps of X? | How many stairs lead to X?
insurance | What is the insurance sum of X? | How high is the insurance of X? | For how much is X insured?
rent | What is the rent of X? | How high is the rent of X? | What is paid each month to live at X?""".splitlines()
]


@dataclass(frozen=True)
class _Asked:
    """Something to look up: the tool, the thing, how it is asked for, and what the answer is."""

    tool: str
    thing: str
    question: str
    answer: str


def look_up_task(tools: int, questions: int = 20, demonstrations: int = 2, about: int = 4) -> Task:
    """Make a task of this many tools.

    Args:
        tools: How many tools there are, at most 1,000. Smaller tasks have the first tools of larger ones.
        questions: How many questions there are, the same ones in all sizes.
        demonstrations: How many demonstrations each tool has.
        about: How many tools, the first ones, the questions ask for.
    """
    others = [(kind, words) for kind, words in product(KINDS, PROPERTIES) if (kind, words[0]) not in FIRST]
    Random(0).shuffle(others)
    first = [(kind, words) for kind, name in FIRST for words in PROPERTIES if words[0] == name]
    chosen = (first + others)[:tools]
    shown = [_asked(*tool, 1 + n % 2, f"shown {n}") for tool in chosen for n in range(demonstrations)]
    asked = [_asked(*chosen[n % about], 3, f"asked {n}") for n in range(questions)]
    world = KnowledgeWorld(
        [
            LookUp(f"{kind}_{words[0]}", f"Look up the {words[0].replace('_', ' ')} of a {kind}.")
            for kind, words in chosen
        ],
        [Fact(one.tool, one.thing, (one.answer,)) for one in (*shown, *asked)],
    )
    specs = {spec.name: spec for spec in tool_specs(world.tools())}
    return Task(
        name=f"look_ups_{tools}",
        kind="number",
        tools=tuple(world.tools()),
        demonstrations=tuple(map(_demonstration, shown)),
        questions=tuple(
            TaskQuestion(str(n), one.question, (one.answer,), (ExpectedCall(one.tool, (one.thing,)),))
            for n, one in enumerate(asked)
        ),
        layout=QUESTION,
        grader=partial(grade_number, tools=specs, tolerance="0"),
    )


def _asked(kind: str, words: list[str], wording: int, seed: str) -> _Asked:
    rng = Random(f"{kind} {words[0]} {seed}")
    thing = "".join(rng.choice(["lo", "na", "ri", "ve", "ka", "mu", "ti", "sor"]) for _ in range(3)).capitalize()
    question = words[wording].replace("X", f"the {kind} {thing}")
    return _Asked(f"{kind}_{words[0]}", thing, question, str(rng.randrange(100, 10_000)))


def _demonstration(one: _Asked) -> Demonstration:
    before = f"Q: {one.question}\nA: It is "
    call = DemonstratedCall(start=len(before), tool=one.tool, args={"name": one.thing}, result=one.answer)
    return Demonstration(text=f"{before}{one.answer}.", calls=(call,))
