"""Whether the names, numbers, times, days and prices of a summary are right.

ROUGE counts shared words, so a wrong day costs a summary one word of twenty; it costs the reader the appointment.
Facts are found by rules, without a model. The rules are few; `stated` and `precision` say what they do not see.
"""

import functools
import random
import re
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from genai_labs.errors import LabError
from genai_labs.inputs.arguments import as_text, as_texts, as_whole_number, is_list

DAY = "(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day"
MONTH = "(?:January|February|March|April|May|June|July|August|September|October|November|December)"
NAME = rf"(?!{DAY}|{MONTH}\b)[A-Z][^\W\d_]+\b"
ONES = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
TEENS = ["ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"]
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
VALUES = {word: n for n, word in enumerate(ONES + TEENS, start=1)} | {word: 10 * n for n, word in enumerate(TENS, 2)}
SMALL = rf"(?:(?:{'|'.join(TENS)})(?:[- ](?:{'|'.join(ONES)})\b)?|(?:{'|'.join(ONES + TEENS)})\b)"
WORDS = rf"\b(?:{SMALL}|a(?= hundred| thousand))(?: (?:hundred|thousand)\b(?: (?:and )?{SMALL})?)*"
# A run of capitalised words is one name: "Cuckoo Lane" is wrong as a whole when the lane is another.
FACT = re.compile(
    rf"\b\d{{1,2}}:\d\d\b|[$€]\d+(?:\.\d+)?|{MONTH}\b(?: \d{{1,2}}\b)?|{DAY}"
    rf"|(?<!from )\b\d+ to \d+\b|\b\d+(?:\.\d+)?|\b{NAME}(?:[ -]{NAME})*"
)
DAYS = [f"{day}day" for day in ("Mon", "Tues", "Wednes", "Thurs", "Fri", "Satur", "Sun")]
MONTHS = MONTH.strip("(?:)").split("|")
# What can be exchanged for another of its kind: the hours of a time, the dollars of a price, a number in words.
EXCHANGEABLE = re.compile(
    r"(?<![#\w:.])(?:(?P<digits>\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?!\d|#)|"
    rf"(?:{'|'.join([*DAYS, *MONTHS, *ONES[1:], *TEENS])})\b)"
)
LONGEST_NUMBER = 15  # letters or digits; a longer row of digits is the number of something, not a fact
SENTENCE_START = re.compile(r"""(?:^|\n|[.!?:]["')]?\s|["“(])\s*""")


def _digits(match: re.Match[str]) -> str:
    """A number in words, "three hundred and ten", in digits, "310"."""
    total = part = 0
    for word in re.split("[ -]", match[0].lower()):
        part = max(part, 1) * 100 if word == "hundred" else part + VALUES.get(word, 0)
        if word == "thousand":
            total, part = total + max(part, 1) * 1000, 0
    return str(total + part)


# One spelling for each fact. The order matters: words become digits, digits become times, prices and dates.
SPELLINGS: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (r"\b(?:Mr|Mrs|Ms|Miss|Dr|Doctor|Professor)\b\.?(?= [A-Z])", "the"),  # what follows a title is a name
    (r"(?<![a-z] )\bMay(?= (?:I|we|you|he|she|they)\b)", "may"),  # the verb, not the month
    (r"(?<=\d),(?=\d{3}\b)", ""),
    (rf"(?i:{WORDS})", _digits),
    (r"(?i:\bhalf past) (\d+)", r"\1:30"),
    (r"(?i:\b(?:a )?quarter past) (\d+)", r"\1:15"),
    (r"(?i:\b(?:a )?quarter to) (\d{1,15})(?!\d)", lambda match: f"{(int(match[1]) - 2) % 12 + 1}:45"),
    (r"\b(\d{1,2})(?: minutes)? past (\d{1,2})\b", lambda match: f"{match[2]}:{match[1]:0>2}"),
    (r"\b([1-9]|1[0-2]) (15|30|45)\b(?!-)", r"\1:\2"),  # six thirty
    (r"\b(\d{1,2}:\d\d) ?[ap]\.?m\b", r"\1"),
    (r"\b(\d{1,2})(?: ?o['’]clock| ?[ap]\.?m)\b", r"\1:00"),
    (r"(?i:\bnoon\b)", "12:00"),
    (r"(?i:\bmidnight\b)", "0:00"),
    (r"\b(\d+(?:\.\d+)?)[ -]dollars?\b", r"$\1"),
    (r"\b(\d+(?:\.\d+)?)[ -]euros?\b", r"€\1"),
    (r"\b(\d{1,2})(?:st|nd|rd|th)\b", r"\1"),
    (rf"\b(\d{{1,2}})(?: of)? ({MONTH})\b", r"\2 \1"),
)


def stated(text: str, context: str = "") -> list[str]:
    """The facts of a text that can be checked, each once, in order of appearance.

    Spellings are made equal: "half past six" is "6:30", "noon" "12:00", "forty-five dollars" "$45", "the 3rd of
    May" "May 3", "Sundays" "Sunday", "seven" "7", "five to one" (a score, a range) "5 to 1".
    A run of capitalised words is one name: "Cuckoo Lane". A word that begins a sentence is a name only if it also
    stands capitalised inside a sentence, of this text or of the context.
    No facts: speaker tags, titles, "one" (mostly a pronoun) and "1", ordinals in words ("the first speaker"),
    morning or evening ("3 p.m." is "3:00").
    """
    plain = _plain(as_text(text, "The text"))
    names = _words_inside(plain) | _words_inside(_plain(context))
    starts = _sentence_starts(plain)
    found = []
    for match in FACT.finditer(plain):
        first, _, rest = match[0].partition(" ")
        is_opener = match.start() in starts and re.fullmatch(NAME, first) and first not in names
        found.append(rest if is_opener else match[0])
    return [fact for fact in dict.fromkeys(found) if fact not in ("", "1")]


def unsupported(summary: str, source: str) -> list[str]:
    """The facts of the summary that the source, its dialogue, does not hold anywhere: they are made up.

    A summary may say less than the source: "Elena" for "Elena Rossi", "May" for "May 3", "at six" for "six o'clock".
    """
    source = as_text(source, "The source")
    return _missing(stated(as_text(summary, "The summary"), source), source)


def precision(summaries: Sequence[str], dialogues: Sequence[str]) -> NDArray[np.float64]:
    """The share of each summary's facts that occur in its dialogue.

    summaries, dialogues: n texts each. Returns an array of shape (n,), each value in [0, 1]; 1 where a summary
    states no fact, so read it beside `recall`. A fact counts as right wherever the dialogue holds it: the hour
    that a speaker takes back, or the price of something else, is not found out here, but lowers `recall`.
    Raises LabError when the numbers of texts differ.
    """
    _check_pairs(summaries, dialogues, "dialogues")
    pairs = zip(summaries, dialogues, strict=True)
    return np.array([_share(stated(summary, text), text) for summary, text in pairs], dtype=float)


def recall(summaries: Sequence[str], references: Sequence[str] | Sequence[Sequence[str]]) -> NDArray[np.float64]:
    """The share of the facts of the references that each summary states.

    summaries: n texts. references: n texts, or n lists of texts, one or more each. Of several references only
    the facts that all of them state are asked for: what a good summary left out, another may leave out as well.
    Returns an array of shape (n,), each value in [0, 1]; 1 where the references state no (common) fact.
    Raises LabError when the numbers of texts differ or a list is empty.
    """
    _check_pairs(summaries, references, "references")
    pairs = zip(summaries, references, strict=True)
    return np.array([_share(_common_facts(several), summary) for summary, several in pairs], dtype=float)


def exchange_one(text: str, seed: int = 0) -> str | None:
    """The text with one of its facts made wrong: a day, a month, a number, a time or a price becomes another one.

    Which fact, and what it becomes, is drawn by ``seed``. None where the text states no such fact.
    """
    found = [match for match in EXCHANGEABLE.finditer(as_text(text, "The text")) if len(match[0]) <= LONGEST_NUMBER]
    if not found:
        return None
    rng = random.Random(as_whole_number(seed, "The seed"))
    match = rng.choice(found)
    return text[: match.start()] + _another(match, rng) + text[match.end() :]


def _another(match: re.Match[str], rng: random.Random) -> str:
    fact = match[0]
    if match["digits"]:
        number = int(fact.replace(",", ""))
        other = rng.choice([n for n in range(max(1, number - 9), number + 10) if n != number])
        return f"{other:,}" if "," in fact else str(other)
    words: Sequence[str] = next(words for words in (DAYS, MONTHS, ONES[1:] + TEENS[:3], TEENS[3:]) if fact in words)
    return rng.choice([word for word in words if word != fact])


@functools.lru_cache(maxsize=50_000)  # a dialogue is read again for every model
def _plain(text: str) -> str:
    """The text with the spellings of facts made equal."""
    for pattern, spelling in SPELLINGS:
        text = re.sub(pattern, spelling, text)
    return text


def _sentence_starts(plain: str) -> set[int]:
    return {match.end() for match in SENTENCE_START.finditer(plain)}


def _words_inside(plain: str) -> set[str]:
    """The capitalised words that do not begin a sentence."""
    starts = _sentence_starts(plain)
    return {match[0] for match in re.finditer(rf"\b{NAME}", plain) if match.start() not in starts}


def _missing(facts: Sequence[str], text: str) -> list[str]:
    """Those of the facts that the text holds neither in full nor with more detail."""
    held = {weaker for fact in stated(text) for weaker in (fact, *re.sub(r"[$€]|:00$", "", fact).split())}
    plain = _plain(text)
    # Names are looked up in the text itself, where one may begin a sentence or be part of a longer one.
    return [
        fact
        for fact in facts
        if fact not in held and not (re.match(NAME, fact) and re.search(rf"\b{re.escape(fact)}\b", plain))
    ]


def _common_facts(references: str | Sequence[str]) -> list[str]:
    """The facts of the first reference that all others state as well."""
    if isinstance(references, str):
        references = [references]
    facts = stated(references[0], context="\n".join(references))
    for other in references[1:]:
        missing = _missing(facts, other)
        facts = [fact for fact in facts if fact not in missing]
    return facts


def _share(facts: Sequence[str], text: str) -> float:
    return 1 - len(_missing(facts, text)) / len(facts) if facts else 1.0


def _check_pairs(summaries: Sequence[str], others: Sequence[str] | Sequence[Sequence[str]], name: str) -> None:
    for each, what in ((summaries, "summaries"), (others, name)):
        if not isinstance(each, str) and not is_list(each):
            as_texts(each, what)
    if isinstance(summaries, str) or isinstance(others, str) or len(summaries) != len(others):
        found = " and ".join(
            "a single text" if isinstance(each, str) else str(len(each)) for each in (summaries, others)
        )
        raise LabError(
            f"Facts cannot be checked: summaries and {name} do not pair up (found: {found}), and each summary is "
            f"checked against its own. Give two lists, the summaries and the {name} of the same dialogues in order."
        )
    if empty := [number for number, each in enumerate(others) if not each]:
        raise LabError(
            f"Facts cannot be checked: there is nothing to check summary {empty[0]} against, as its entry in the "
            f"{name} is empty. Leave the summary out of both lists, or fill the entry in."
        )
    as_texts(summaries, "summaries")
    for each in others:
        as_texts([each] if name == "dialogues" or isinstance(each, str) else each, name)
