"""Names in the summary of a dialogue whose speakers became #Person1#, #Person2#, ..., and who may be no speaker."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from genai_labs.prompting.speakers import TaggedDialogue

MOST_ODD = 3  # dialogues whose speakers are listed
ARTICLE = re.compile(r" (?!(?:and|or)\b)\w*(?:[^\Ws]|[su]s)\b")  # what stands behind it: no verb in the third person
AN_ARTICLE = re.compile(r"\b(?:a|an|the) $", re.IGNORECASE)
# A word in small letters that no first name stands before: none of these, no adverb, no verb with an s or in the past.
BEHIND_A_NAME = (
    "about|after|also|already|and|as|at|because|before|but|by|can|could|did|for|from|gave|got|had|if|in|just|made|never|"
    "not|now|of|on|only|or|said|should|so|still|than|that|then|to|told|took|until|went|when|where|while|who|will|with|"
    r"would|\w+ly|\w\w+[^\We]ed"
)
NOUN = re.compile(rf" (?!(?:{BEHIND_A_NAME})\b)(?=[^\W\dA-Z_])\w*(?:[^\Ws]|[su]s)\b")
NO_FIRST_NAME = re.compile(
    "the|a|an|our|my|mr|mrs|ms|miss|sir|dr|prof|professor|doctor|new|old|young|first|second|customer|sales|shop|store|"
    "hotel|bank|office|police|school|front|tech|support|travel|team"
)
MONTHS = ("March", "April", "May", "June", "August")  # that are names, too
OF_TIME = re.compile(r"\b(?:in|of|on|by|since|until|till|last|next|this|early|late|\d+\w*) $", re.IGNORECASE)
CALENDAR = re.compile(
    r"(?:I|(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)days?|January|February|July|September|October|November|December|"
    rf"(?:{'|'.join(MONTHS)})(?= \d))\b"
)


def tag_summary(summary: str, names: Sequence[str], but: Sequence[str] = ()) -> str:
    """A summary with #Person1# in place of the first name, and so on: what ``TaggedDialogue.with_names`` undoes.

    The first word of a longer name stands for it where it can be a first name and no noun follows: "Anna asks", where
    "Anna Lee" speaks, but "The shop" stays where "The Customer" does. A name that goes on in the summary is somebody
    else's: where "Anna" speaks, "Anna Lee" stays. So does a word that is a name but for its capital ("will"), an
    article where "A" speaks ("A man", other than "A asks"), "in May", and "a patient man" where "patient" speaks. What
    cannot be told apart stays as it is. but: names that stay.
    """
    numbers = {name: number for number, name in enumerate(names, start=1) if name not in but}
    whole, firsts = _any_of(numbers), [_folded(name.split()[0]) for name in names]
    meant = {_folded(name): number for name, number in numbers.items()}
    short = {}
    for name, number in numbers.items():
        first, folded = name.split()[0], _folded(name.split()[0])
        is_free = folded not in meant and firsts.count(folded) == 1
        if is_free and first.isalpha() and len(first) > 2 and not NO_FIRST_NAME.fullmatch(folded):
            short[folded] = first
            meant[folded] = number

    def tag(match: re.Match[str]) -> str:
        word, end, before = match[0], match.end(), summary[max(0, match.start() - 12) : match.start()]
        number, is_short = meant.get(_folded(word), 0), _folded(word) in short
        goes_on = summary[end : end + 1] == " " and summary[end + 1 : end + 2].isupper()
        if goes_on and not whole.match(summary, end + 1) and not CALENDAR.match(summary, end + 1):
            return word
        is_month = word.capitalize() in MONTHS and (OF_TIME.search(before) or re.match(r" \d", summary[end:]))
        is_noun = (word == "A" and ARTICLE.match(summary, end)) or (is_short and NOUN.match(summary, end))
        is_small = number and word == names[number - 1] and len(word) > 1 and not AN_ARTICLE.search(before)
        is_name = number and not is_month and not is_noun and (word[0].isupper() or is_small)
        return f"#Person{number}#" if is_name else word

    return _any_of([*numbers, *short.values()]).sub(tag, summary)


def _any_of(names: Iterable[str]) -> re.Pattern[str]:
    """What finds one of the names, the longest first, with either apostrophe and whatever its capitals."""
    any_name = "|".join(sorted(map(re.escape, names), key=len, reverse=True))
    any_name = re.sub("['’]", "['’]", any_name)
    return re.compile(rf"(?<![\w#-])(?:{any_name or '(?!)'})(?!\w|-\w)", re.IGNORECASE)


def _folded(name: str) -> str:
    return name.lower().replace("’", "'")  # not casefold, which makes ss of ß


def odd_speakers(dialogue: TaggedDialogue, place: str) -> list[str]:
    """A sentence on who was taken for a speaker, where that may be wrong; none where it will be right."""
    once = spoken_once(dialogue)
    return [f"{place} as spoken by {', '.join(dialogue.names)} (once only: {', '.join(once)})"] if once else []


def spoken_once(dialogue: TaggedDialogue) -> list[str]:
    """Of three names or more those that speak once only: perhaps nobody, but a line such as "Milk: 2 litres"."""
    turns = Counter(map(int, re.findall(r"^#Person(\d+)#:", dialogue.text, re.MULTILINE)))
    once = [name for number, name in enumerate(dialogue.names, start=1) if turns[number] == 1]
    return once if len(dialogue.names) > 2 else []


def odd_note(name: str, odd: Sequence[str]) -> str:
    """A note on the :func:`odd_speakers` of the file that is so called, and what to do."""
    more = f"; and {len(odd) - MOST_ODD} more" if len(odd) > MOST_ODD else ""
    return (
        f"{name} was read: {'; '.join(odd[:MOST_ODD])}{more}. If one of these is nobody, write that turn on one line."
    )
