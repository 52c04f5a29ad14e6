"""Who speaks in a dialogue: names become #Person1#, #Person2#, ..., which is what the model has learned from."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

TAGGED = re.compile(r"^\s*#Person\d+#\s*:", re.MULTILINE)
# A name before a colon: one word, or up to four with capitals or digits, such as "Dr. Anna Lee" or "Speaker 2"; before
# it there may be a time, as chats write it: "[10:42] Anna: Hello." or "12/03/2026, 10:42 - Anna: Hello."
TIME = r"(?:[\[(]?\d[\d:/.,\- ]{0,30}(?:[AP]M)?[\])]?[\s\-–]{0,3})?"
NAMED = re.compile(rf"\s*{TIME}([^\W\d_][\w.'’\-]*(?: (?![a-z])[\w.'’\-]+){{0,3}})\s?:(?![/\d])\s*(.*)")
PERSON = re.compile(r"#Person(\d+)#")


@dataclass
class TaggedDialogue:
    """One dialogue as the model reads it; names: whom #Person1#, #Person2#, ... stand for, if it had names."""

    text: str
    names: list[str] = field(default_factory=list)
    is_plain: bool = False

    def with_names(self, summary: str) -> str:
        """The summary with names in place of #Person1# and so on."""

        def name(match: re.Match[str]) -> str:
            number = int(match[1]) if len(match[1]) < 5 else 0
            return self.names[number - 1] if 1 <= number <= len(self.names) else match[0]

        return PERSON.sub(name, summary)


def with_tags(whole: str) -> TaggedDialogue:
    """A dialogue with names as one with tags: "Anna: Hello." becomes "#Person1#: Hello."

    One that has tags stays as it is, and so does a text whose first line names no speaker. A line without a name
    belongs to the turn above it.
    """
    if TAGGED.search(whole):
        return TaggedDialogue(whole)
    lines = [line.strip() for line in whole.splitlines() if line.strip()]
    if not lines or not NAMED.match(lines[0]):
        return TaggedDialogue(whole, is_plain=True)
    names: dict[str, str] = {}
    turns: list[str] = []
    for line in lines:
        if match := NAMED.match(line):
            names.setdefault(match[1].casefold(), match[1])
            number = list(names).index(match[1].casefold()) + 1
            turns.append(f"#Person{number}#: {match[2]}".rstrip())
        else:
            turns[-1] += f" {line}"
    return TaggedDialogue("\n".join(turns), list(names.values()))
