"""People, things, places and invented names that the corpus is told with, and the ones that only evaluation may use."""

from __future__ import annotations

import re
from random import Random

PEOPLE = """Ada Alan Alice Amir Ana Anders Anita Arjun Asha Beatriz Ben Bianca Boris Bruno Camille Carl Carla Carmen Cho Clara
Colin Dana Daniel Daria David Dina Diego Dora Edgar Elena Eli Elsa Emil Emma Erik Esther Eva Farid Fatima Felix Fiona Frank
Gabriel Georg Gina Grace Greta Hana Hannah Harold Hassan Helen Henry Ian Ida Igor Ines Irene Isaac Ivan Jack James Jane Jasmin
Jenny Joan Joel Johan John Jonas Jorge Judy Julia Kai Karen Karim Kate Keiko Kevin Kim Lara Lars Laura Lea Leo Lena Liam Lily
Linda Lisa Lucas Lucy Maria Marco Margaret Marie Mario Mark Martin Mary Maya Mia Miguel Mike Mina Mona Nadia Nancy Nick Nina
Noah Nora Olga Oliver Omar Oscar Otto Paul Pedro Peter Priya Rachel Rafael Raj Rita Robert Rosa Ruth Sam Sara Selma Simon Sofia
Stefan Susan Tara Thomas Tim Tina Tom Uma Vera Victor Walter Wendy Xin Yara Yusuf Zoe""".split()

HELD_OUT_PEOPLE = """Agnes Basil Cecilia Dmitri Elodie Fabio Gwen Hugo Ingrid Jamal Katya Lorenzo Mireille Nils Odette Pablo
Quentin Ramona Sven Thea Ulrich Viola Wim Yolanda Zeno""".split()

# plural -> singular by hand only where dropping the "s" is wrong
THINGS = """apples pears oranges lemons peaches plums bananas melons grapes carrots potatoes onions tomatoes eggs cookies cakes muffins
cupcakes brownies candies chocolates lollipops pizzas sandwiches burgers pies donuts bagels loaves books magazines notebooks pens
pencils erasers rulers crayons markers folders stamps stickers cards posters photos letters packages parcels toys dolls balls
marbles puzzles kites blocks bricks tiles planks nails screws bolts nuts pipes wires bulbs lamps candles cups plates bowls spoons
forks bottles jars cans boxes chairs tables desks shelves shirts jackets hats scarves shoes socks gloves coats dresses buttons
beads ribbons rings coins tickets tokens badges flags flowers roses tulips seeds trees plants leaves stones shells rocks chickens
cows sheep goats horses ducks rabbits fish birds bees bikes cars trucks boats tires batteries phones computers cameras chips
widgets parts units items products gadgets robots drones records guitars drums songs videos files emails messages points""".split()

HELD_OUT_THINGS = """acorns lanterns turnips teapots umbrellas violins pinecones kettles saddles goggles pretzels anchors helmets
easels walnuts""".split()

SINGULARS = {"loaves": "loaf", "shelves": "shelf", "scarves": "scarf", "leaves": "leaf", "peaches": "peach", "boxes": "box", "candies": "candy",
             "batteries": "battery", "dresses": "dress", "tomatoes": "tomato", "potatoes": "potato", "sheep": "sheep", "fish": "fish"}  # fmt: skip

CONTAINERS = """boxes bags crates baskets cartons packs bundles trays jars bins shelves rows piles groups sets cases buckets sacks
drawers rooms tables containers packages bowls stacks""".split()

SHOPS = """store shop bakery factory company school farm restaurant library warehouse museum market café hotel hospital bookstore
supermarket pharmacy nursery club charity theater orchard dairy toy shop workshop garden center""".split()
SHOPS = [shop for shop in SHOPS if shop not in {"toy", "center"}] + ["toy shop", "garden center", "pizza parlor", "delivery company"]

WORKERS = """baker farmer teacher student worker carpenter gardener builder tailor painter chef waiter driver coach nurse artist
potter librarian fisherman florist mechanic manager shopkeeper scientist photographer collector runner""".split()

MEMBERS = """students employees players members volunteers teachers workers singers dancers athletes musicians actors children
people candidates guests scientists nurses soldiers friends participants runners""".split()

PLACES = "town city village island country region valley district state county".split()

LENGTHS = "meters feet inches centimeters kilometers miles yards millimeters".split()
WEIGHTS = "grams kilograms pounds ounces tons".split()
VOLUMES = "liters gallons cups pints milliliters".split()
TIMES = "seconds minutes hours days weeks months years".split()
VEHICLES = "car train truck bus boat plane bicycle ship ferry van".split()

_ONSETS = "b br c ch d dr f fl g gl gr h j k kl l m n p pl pr qu r s sh sk sl st t th tr v w y z".split()
_VOWELS = "a e i o u ai ea ee ia io oa oo ou".split()
_CODAS = ["", "", "", "n", "r", "l", "s", "x", "m", "nd", "rt", "lk", "th", "ck", "sh", "ng"]


def invented_word(rng: Random, syllables: int = 0) -> str:
    """A pronounceable word that means nothing, of one to three syllables, lower case."""
    count = syllables or rng.choice((2, 2, 2, 3, 1))
    return "".join(rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS) for _ in range(count))


def singular(thing: str) -> str:
    """The singular of one of this module's plurals."""
    if thing in SINGULARS:
        return SINGULARS[thing]
    return thing[:-1] if thing.endswith("s") else thing


_ALTERNATIVES = re.compile(r"\[([^\[\]]*)\]")
_ARTICLE = re.compile(r"\b([Aa]) (?=[aeiou])")


def choose_alternatives(template: str, rng: Random) -> str:
    """Replace each innermost ``[one|two|]`` by one of its alternatives, until none is left."""
    while "[" in template:
        template, count = _ALTERNATIVES.subn(lambda match: rng.choice(match[1].split("|")), template)
        if not count:
            raise ValueError(f"unbalanced brackets in the template {template!r}")
    return template


def mend_articles(text: str) -> str:
    """``a apple`` -> ``an apple``, for templates whose nouns are filled in."""
    return _ARTICLE.sub(lambda match: match[1] + "n ", text)
