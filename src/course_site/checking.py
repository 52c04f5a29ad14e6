"""Whether a site may be published: enough pages, links that lead somewhere, and no script but files of its own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from course_site.frame import addresses, is_outside, target
from genai_labs.errors import LabError

TAB = (
    "vendor/ort.mjs",
    "vendor/ort.wasm.gz",
    "vendor/tokenizers.mjs",
    "model/weights.bin.gz",
    "model/plan.json",
    "sw.js",
)
INLINE = re.compile(r"<script(?![^>]*\ssrc=)|\son[a-z]+\s*=\s*[\"']|(?:href|src)=\"javascript:", re.I)
AS_MARKUP = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function\b|createContextualFragment"
)
POLICY = re.compile(r'http-equiv="Content-Security-Policy" content="([^"]*)"')


@dataclass(frozen=True)
class Found:
    """What was counted."""

    pages: int
    links: int

    def __str__(self) -> str:
        return f"{self.pages} pages, {self.links} links within the site, all of which lead somewhere."


def check_site(out: Path, fewest: int, with_tab: bool = True) -> Found:
    """Count pages and links. Raises LabError, which names all that is wrong, where the site must not be published."""
    texts = {str(p.relative_to(out).as_posix()): p.read_text(encoding="utf-8") for p in sorted(out.rglob("*.html"))}
    wrong = [f"there are only {len(texts)} pages, and at least {fewest} are expected"] if len(texts) < fewest else []
    if with_tab:
        wrong += [f"{name} is missing" for name in TAB if not (out / name).is_file()]
    links = 0
    for address, text in texts.items():
        wrong += [f"{address}: {what}" for what in faults(text)]
        for named in addresses(text):
            if is_outside(named):
                continue
            links += 1
            found = target(address, named)
            if found.startswith("..") or not (out / found).is_file():
                wrong.append(f"{address} links to {named}, which is not there")
            elif "#" in named and found in texts and not has_anchor(texts[found], named.split("#")[1]):
                wrong.append(f"{address} links to {named}: that page has no such place")
    for path in sorted((out / "src").glob("*.js")):
        if match := AS_MARKUP.search(path.read_text(encoding="utf-8")):
            wrong.append(f"{path.name} uses {match[0]}: text could become markup")
    if wrong:
        raise LabError(
            "The site is not fit to be published:\n- " + "\n- ".join(wrong) + "\nMend that, and build it again."
        )
    return Found(len(texts), links)


def faults(text: str) -> list[str]:
    """What of a page's own must not be: a script in it, a policy that is missing or lets one in."""
    policy = POLICY.search(text)
    found = ["it has no content security policy"] if policy is None else []
    scripts = next((p for p in (policy[1] if policy else "").split(";") if p.strip().startswith("script-src")), "")
    if "'unsafe-inline'" in scripts or "'unsafe-eval'" in scripts:
        found.append("its policy lets scripts in that are no files of the site")
    if match := INLINE.search(text):
        found.append(f"a script stands in it: {match[0]}")
    return found


def has_anchor(text: str, name: str) -> bool:
    """Whether a page has a place of this name, or none is asked for."""
    return not name or f'id="{name}"' in text
