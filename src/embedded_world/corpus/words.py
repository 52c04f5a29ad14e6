"""Open vocabulary: words of a type, everyday, rare or invented, some of them kept from all training.

Everyday words stand in ``data/content/words/common.yaml``, rarer ones in ``wordnet.yaml`` (hyponyms from WordNet),
names in ``pools.yaml``. Numbers, times, prices, titles and invented words are made here.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Collection
from functools import cache

from embedded_world.corpus.acts import THINGS
from embedded_world.corpus.content import pools, read_yaml
from embedded_world.corpus.dialogue import bucket

HELD_OUT_SHARE = 0.12
# Of the words for things, plants, food and names: the rest is everyday words of the type.
RARE, OTHER_TYPE, INVENTED = 0.12, 0.06, 0.10
DESCRIBED = 0.12  # of the things: with an adjective
FEW = frozenset({"day", "month", "ago", "relative", "body", "room", "country", "good", "bad", "colour"})
NAMES = {"name": "person", "surname": "surname", "town": "town", "street": "street", "country": "country"}
NUMBERS = (
    *("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "fifteen", "twenty"),
    *("thirty", "forty", "fifty", "sixty"),
)
TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
TEENS = ("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen")
PART_OF_DAY = re.compile(r"morning|afternoon|evening|night|lunchtime")
HOURS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November"),
    "December",
)
ORDINALS = (
    *("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh"),
    *("twelfth", "thirteenth", "fourteenth", "fifteenth", "sixteenth", "seventeenth", "eighteenth", "nineteenth"),
    *("twentieth", "twenty-first", "twenty-second", "twenty-third", "twenty-fourth", "twenty-fifth", "thirtieth"),
)
ONSETS = (
    "b bl br c ch cl cr d dr f fl fr g gl gr h j k l m n p pl pr qu r s sc sh sk sl sm sn sp st t th tr tw v w wh z"
)
VOWELS = "a e i o u a e i o oo ea ai ou"
CODAS = "b ck d ff g k l ll m n nd ng nk nt p r rk rn rt s sh sk ss st t tch x zz"
ENDINGS = "er et in le on ow y ard ock ick"


@cache
def common(kind: str) -> tuple[str, ...]:
    """Everyday words of a type."""
    if kind in NAMES and kind != "country":
        return pools()[NAMES[kind]]
    if kind == "country":
        return pools()["country"]
    words = read_yaml("words/common.yaml", dict)
    if kind == "thing":
        return tuple(dict.fromkeys(w for k in ("thing", *THINGS) for w in _split(words[k])))
    return _split(words[kind])


@cache
def rare(kind: str) -> tuple[str, ...]:
    """Rarer words of a type, from WordNet; none for types that have none there."""
    words = read_yaml("words/wordnet.yaml", dict)
    kinds = [k for k in (THINGS if kind == "thing" else (kind,)) if k in words]
    return tuple(dict.fromkeys(w for k in kinds for w in _split(words[k])))


def _split(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(","))


def held_out(word: str) -> bool:
    """Whether a word is kept from the slots of all training dialogues, to stand only in those of the unseen split."""
    return bucket(f"word|{word.lower()}") < HELD_OUT_SHARE


@cache
def _allowed(words: tuple[str, ...], unseen: bool) -> tuple[str, ...]:
    fitting = tuple(word for word in words if held_out(word) == unseen)
    return fitting or words


def invented(rng: random.Random, syllables: int = 0) -> str:
    """A word that does not exist, one to three syllables."""
    parts = []
    for _ in range(syllables or rng.choice((1, 2, 2, 2, 3))):
        parts.append(rng.choice(ONSETS.split()) + rng.choice(VOWELS.split()))
    end = rng.choice(CODAS.split()) if rng.random() < 0.7 else rng.choice(ENDINGS.split())
    word = "".join(parts)
    return word + (end if word[-1] not in "aeiou" or end[0] not in "aeiouy" else "n" + end)


def draw_word(kind: str, rng: random.Random, unseen: bool = False, taken: Collection[str] = ()) -> str:
    """A word or phrase of a type that is not ``taken``.

    unseen: from the words kept from training, where the type has any.
    """
    for _ in range(50):
        word = _MADE[kind](rng) if kind in _MADE else _typed_word(kind, rng, unseen)
        if word not in taken:
            return word
    return word


def _typed_word(kind: str, rng: random.Random, unseen: bool) -> str:
    if kind in FEW:
        return rng.choice(common(kind))
    chance = rng.random()
    if kind in NAMES:
        if chance < 0.3:
            return _invented_name(kind, rng)
        return rng.choice(_allowed(common(kind), unseen))
    words = common(kind)
    if chance < INVENTED:
        word = invented(rng)
        word = word if kind not in ("fruit", "vegetable", "plant") else word + "s"
        if kind in ("place", "illness"):
            return f"the {word}"
        return word if kind != "company" else word.capitalize() + rng.choice((" Brothers", " and Sons", "", " Ltd"))
    if chance < INVENTED + RARE and rare(kind):
        words = rare(kind)
    elif chance < INVENTED + RARE + OTHER_TYPE and kind in THINGS and kind not in ("part", "document"):
        words = common("thing")
    word = rng.choice(_allowed(words, unseen))
    if kind in (*THINGS, "thing") and rng.random() < DESCRIBED:
        adjective = rng.choice(common(rng.choice(("good", "bad"))))
        if " " not in adjective:
            return f"{adjective} {word}"
    return word


def _invented_name(kind: str, rng: random.Random) -> str:
    word = invented(rng, 2 if kind == "name" else 0).capitalize()
    if kind == "street":
        return f"{word} {rng.choice(('Street', 'Lane', 'Road', 'Close', 'Avenue', 'Hill', 'Square', 'Way'))}"
    if kind == "town":
        return word + rng.choice(("", "ton", "ham", "bury", "ford", "wick", "mouth", "by"))
    return word


def _clock(rng: random.Random) -> str:
    hour = rng.choice(HOURS)
    kind = rng.randrange(6)
    if kind == 0:
        return f"half past {hour}"
    if kind == 1:
        return f"{rng.choice(('a quarter', 'ten', 'twenty', 'five'))} {rng.choice(('past', 'to'))} {hour}"
    if kind == 2:
        return f"{rng.randint(1, 12)}:{rng.choice(('00', '15', '30', '45', '10', '20', '40', '50'))}"
    if kind == 3:
        when, hours = rng.choice((("morning", HOURS[5:11]), ("afternoon", HOURS[:5]), ("evening", HOURS[5:10])))
        return rng.choice((f"{rng.choice(hours)} in the {when}", f"{hour} thirty", f"{hour} fifteen", f"{hour} sharp"))
    if kind == 4:
        return rng.choice(("noon", "midnight", f"{hour} o'clock", f"{hour} o'clock", "lunchtime"))
    return hour


def _date(rng: random.Random) -> str:
    month = rng.choice(MONTHS)
    return (
        f"the {rng.choice(ORDINALS)} of {month}"
        if rng.random() < 0.5
        else f"{month} {rng.choice((rng.choice(ORDINALS), str(rng.randint(1, 28))))}"
    )


def price(rng: random.Random, below: int = 0, unit: str = "") -> tuple[str, int, str]:
    """An amount of money in words or figures, its value, and its unit.

    below: the amount is 0.4 to 0.9 of this one, where there is one. unit: which money, where that is settled.
    """
    unit = unit or rng.choice(("dollars", "dollars", "pounds", "euros"))
    if below > 4:
        value = max(2, round(below * rng.uniform(0.4, 0.9)))
        value = value if value < 30 else round(value / 5) * 5
    else:
        value = rng.choice((rng.randint(3, 20), rng.randint(4, 19) * 5, rng.randint(21, 99), rng.randint(10, 95) * 10))
    value = max(2, min(value, below - 1 if below > 4 else value))
    if unit == "dollars" and rng.random() < 0.4:
        return f"${value}", value, unit
    return f"{spell_number(value)} {unit}", value, unit


def spell_number(value: int) -> str:
    """A whole number from 2 to 999 in words."""
    if value >= 100:
        rest = value % 100
        hundreds = "a" if value < 200 else HOURS[value // 100 - 1]
        return f"{hundreds} hundred" + (f" and {spell_number(rest)}" if rest > 1 else " and one" if rest else "")
    if value <= 12:
        return HOURS[value - 1]
    if value < 20:
        return TEENS[value - 13]
    return TENS[value // 10 - 2] + (f"-{HOURS[value % 10 - 1]}" if value % 10 else "")


def another_day(rng: random.Random, taken: Collection[str], bare: bool = False) -> str:
    """A day that shares no word with those that were named.

    bare: without the part of the day, since a time is named too.
    """
    named = {word for each in taken for word in each.split()}
    days = [day for day in common("day") if not (bare and PART_OF_DAY.search(day))]
    free = [day for day in days if not named & set(day.split()) - {"the", "day", "after", "next"}]
    return rng.choice(free or days)


def _duration(rng: random.Random) -> str:
    few = rng.choice(NUMBERS[:9])
    return rng.choice(
        (
            f"{few} {rng.choice(('days', 'days', 'weeks', 'weeks', 'months'))}",
            f"{few} {rng.choice(('days', 'days', 'weeks', 'weeks', 'months'))}",
            f"{rng.choice(NUMBERS[:13])} {rng.choice(('days', 'weeks'))}",
            rng.choice(
                ("a week", "a fortnight", "a month", "a day or two", "ten days", "a couple of weeks", "six weeks")
            ),
            rng.choice(
                ("half an hour", "an hour", "two hours", "half a year", "the whole summer", "three quarters of a year")
            ),
        )
    )


def _a_number(rng: random.Random) -> str:
    return rng.choice(NUMBERS) if rng.random() < 0.75 else str(rng.randint(13, 96))


def _title(rng: random.Random) -> str:
    noun = rng.choice(common("thing")).title().replace("'S", "'s")
    quality = rng.choice(common("colour")).title()
    pattern = rng.choice(
        ("The {q} {n}", "{n} of {t}", "The Last {n}", "A {n} for {p}", "{p} and the {n}", "{t} Nights")
    )
    return pattern.format(q=quality, n=noun, t=rng.choice(common("town")), p=rng.choice(common("name")))


_MADE: dict[str, Callable[[random.Random], str]] = {
    "clock": _clock,
    "date": _date,
    "price": lambda rng: price(rng)[0],
    "duration": _duration,
    "number": _a_number,
    "title": _title,
}
