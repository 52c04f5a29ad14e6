"""The pages to read: the documents, what they link to, the labs as they ran, and a list of all of them."""

from __future__ import annotations

import html
import posixpath
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import nbformat
from markdown_it import MarkdownIt
from nbconvert import HTMLExporter
from pygments.formatters import HtmlFormatter

from course_site import drawing, frame
from course_site.frame import Page
from genai_labs.course.runner import LAB_NOTEBOOKS
from genai_labs.errors import LabError
from genai_labs.paths import ROOT

READ = (".md", ".ipynb")
START = "README.md"
ON_HOST = "../../"  # of the README: what the host keeps beside the code, such as the runs of its workflows
BADGE = re.compile(rf'<a [^>]*><img src="{re.escape(ON_HOST)}[^>]*></a>\s*')
SHELVES = {"": "Start", "notebooks": "Labs", "docs": "Documents", "results": "Results", "data": "Data and models"}
INTERVAL = re.compile(r"\[[-+\d.]+, [-+\d.]+\]|\([-+\d.]+ to [-+\d.]+\)")
DIAGRAM = re.compile(r'<pre><code class="language-mermaid">(.*?)</code></pre>', re.S)


class Reading:
    """Makes pages of files and of all files that these link to; addresses are those in the repository, ending in .html.

    repository: the address of the code on a host, such as https://github.com/NAME/REPOSITORY; what is not part of the
    site is linked to there, and not at all where it is None. pages: address to page; pictures: files to copy.
    """

    def __init__(self, root: Path = ROOT, repository: str | None = None) -> None:
        self.root, self.repository = root, repository
        self.pages: dict[str, Page] = {}
        self.pictures: set[str] = set()
        self._waiting: list[str] = []

    def read(self, names: Sequence[str]) -> None:
        """Make pages of these files, by their names from the root, and of what they link to.

        Raises LabError for a file that is not there or cannot be read.
        """
        self._waiting = list(names)
        while self._waiting:
            name = self._waiting.pop(0)
            if address(name) not in self.pages:
                self.pages[address(name)] = self._page(name)

    def _page(self, name: str) -> Page:
        path = self.root / name
        try:
            text = path.read_text(encoding="utf-8")
            content = notebook_html(text) if path.suffix == ".ipynb" else markdown_html(text)
        except (OSError, ValueError) as error:
            raise LabError(
                f"{name} cannot be made into a page of the site ({error}). Restore it with: git checkout -- {name}"
            ) from error
        content = self._follow(name, content)
        plain = html.unescape(title_of(content)) or name
        if path.suffix == ".ipynb":
            return Page(address(name), plain, content, "notebook", frame.NOTEBOOK)
        return Page(address(name), plain, content)

    def _follow(self, name: str, content: str) -> str:
        """The content with links to pages of the site; what it links to is to be made a page, too."""
        folder = posixpath.dirname(name)
        content = BADGE.sub("", content)  # it comes from the host, and a page loads nothing from elsewhere
        for source in re.findall(r'<img[^>]*\ssrc="([^"]*)"', content):
            if not frame.is_outside(source):
                self.pictures.add(posixpath.normpath(posixpath.join(folder, source)))

        def new(named: str) -> str | None:
            if frame.is_outside(named) or named.startswith("#"):
                return named
            path, sign, part = named.partition("#")
            within = posixpath.normpath(posixpath.join(folder, path))
            if within.endswith(READ) and (self.root / within).is_file():
                self._waiting.append(within)
                return address(path) + sign + part
            place = within.removeprefix(ON_HOST) if within.startswith(ON_HOST) else f"blob/main/{within}"
            return f"{self.repository}/{place}" if self.repository else None

        return frame.rewritten(content, new)

    def contents(self) -> Page:
        """A page that names all others."""
        shelves: dict[str, list[Page]] = {name: [] for name in SHELVES}
        for page in self.pages.values():
            shelves.setdefault(page.address.rpartition("/")[0].partition("/")[0], []).append(page)
        parts = ["<h1>All pages</h1>"]
        for shelf, pages in shelves.items():
            links = "".join(f'<li><a href="{p.address}">{html.escape(p.title)}</a></li>\n' for p in pages)
            parts.append(f"<h2>{html.escape(SHELVES.get(shelf, shelf))}</h2>\n<ul>\n{links}</ul>" if links else "")
        return Page("pages.html", "All pages", "\n".join(parts))


def title_of(content: str) -> str:
    """The first heading of a page, as HTML without tags; empty if there is none."""
    found = re.search(r"<h1[^>]*>(.*?)</h1>", content, re.S)
    return re.sub(r"<[^>]+>", "", found[1]).replace("¶", "").strip() if found else ""


def address(name: str) -> str:
    """The address of the page that a file becomes: ``docs/site.md`` gives ``docs/site.html``."""
    return posixpath.splitext(name)[0] + ".html"


def documents(root: Path = ROOT) -> list[str]:
    """The files that pages are made of first, by name: the README, the labs, everything in docs."""
    labs = [f"notebooks/{name}" for name in LAB_NOTEBOOKS.values()]
    return [START, *labs, *sorted(f"docs/{path.name}" for path in (root / "docs").glob("*.md"))]


def markdown_html(text: str) -> str:
    """A document as HTML: tables may be wider than the page, diagrams are drawn, HTML in it stays text."""
    made = MarkdownIt("commonmark", {"html": False}).enable("table").render(text).replace("<th></th>", "<td></td>")
    made = re.sub(r"<table>.*?</table>", _wide_table, made, flags=re.S)
    made = re.sub(
        r"<(h[1-6])>(.*?)</\1>", lambda head: f'<{head[1]} id="{anchor(head[2])}">{head[2]}</{head[1]}>', made
    )
    made = DIAGRAM.sub(
        lambda match: f'<div class="wide" tabindex="0">{drawing.draw_graph(html.unescape(match[1]))}</div>', made
    )
    return re.sub(r"(<pre><code.*?>)(.*?)(</code></pre>)", _lines_of_code, made, flags=re.S)


def _wide_table(table: re.Match[str]) -> str:
    """A table that may be wider than the page. Files' names in it break after a slash, and cells where they say so."""
    content = re.sub("<code>.*?</code>", lambda code: re.sub("(?<!<)/", "/<wbr>", code[0]), table[0])
    content = INTERVAL.sub(r'<span class="whole">\g<0></span>', content.replace("&lt;br&gt;", "<br>"))
    return f'<div class="wide" tabindex="0">{content}</div>'


def _lines_of_code(code: re.Match[str], with_styles: bool = False) -> str:
    """Each line by itself, so that where it wraps its rest can stand further in (with styles, than its start)."""
    lines = []
    for line in code[2].splitlines(keepends=True):
        text = re.sub("<[^>]+>", "", line)
        indented = len(text) - len(text.lstrip(" ")) if with_styles else 0
        style = f' style="--in:{indented}"' if indented else ""
        lines.append(f'<span class="line"{style}>{line}</span>')
    return code[1] + "".join(lines) + code[3]


def anchor(heading: str) -> str:
    """What a code host calls a heading in an address."""
    words = html.unescape(re.sub(r"<[^>]+>", "", heading)).lower()
    return re.sub(r"[^\w\- ]", "", words).strip().replace(" ", "-")


# What may scroll sideways is reached by keyboard: a card by itself, what is no card by what is around it.
CARD = r' style="[^"]*overflow-x:auto'
SCROLLS = rf'<div(?={CARD}|(?= class="output_html rendered_html)[^>]*>(?!<div{CARD}))'


def notebook_html(text: str) -> str:
    """A notebook as it was saved, as HTML, without a script.

    Raises ValueError where it is none, or would bring a script with it.
    """
    exporter = HTMLExporter(template_name="basic")
    made, _ = exporter.from_notebook_node(nbformat.reads(text, as_version=4))
    if re.search(r"<script|\son\w+=|javascript:", made, re.I):
        raise ValueError("its outputs hold a script")
    made = re.sub(r"<(h[1-6])([^>]*)>(.*?)<a class=\"anchor-link\".*?</a></\1>", r"<\1\2>\3</\1>", made, flags=re.S)
    made = re.sub(SCROLLS, r'<div tabindex="0"', made)
    by_line = partial(_lines_of_code, with_styles=True)
    return re.sub(r'(<div class="[^"]*highlight[^"]*"><pre>(?:<span></span>)?)(.*?)(</pre>)', by_line, made, flags=re.S)


def code_styles() -> str:
    """Colours of code, for light themes and dark ones."""
    light, dark = (HtmlFormatter(style=style).get_style_defs(".highlight") for style in ("default", "github-dark"))
    plain = "\n.highlight, .highlight .err { background: none; border: 0; }\n"
    return f"{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}{plain}"
