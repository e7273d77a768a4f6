"""Templates of word problems that take two or three operations.

As in :mod:`one_step`, but a step in the answer names its operation and operands: ``{multiply:x,y}`` becomes ``12*34=408``;
``#1`` is the result of the first step.
"""

from __future__ import annotations

from langchain_toolken.nano.corpus.one_step import Template, _templates

MULTI_STEP: tuple[Template, ...] = _templates("""
    {n} buys {x} {ts} for {y} dollars each and pays with {big} dollars. How much [change|money] does {n} get back?
    The {ts} cost {multiply:x,y} dollars. {n} gets back {subtract:big,#1} dollars.
    A {shop} sells {x} {ts} at {y} dollars each and {z} {us} at {w} dollars each. How much money does it [make|take in] in total?
    The {ts} bring in {multiply:x,y} dollars. The {us} bring in {multiply:z,w} dollars. The total is {add:#1,#2} dollars.
    {n} has {x} {cs} with {y} {ts} each and [finds|buys|gets] {z} more {ts}. How many {ts} does {n} have in total?
    The {cs} hold {multiply:x,y} {ts}. {n} has {add:#1,z} {ts} in total.
    {n} has {x} {cs} with {y} {ts} each and gives away {k} {ts}. How many {ts} does {n} have left?
    The {cs} hold {multiply:x,y} {ts}. {n} has {subtract:#1,k} {ts} left.
    {n} picked {x} {ts} and {m} picked {y}. They [share|split] them equally among {k} {members}. How many {ts} does each get?
    Together they picked {add:x,y} {ts}. Each gets {divide:#1,k} {ts}.
    A {worker} earns {x} dollars an hour and works {k} hours a day. How much does the {worker} earn in {z} days?
    The {worker} works {multiply:k,z} hours. The {worker} earns {multiply:x,#1} dollars.
    A [room|garden|field] is {x} {len} long and {y} {len} wide. [Covering|Planting] one square unit costs {z} dollars. How much does [the whole|all of it] cost?
    The area is {multiply:x,y}. The cost is {multiply:#1,z} dollars.
    {n} earned {x} dollars in {month}, {y} dollars in {month2} and {z} dollars in {month3}. What was the average per month?
    The total is {add:x,y,z} dollars. The average is {divide:#1,three} dollars.
    A {vehicle} travels {x} {len} per hour for {k} hours and then {y} {len} more. How far does it travel in total?
    In {k} hours it travels {multiply:x,k} {len}. In total it travels {add:#1,y} {len}.
    A company made a profit of {x} dollars. If the profit [grows|increases] by {p}% every year, what will it be after {k} years?
    The factor is {power:up,k}. The profit will be {multiply:x,#1} dollars.
    The population of a {place} is {x}. It [grows|increases] at a rate of {p}% per year. What will the population be after {k} years?
    The factor is {power:up,k}. The population will be {multiply:x,#1}.
    A [machine|car|boat] that cost {x} dollars loses {p}% of its value every year. What is it worth after {k} years?
    The factor is {power:down,k}. It is worth {multiply:x,#1} dollars.
    What is the area of a circle with a radius of {x} {len}? (take {pi} for pi)
    The square of the radius is {power:x,two}. The area is {multiply:pi,#1} square {len}.
    What is the area of a circle with a diameter of {x} {len}? (take pi as {pi})
    The radius is {divide:x,two}. The square of the radius is {power:#1,two}. The area is {multiply:pi,#2} square {len}.
    A right triangle has legs of {x} and {y} {len}. How long is the hypotenuse?
    The first square is {power:x,two}. The second square is {power:y,two}. The sum is {add:#1,#2}. The hypotenuse is {sqrt:#3} {len}.
    A square has an area of {x} square {len}. What is its perimeter?
    One side is {sqrt:x} {len}. The perimeter is {multiply:four,#1} {len}.
    A square has a perimeter of {x} {len}. What is its area?
    One side is {divide:x,four} {len}. The area is {power:#1,two} square {len}.
    {n} had {big} dollars, spent {x} dollars on {ts} and {y} dollars on {us}. How much is left?
    {n} spent {add:x,y} dollars. There are {subtract:big,#1} dollars left.
    A {shop} had {big} {ts}, sold {x} and then got {y} new ones. How many {ts} does it have now?
    After the sale there were {subtract:big,x} {ts}. Now there are {add:#1,y} {ts}.
    A {vehicle} travels at a speed of {x} {len} per hour for {y} minutes. How far does it [go|travel]?
    Per hour and minute it is {multiply:x,y}. The distance is {divide:#1,sixty} {len}.
    One {t} costs {x} dollars. {n} buys {k} {ts} and {m} buys {z} {ts}. How much do they pay together?
    They buy {add:k,z} {ts}. They pay {multiply:x,#1} dollars.
    A {t} that costs {x} dollars is [sold at a discount of {p}%|reduced by {p}%]. What is the [new price|price now]?
    The share left is {subtract:one,share}. The new price is {multiply:x,#1} dollars.
    A team of {k} is chosen from {nn} {members} and another team of {k2} from {nn2} {members2}. In how many ways can both be chosen?
    The first team gives {choose:nn,k}. The second team gives {choose:nn2,k2}. Both give {multiply:#1,#2}.
    {n} walks {x} {len} on {day}, {y} {len} on {day2} and {z} {len} on {day3}. The goal was {big2} {len}. How many {len} are missing?
    {n} walked {add:x,y,z} {len}. There are missing {subtract:big2,#1} {len}.
    ! A printer needs {x} sheets for one copy. How many sheets remain from {big} after {k} copies?
    The copies take {multiply:x,k} sheets. There remain {subtract:big,#1} sheets.
    ! {n} saved {x} dollars a week for {k} weeks and got {y} dollars as a gift. How many dollars does {n} have?
    {n} saved {multiply:x,k} dollars. {n} has {add:#1,y} dollars.
    ! Three sacks weigh {x}, {y} and {z} {wt}. They are loaded evenly on {k} carts. What does each cart carry?
    Together the sacks weigh {add:x,y,z} {wt}. Each cart carries {divide:#1,k} {wt}.
""")

# The stories: something at the start, then things happen to it. (what happens, the operation on the amount so far)
EVENTS: tuple[tuple[str, str], ...] = (
    ("[buys|gets|finds|wins|receives] {v} more", "add"),
    ("is given {v} [by {m}|]", "add"),
    ("[picks|makes|collects] another {v}", "add"),
    ("[gives|hands|sells] {v} [to {m}|away]", "subtract"),
    ("[loses|uses|breaks|throws away] {v}[ of them|]", "subtract"),
    ("[eats|wastes|returns] {v}", "subtract"),
    ("[multiplies|increases] the stock {v} times", "multiply"),
    ("[divides|splits|shares] [them|what is there] equally among {v} {members} and keeps one share", "divide"),
)
HELD_OUT_EVENTS: tuple[tuple[str, str], ...] = (
    ("adds {v} from the cellar", "add"),
    ("trades {v} away", "subtract"),
    ("inherits {v}", "add"),
    ("drops {v} into the river", "subtract"),
)
STORY_QUESTIONS = (
    "How many {ts} does {n} have [now|in the end|at the end|then]?",
    "How many {ts} are there [now|in the end|at last]?",
)
HELD_OUT_STORY_QUESTIONS = ("With how many {ts} does {n} end up?",)
