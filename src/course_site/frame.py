"""The frame around every page: its head, its policy, the way to the other pages; and which addresses a page names."""

from __future__ import annotations

import html
import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from string import Template

from genai_labs.paths import ROOT

SOURCE = ROOT / "site"
# Nothing but the site itself may be asked for anything. Weights are computed with in WebAssembly, in a worker.
SCRIPTED = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'; "
    "style-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'"
)
STILL = "default-src 'none'; style-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'"
# Cards in the saved outputs of notebooks bring their styles with them.
NOTEBOOK = STILL.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")

NAVIGATION = {
    "Try it": "index.html",
    "Lab 1": "notebooks/lab1_prompting.html",
    "Lab 2": "notebooks/lab2_fine_tuning.html",
    "Lab 3": "notebooks/lab3_ppo_detox.html",
    "Lessons": "lessons.html",
    "How it is built": "docs/architecture.html",
    "All pages": "pages.html",
}
ATTRIBUTE = re.compile(r'\b(href|src)="([^"]*)"')


@dataclass(frozen=True)
class Page:
    """A page of the site: its address in it, such as ``docs/site.html``, its title and what stands in it, as HTML."""

    address: str
    title: str
    content: str
    kind: str = "text"  # a class of its main part
    policy: str = STILL
    description: str = "Three labs on language models that measure what they claim."
    scripts: tuple[str, ...] = field(default=())

    def whole(self) -> str:
        """The page as a file holds it."""
        root = "../" * self.address.count("/")
        head = "".join(f'<script type="module" src="{root}{name}"></script>\n' for name in self.scripts)
        return Template((SOURCE / "page.html").read_text(encoding="utf-8")).substitute(
            policy=html.escape(self.policy, quote=False),
            title=html.escape(self.title),
            description=html.escape(self.description),
            root=root,
            head=head,
            navigation=self._navigation(root),
            kind=self.kind,
            content=self.content,
        )

    def _navigation(self, root: str) -> str:
        links = []
        for name, address in NAVIGATION.items():
            here = ' aria-current="page"' if address == self.address else ""
            links.append(f'<a href="{root}{address}"{here}>{html.escape(name)}</a>\n')
        return "".join(links)


def addresses(content: str) -> list[str]:
    """What the links and pictures of some HTML name, as it stands there."""
    return [html.unescape(match[2]) for match in ATTRIBUTE.finditer(content)]


def is_outside(address: str) -> bool:
    """Whether an address leads out of the site, or is data."""
    return bool(re.match(r"[a-z][a-z0-9+.-]*:", address)) or address.startswith("//")


def target(address: str, named: str) -> str:
    """The address in the site that a page at ``address`` means by ``named``, without what follows # or ?."""
    path = re.split(r"[#?]", named)[0]
    return posixpath.normpath(posixpath.join(posixpath.dirname(address), path)) if path else address


def rewritten(content: str, new: Callable[[str], str | None]) -> str:
    """HTML with other addresses; where ``new`` gives None, the link becomes plain text."""

    def link(match: re.Match[str]) -> str:
        made = new(html.unescape(match["address"]))
        if made is None:
            return match["text"]
        return f'<a{match["before"]}href="{html.escape(made)}"{match["after"]}>{match["text"]}</a>'

    return re.sub(
        r'<a(?P<before>[^>]*?\s)href="(?P<address>[^"]*)"(?P<after>[^>]*)>(?P<text>.*?)</a>', link, content, flags=re.S
    )
