"""Templates of one-step word problems over the 13 FuncQA operations, those for pre-training and those kept for evaluation.

A template is a question and an answer. ``[one|two]`` picks an alternative, ``{ts}`` and the like are filled from a scene, ``{x}``,
``{y}``, ``{xs}`` are the numbers. In the answer ``{E}`` stands for the expression with its result (``5572%3241=2331``), ``{W}``
for the operation put in words with its result ("the greatest common divisor of 12 and 18, which is 6"), ``{R}`` for the result alone.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Template:
    """One question form with its answer form. ``held_out`` templates are for evaluation only."""

    question: str
    answer: str
    held_out: bool = False


def _templates(text: str) -> tuple[Template, ...]:
    """Two lines a template (question, answer); questions that begin with ``!`` are held out."""
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    pairs = zip(lines[::2], lines[1::2], strict=True)
    return tuple(
        Template(question.removeprefix("!").strip(), answer, question.startswith("!")) for question, answer in pairs
    )


ONE_STEP: dict[str, tuple[Template, ...]] = {
    "add": _templates("""
        {n} has {x} {ts} and [buys|gets|finds|receives] {y} more. How many {ts} does {n} have [now|in total|altogether]?
        {n} [now has|has] {E} {ts}[ in total| altogether|].
        A {shop} sold {x} {ts} on {day} and {y} {ts} on {day2}. How many {ts} did [it|the {shop}] sell [in total|in all|altogether]?
        The {shop} sold {E} {ts}[ in total| in all|].
        A {shop} made {x} {ts} in the morning and {y} in the afternoon. How many {ts} did they make[ in total| that day|]?
        The [total number of {ts} made|number of {ts} made] is {E}.
        A {worker} earned {x} dollars in {month} and {y} dollars in {month2}. [What is the total amount earned|How much did the {worker} earn in total]?
        The {worker} earned {E} dollars[ in total|].
        A {vehicle} [travels|drives|goes] {x} {len} and then [another {y}|{y} more] {len}. [How far did it travel in total|What is the total distance]?
        The [total distance|{vehicle}'s total distance] is {E} {len}.
        There are {x} {members} in one {place} and {y} in another. How many {members} are there [in total|altogether|in both]?
        There are {E} {members}[ in total| altogether|].
        {n} read {x} pages on {day} and {y} pages on {day2}. [How many pages did {n} read in total|What is the total number of pages read]?
        {n} read {E} pages[ in total|].
        [What is the sum of|What do you get when you add] {xs}?
        The sum [of the numbers |]is {E}.
        [This week|Last month], {n} spent {mxs} dollars on [food, rent, clothes and books|various things]. How much [money |]did {n} spend[ in total|]?
        {n} spent {E} dollars[ in total|].
        The sides of a [triangle|polygon|field] are {xs} {len} long. What is its perimeter?
        The perimeter is {E} {len}.
        A [student|player] scored {x} points in the first [exam|game|round] and {y} in the second. What is the total score?
        The total score is {E}[ points|].
        A {worker} has [finished|completed] {x} {len} and has {y} {len} left[ to go|]. [What is the total distance|How long is the whole way]?
        The [total distance|whole way] is {E} {len}.
        A {shop} has {x} {members} and plans to [hire|take on] {y} more. How many {members} will [it|the {shop}] have [in total|then]?
        The {shop} will have {E} {members}[ in total|].
        The price of a {t} is {x} dollars and the [shipping|tax|fee] is {y} dollars. [What is the total cost|How much must one pay]?
        The total cost is {E} dollars.
        What is {x} plus {y}?
        {x} plus {y} is {E}.
        A recipe uses {x} {wt} of flour and {y} {wt} of sugar. How many {wt} is that in total?
        That is {E} {wt}[ in total|].
        ! {n} poured {x} {vol} of water into a tank that already held {y} {vol}. How much water is in the tank now?
        The tank now holds {E} {vol} of water.
        ! {n} planted {x} {ts} and {m} planted {y}. How many {ts} did the two of them plant?
        {n} and {m} planted {E} {ts}.
        ! The weights of the {ts} are {xs} {wt}. How heavy are they together?
        Together they weigh {E} {wt}.
    """),
    "subtract": _templates("""
        {n} has {x} {ts} and [gives away|loses|sells|uses] {y}[ of them|]. How many {ts} [are left|does {n} have left|remain]?
        {n} has {E} {ts} left.
        A {shop} had {x} {ts} and sold {y}[ of them| {ts}]. How many {ts} are left[ in the {shop}|]?
        [There are|The {shop} has] {E} {ts} left.
        A {worker} has run {y} {len} out of {x} {len}. How many {len} [are left|remain|are left to run]?
        [There are|The {worker} has] {E} {len} left[ to run|].
        The {place} had {x} [people|inhabitants] last year and {y} this year. By how many did it shrink?
        The {place} shrank by {E} [people|inhabitants].
        {n} had {x} dollars and spent {y} dollars on {ts}. How much money [is left|does {n} have left]?
        {n} has {E} dollars left.
        A tank holds [up to |]{x} {vol}. [Right now|Currently] there are {y} {vol} in it. How many more {vol} can it hold?
        The tank can hold {E} more {vol}.
        [What is|Find] the difference between {x} and {y}?
        The difference is {E}.
        A {shop} [wants|needs] {x} {ts} and has {y}. How many more does it need[ to buy| to make|]?
        The {shop} needs {E} more {ts}.
        If a recipe calls for {x} {vol} of milk and [you only have|there are only] {y} {vol}, how many {vol} [do you need to buy|are missing]?
        [You need to buy|There are missing] {E} {vol}.
        {n} is {x} {len} away from home and walks {y} {len} towards it. How far is {n} from home then?
        {n} is {E} {len} away from home.
        A {t} costs {x} dollars and a {t2} costs {y} dollars. How much more does the {t} cost?
        The {t} costs {E} dollars more.
        A company has a budget of ${mx}. They spent ${my} on {ts}. How much [money |]is left?
        [There is|The company has] {E} dollars left.
        A factory had {x} {members} last year. This year it has {y} {members}. How many {members} did it lose?
        The factory lost {E} {members}.
        A [book|novel] has {x} pages and {n} has read {y}. How many pages are left[ to read|]?
        There are {E} pages left[ to read|].
        What is {x} minus {y}?
        {x} minus {y} is {E}.
        ! {n} picked {x} {ts}, but {y} of them were rotten. How many good {ts} did {n} pick?
        {n} picked {E} good {ts}.
        ! A rope was {x} {len} long before {y} {len} were cut off. How long is the rope now?
        The rope is now {E} {len} long.
        ! Of the {x} {members} invited, {y} stayed at home. How many came?
        There came {E} {members}.
    """),
    "multiply": _templates("""
        A {c} [holds|contains|has] {x} {ts}. How many {ts} are [there |]in {y} {cs}?
        There are {E} {ts} in {y} {cs}.
        A {shop} sells {ts} for {x} dollars each. How much do {y} {ts} cost?
        The cost [of {y} {ts} |]is {E} dollars.
        {n} buys {y} {ts} for ${mx} each. How much does {n} [pay|spend][ in total|]?
        {n} [pays|spends] {E} dollars[ in total|].
        A {vehicle} travels {x} {len} in one {unit}. How many {len} does it travel in {y} {units}?
        The {vehicle} travels {E} {len} in {y} {units}.
        A {worker} earns {x} dollars [per|an|every] hour. How much does the {worker} earn in {y} hours?
        The {worker} earns {E} dollars.
        A [garden|room|field|floor] is {x} {len} long and {y} {len} wide. What is its area?
        The area is {E} square {len}.
        A rectangle has a length of {x} {len} and a width of {y} {len}. What is the area of the rectangle[ in square {len}|]?
        The area of the rectangle is {E} square {len}.
        A factory makes {x} {ts} [per|every] {unit}. How many {ts} will it make in {y} {units}?
        It will make {E} {ts}.
        {n} reads {x} pages [per|a|every] day. It takes {y} days to finish the book. How many pages are in the book?
        There are {E} pages in the book.
        What is [the product of {x} and {y}|{x} times {y}|{x} multiplied by {y}]?
        The product is {E}.
        There are {x} rows of {ts} with {y} {ts} in each row. How many {ts} are there[ in total|]?
        There are {E} {ts}[ in total|].
        A circle has a diameter of {x} {len}. What is its circumference? ([take pi to be|use pi =] {pi})
        The circumference is {Epi} {len}.
        Each of {x} {members} brings {y} {ts}. How many {ts} do they bring in total?
        They bring {E} {ts}[ in total|].
        One {t} weighs {x} {wt}. What is the weight of {y} {ts}?
        The weight of {y} {ts} is {E} {wt}.
        If a [gem|spice|metal] costs ${mx} a [gram|pound|ounce] and {n} wants to buy {y} [grams|pounds|ounces], how much would [it cost|{n} need to pay]?
        It would cost {E} dollars.
        ! Every {c} in the {shop} weighs {x} {wt}. How heavy are {y} of them?
        They weigh {E} {wt}.
        ! {n} runs {x} {len} every day. How far does {n} run in {y} days?
        {n} runs {E} {len}.
        ! A printer prints {x} sheets a minute. How many sheets does it print in {y} minutes?
        The printer prints {E} sheets.
    """),
    "divide": _templates("""
        {n} has {x} {ts} and [shares|divides|splits] them equally among {y} {members}. How many {ts} does each [one |person |]get?
        Each [one|person] gets {E} {ts}.
        A {shop} packs {x} {ts} [evenly|equally] into {y} {cs}. How many {ts} are in each {c}?
        There are {E} {ts} in each {c}.
        A {vehicle} travels {x} {len} in {y} {units}. What is its [average |]speed in {len} per {unit}?
        The [average |]speed is {E} {len} per {unit}.
        {y} {ts} cost {x} dollars. [How much does one {t} cost|What is the price of one {t}]?
        One {t} costs {E} dollars.
        If {x} {wt} of [sugar|flour|butter] are [needed|required] to make {y} {ts}, how many {wt} are [needed|required] [for each {t}|to make each {t}]?
        Each {t} [needs|requires] {E} {wt}.
        A company has a [total |]budget of {x} dollars and wants to [evenly |]distribute it to {y} {members}. How much [money |]will each [one |]get?
        Each one will get {E} dollars.
        A rectangle has an area of {x} square {len} and a length of {y} {len}. What is its width?
        The width is {E} {len}.
        What is {x} divided by {y}?
        {x} divided by {y} is {E}.
        A tank with {x} {vol} of water [fills|can fill|is emptied evenly into] {y} buckets. How many {vol} [are in|does] each bucket[| hold]?
        Each bucket holds {E} {vol}.
        A {worker} earned {x} dollars in {y} hours. How much is that per hour?
        That is {E} dollars per hour.
        A {shop} sells a total of {x} {wt} of [rice|corn|tea] in {y} {cs}. How many {wt} are in each {c}?
        There are {E} {wt} in each {c}.
        {n} [reads|walks|types] {x} [pages|steps|words] in {y} {units}. How many is that [on average |]per {unit}?
        That is {E} per {unit}.
        The average of {y} [scores|numbers] adds up to a sum of {x}. What is the average?
        The average is {E}.
        A {shop} sells {y} {ts} for a total of {x} dollars. What is the average price [per {t}|of a {t}]?
        The average price is {E} dollars.
        A [race|marathon|trail] is {y} {len} long. If {n} finishes it in {x} minutes, how many minutes does {n} need per [mile|unit of length] on average?
        On average {n} needs {E} minutes.
        ! A ribbon of {x} {len} is cut into {y} equal pieces. How long is each piece?
        Each piece is {E} {len} long.
        ! The rent of {x} dollars is shared by {y} friends. What does each friend pay?
        Each friend pays {E} dollars.
        ! It took {y} equal trips to carry {x} {wt} of sand. How much sand was carried per trip?
        Per trip {E} {wt} of sand were carried.
    """),
    "power": _templates("""
        A [city|{place}]'s population [grows|increases] by {p}% every year. By [what factor|how many times] does it grow in {k} years?
        The population [will grow|grows] by a factor of {E}.
        A [car|machine|phone] [loses|depreciates by] {p}% of its value [each|every] year. What [share|fraction] of its value is left after {k} years?
        After {k} years, {Edown} of its [original |]value is left.
        A [battery|tank] [drains|empties] at a rate of {p}% per hour. How much of [it|its charge] is left after {k} hours?
        After {k} hours, {Edown} of it is left.
        The number of [bacteria|cells|germs] doubles every {unit}. How many times as many [are there|will there be] after {k} {units}?
        There [are|will be] {E2} times as many.
        The number of [bacteria|cells|germs] triples every {unit}. How many times as many [are there|will there be] after {k} {units}?
        There [are|will be] {E3} times as many.
        A cube has a side [length |]of {x} {len}. What is its volume[ in cubic {len}|]?
        The volume of the cube is {Ecube} cubic {len}.
        A square has a side [length |]of {x} {len}. What is its area[ in square {len}|]?
        The area of the square is {Esquare} square {len}.
        What is {b} to the power of {k}?
        {b} to the power of {k} is {E}.
        What is {b} raised to the power of {k}?
        {b} raised to the power of {k} is {E}.
        [Compute|Calculate|What is] {b}^{k}[.|?]
        The result is {E}.
        A [sum|deposit] earns {p}% interest [every|per] year. By what factor has it grown after {k} years?
        It has grown by a factor of {E}.
        A [die|wheel] has {b} sides and is [rolled|spun] {k} times. How many [different sequences|outcomes] are possible?
        There are {E} possible [sequences|outcomes].
        A code has {k} places with {b} symbols each. How many codes are there?
        There are {E} codes.
        What is the square of {x}?
        The square of {x} is {Esquare}.
        What is the cube of {x}?
        The cube of {x} is {Ecube}.
        What is the area of a {x} {len} long square?
        The area is {Esquare} square {len}.
        ! Prices rise by {p}% each year. How many times as high are they after {k} years?
        Prices will be {E} times as high.
        ! A lock has {k} wheels and each wheel shows {b} letters. How many settings are there?
        There are {E} settings.
        ! What is the volume of a cube-shaped crate whose edges are {x} {len}?
        The volume is {Ecube} cubic {len}.
    """),
    "sqrt": _templates("""
        [What is|Find|What is the value of] the square root of {x}[?|]
        The square root of {x} is {R}.
        [What is|Compute|What is the value of] √{x}?
        The value of √{x} is {R}.
        A square [garden|field|room|yard] has an area of {x} square {len}. What is the length of [one|each] side[ of the {area}|]?
        The length of one side is {E} {len}.
        The area of a square is {x} square {len}. How long is [one|each] side?
        [Each|One] side is {E} {len} long.
        If x^2 = {x} and x is positive, what is [x|the value of x]?
        The value of x is {E}.
        The variance of [a set of data|the data|some scores] is {x}. What is the standard deviation?
        The standard deviation is {E}.
        What number times itself [gives|is] {x}?
        The number is {E}.
        A square has an area of {x} square {len}. [What is|Find] the length of one side of the square.
        The length of one side of the square is {R} {len}.
        The square of a positive number is {x}. What is the number?
        The number is the square root of {x}, which is {R}.
        ! A square tile covers {x} square {len}. How long is its edge?
        The edge is {E} {len} long.
        ! The square of a length is {x}. What is the length?
        The length is {E}.
    """),
    "log": _templates("""
        [What is|Compute|What is the value of|What is the result of] log({x})?
        The value of log({x}) is {E}.
        If 10^x = {x}, what is [x|the value of x]?
        [If 10^x={x}, then|10^x={x}, so] x={E}.
        10^x={x}, what is the value of x?
        10^x={x}, so x={E}.
        What is the [logarithm of {x} to base 10|base 10 logarithm of {x}|common logarithm of {x}|10th logarithm of {x}]?
        The [base 10 |]logarithm of {x} is {E}.
        log({x}) [equals|is equal to what]?
        {E}.
        To what power must 10 be raised to [get|give] {x}?
        10 must be raised to the power of {E}.
        [Given|In] the equation 10^x = {x}, what is [x|the value of x]?
        The value of x is {E}.
        ! Which exponent of 10 gives {x}?
        The exponent is {E}.
        ! Solve 10^y = {x} for y.
        The solution is y={E}.
    """),
    "ln": _templates("""
        [What is|Compute|What is the value of|What is the result of] ln({x})?
        The value of ln({x}) is {E}.
        If e^x = {x}, what is [x|the value of x]?
        [If e^x={x}, then|e^x={x}, so] x={E}.
        What is the [natural logarithm|ln|natural log] of {x}?
        The natural logarithm of {x} is {E}.
        What is the value of ln of {x}?
        The value of ln of {x} is {E}.
        ln({x}) [equals|is equal to what]?
        {E}.
        If we know [that |]e^x [equals|is] {x}, what is the value of x?
        The value of x is {E}.
        To what power must e be raised to [get|give] {x}?
        e must be raised to the power of {E}.
        ! Which exponent of e gives {x}?
        The exponent is {E}.
        ! Solve e^y = {x} for y.
        The solution is y={E}.
    """),
    "lcm": _templates("""
        [One|A] {worker} comes every {x} days and [another|a second one] every {y} days. If both come today, in how many days will they [both come again|next come on the same day]?
        They will [both come again|meet again] in {W} days.
        Machine A takes {x} minutes to [make|produce] a {t} and machine B takes {y} minutes. If both start at the same time, [what is the least amount of time until both finish|when will both finish] at the same time?
        The least amount of time is {W} minutes.
        {Xs} {vehicle2} take {xs} hours [for a round trip|to go around], respectively. If they start together, [how long|how many hours] will it take [until they all meet|for them to be] at the start again?
        It will take {W} hours.
        [What is|Find] the least common multiple of {xs}?
        The answer is {W}.
        [What is|Find] the smallest number that is [divisible by|a multiple of] {xs}?
        The smallest number is {W}.
        {n} [visits the library|goes swimming] every {x} days and {m} every {y} days. If they [go|were there] together today, after how many days will they [go|be there] together again?
        They will be there together again after {W} days.
        A teacher gives assignments that cycle every {xs} days, respectively. If all are given today, how many days will it take until all are given on the same day again?
        It will take {W} days.
        [Bells|Lights|Alarms] [ring|flash|go off] every {xs} seconds, respectively. If they [ring|flash|go off] together now, after how many seconds will they do so together again?
        They will do so again after {W} seconds.
        {ts2} are sold in packs of {x} and {us} in packs of {y}. What is the [least|smallest] number of each [one must|you can] buy to have [equally many|the same number of both]?
        The least number is {W}.
        Two [runners|cyclists|skaters] [go|run] around a track. The first [completes|finishes] a lap in {x} seconds, the second in {y} seconds. If they start together, how long will it take until they meet at the start again?
        It will take {W} seconds.
        [Several|The] {members} practice every {xs} days, respectively. If they practice together today, what is the least number of days [they have to wait until|before] they all practice together again?
        The least number of days is {W}.
        ! Two lighthouses blink every {x} and every {y} seconds. They just blinked together. After how many seconds will that happen again?
        That will happen again after {W} seconds.
        ! The ferries to three islands leave every {xs} hours. All leave now. After how many hours will all of them leave together again?
        All of them will leave together again after {W} hours.
    """),
    "gcd": _templates("""
        {n} has {x} {ts} and {y} {us} and wants to make [identical|equal] {cs} with none left over. What is the [greatest|largest] number of {cs} [{n} can make|possible]?
        The [greatest|largest] number of {cs} is {W}.
        [What is|Find] the greatest common divisor of {xs}?
        The answer is {W}.
        [What is|Find] the largest number that divides [all of |]{xs}[ without a remainder|]?
        The largest number is {W}.
        A [cake|sheet|board|field] that is {x} {len} long and {y} {len} wide is cut into equal squares[ without waste|]. What is the [largest|maximum] [possible length|length] of a side[ of each square|]?
        The [largest|maximum] length of a side is {W} {len}.
        A {shop} wants to pack {x} {ts} and {y} {us} into {cs} with the same number of each kind in every {c}. What is the [largest|greatest|maximum] number of {cs}?
        The largest number of {cs} is {W}.
        A [rectangular |]floor is {x} {len} long and {y} {len} wide. What is the [maximum|largest] side of a square tile that covers it without cutting?
        The [maximum|largest] side is {W} {len}.
        A {worker} has ropes of {xs} {len} and cuts them into equal pieces with nothing left over. What is the greatest length of each piece?
        The greatest length is {W} {len}.
        A school has groups of {xs} {members} and divides each into teams of the same size. What is the largest [possible |]team size?
        The largest team size is {W}.
        A teacher wants to [distribute|give out] {x} {ts} and {y} {us} [equally|evenly] among {members}. What is the largest number of {members} that can receive the same number of each?
        The largest number of {members} is {W}.
        {n} wants to distribute {xs} [sweets|toys] of different kinds into bags with the same number of each kind in every bag. What is the largest number of bags?
        The largest number of bags is {W}.
        ! Two planks of {x} and {y} {len} are sawn into equal lengths without waste. What is the longest length possible?
        The longest length possible is {W} {len}.
        ! The classes have {xs} {members}. They line up in rows of equal length, no row mixed. How long can the rows be at most?
        The rows can be at most as long as {W}.
    """),
    "remainder": _templates("""
        A {shop} has {x} {ts} and [wants to put|packs|puts] them [in|into] {cs} of {y}[ {ts}| each|]. How many {ts} [will be|are] left over?
        The number of {ts} left over [will be|is] {E}.
        {n} has {x} {ts} and [fills|makes] as many {cs} of {y} as possible. How many {ts} [are left|remain|are left over]?
        [The number of {ts} left is|There are] {E}[ {ts} left|].
        {x} {ts} are divided [equally|evenly] among {y} {members}. How many {ts} are left[ over|]?
        The number of {ts} left over is {E}.
        What is the remainder when {x} is divided by {y}?
        The remainder is {E}.
        A {worker} wants to put {x} {ts} [in|into] {cs} of {y} each. How many will [not fit|be left over] after [filling|the {worker} has filled] as many [complete |full |]{cs} as possible?
        There will be {E} {ts} left over.
        {n} has ${mx} and buys as many {ts} at ${my} each as possible. How much money is left?
        The money left is {E} dollars.
        What is {x} mod {y}?
        The value is {E}.
        A {shop} has {x} {ts} and [each|every] {c} holds {y}. How many {ts} will be left [unpacked|without a {c}]?
        The number of {ts} left [unpacked|over] will be {E}.
        A {worker} wants to [divide|share] {x} {wt} of {ts} [evenly |]among {y} {cs}. [What is the remainder|How many {wt} remain]?
        The remainder is {E}[ {wt}|].
        A {shop} has {x} {ts} and wants to display them in rows of {y}. How many {ts} will be left if they cannot fill a [complete|whole] row?
        The number of {ts} left will be {E}.
        There are [a total of |]{x} {members} who form teams of {y}. How many {members} are left without a team?
        The number of {members} without a team is {E}.
        ! {x} {members} get on buses that take {y} each, and only full buses leave. How many {members} stay behind?
        The number of {members} who stay behind is {E}.
        ! A roll of {x} {len} is cut into pieces of {y} {len}. How many {len} remain at the end?
        At the end there remain {E} {len}.
    """),
    "choose": _templates("""
        A {shop} has {nn} {members} and needs [a committee|a team|a group] of {k}. How many [different |]ways are there to [choose|form] it?
        The number of ways is {E}.
        [In how many ways can|How many ways are there to choose] {k} {ts} [be chosen |]from {nn}[ {ts}| different {ts}|]?
        The number of ways [to choose {k} {ts} |]is {E}.
        A [pizza place|café|shop] offers {nn} [toppings|flavors|kinds of tea]. How many [different|possible] [choices|combinations] of {k} are there?
        There are {E} [different |possible |][choices|combinations].
        How many [different |]teams of {k} [players |{members} |]can be formed from {nn}[ {members}| players|]?
        The number of [different |]teams is {E}.
        A deck has {nn} cards. If you draw {k} cards, how many different [hands|combinations] [can you get|are possible]?
        The number of different [hands|combinations] is {E}.
        {n} packs {k} of {nn} {ts} for a trip. How many different selections are possible?
        The number of selections is {E}.
        A class has {nn} students and the teacher [chooses|wants to choose] a group of {k}. How many [different |]groups [are possible|can the teacher form]?
        The number of [different |]groups is {E}.
        What is {nn} choose {k}?
        {nn} choose {k} is {E}.
        [There are|A {shop} has] {nn} different [colors|kinds] of {ts}, but a customer can only buy {k}. How many [different |]ways can [a customer|one] choose?
        The number of ways to choose is {E}.
        If [you can choose|one may pick] {k} of {nn} [toppings|courses|games], how many different [orders|picks] can be made, whatever the order?
        The number is {E}.
        ! A jury of {k} is picked from {nn} candidates. How many juries are possible?
        The number of possible juries is {E}.
        ! {n} may borrow {k} of the {nn} {ts}. How many sets could that be?
        The number of sets is {E}.
    """),
    "permutate": _templates("""
        In how many ways can {k} of {nn} {members} be [arranged|seated|lined up] in a row?
        The number of ways [to arrange them |]is {E}.
        A [race|contest] has {nn} {members}. How many [different |possible |]orders are there for the [first|top] {k} places?
        There are {E} [possible |]orders.
        [How many ways are there to|In how many ways can you] arrange {k} out of {nn} [different |]{ts} on a shelf?
        The number of ways is {E}.
        A club with {nn} {members} elects {k} different officers. In how many ways can [this be done|they be elected]?
        The number of ways is {E}.
        How many [codes|passwords] of {k} different [letters|symbols] can be made from {nn} [letters|symbols]?
        There are {E} [codes|passwords].
        A [festival|show] has {nn} [bands|acts]. In how many ways can the [organizers|hosts] [arrange|schedule] {k} of them one after another?
        The number of ways is {E}.
        {nn} {members} take a photo in a row. In how many ways can they [arrange themselves|stand]?
        The number of ways is {Eall}.
        How many different ways can {nn} {ts} be [arranged|ordered|lined up]?
        The number of ways is {Eall}.
        A teacher selects {k} students from a class of {nn} to [speak|present] in order. How many [orders|arrangements] are there?
        The number of [orders|arrangements] is {E}.
        In how many ways can {k} [different |]jobs be given to {nn} {members} if nobody gets two?
        The number of ways is {E}.
        How many ways can you arrange the letters in a word of {nn} different letters?
        The number of ways is {Eall}.
        What is the number of permutations of {k} out of {nn}?
        The number of permutations is {E}.
        ! {n} hangs {k} of {nn} {ts} side by side on the wall. How many orders are possible?
        The number of possible orders is {E}.
        ! Gold, silver and so on: {k} medals go to {nn} {members}. In how many ways can they be handed out?
        The number of ways is {E}.
    """),
}
