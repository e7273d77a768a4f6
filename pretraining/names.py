"""Names and codes that nano learns to copy letter by letter: towns, ids, dates, addresses, names in many scripts."""

from __future__ import annotations

from random import Random

from langchain_toolken.nano.problems.words import PEOPLE, invented_word

# (first and last code point, fewest and most letters). Drawn uniformly, so that every byte of a script occurs.
_SCRIPTS = (
    ((0x4E00, 0x9FA5), (2, 6)), ((0x4E00, 0x9FA5), (2, 5)), ((0x3041, 0x3096), (3, 7)), ((0x30A1, 0x30FA), (3, 7)), ((0xAC00, 0xD7A3), (2, 5)), ((0x0410, 0x044F), (3, 8)),
    ((0x03B1, 0x03C9), (3, 8)), ((0x0621, 0x063A), (3, 7)), ((0x05D0, 0x05EA), (3, 7)), ((0x0905, 0x0939), (3, 6)), ((0x1F600, 0x1F64F), (1, 3)), ((0x00E0, 0x00F6), (3, 6)),
)  # fmt: skip
_ACCENTS = str.maketrans("aeioucnsz", "áéíöüçñšž")


def foreign_name(rng: Random) -> str:
    """Make up a name in one or two scripts: Chinese, kana, Hangul, Cyrillic, Greek, Arabic, accented Latin, emoji and others."""
    draw = rng.random()
    if draw < 0.2:
        return f"{invented_word(rng).translate(_ACCENTS).capitalize()} {invented_word(rng).capitalize()}"
    pieces = []
    for (first, last), (least, most) in rng.sample(_SCRIPTS, 2 if draw < 0.4 else 1):
        pieces.append("".join(chr(rng.randint(first, last)) for _ in range(rng.randint(least, most))))
    return rng.choice(("", "", " ")).join(pieces)


def town(rng: Random) -> str:
    """Make up a town of one or two words, sometimes followed by a comma and a region."""
    name = invented_word(rng).capitalize()
    if rng.random() < 0.4:
        name = rng.choice(("New", "Port", "Saint", "Upper", "El", "Lake", invented_word(rng).capitalize())) + " " + name
    draw = rng.random()
    if draw < 0.3:
        name += ", " + "".join(rng.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ") for _ in range(2))
    elif draw < 0.4:
        name += ", " + invented_word(rng).capitalize()
    return name


def code(rng: Random) -> str:
    """Make up an id, like that of an order or a parcel."""
    letters = "".join(rng.choice("ABCDEFGHKLMNPQRSTUVWXYZ") for _ in range(rng.randint(1, 3)))
    digits = "".join(rng.choice("0123456789") for _ in range(rng.randint(2, 6)))
    return rng.choice(
        (
            f"{letters}-{digits}",
            f"{letters}{digits}",
            f"{digits}-{letters}",
            f"#{digits}",
            f"{letters.lower()}_{digits}",
        )
    )


def date(rng: Random) -> str:
    """Draw a date in ISO format."""
    return f"{rng.randint(1990, 2060)}-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}"


def address(rng: Random) -> str:
    """Make up an e-mail address."""
    return f"{rng.choice((rng.choice(PEOPLE).lower(), invented_word(rng)))}@{invented_word(rng)}.{rng.choice(('com', 'org', 'net', 'io'))}"
