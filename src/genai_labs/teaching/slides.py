"""A lab as slides and as a page for printing: both are single files that need no network."""

from __future__ import annotations

import copy
import os
import re
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from genai_labs.paths import ROOT

if TYPE_CHECKING:
    from nbformat import NotebookNode

REVEAL = ROOT / "configs" / "reveal"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
# Where installers put them on macOS and Windows, which are in no PATH.
PLACES = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
    "%ProgramFiles%/Google/Chrome/Application/chrome.exe",
    "%ProgramFiles(x86)%/Google/Chrome/Application/chrome.exe",
    "%LocalAppData%/Google/Chrome/Application/chrome.exe",
    "%ProgramFiles%/Microsoft/Edge/Application/msedge.exe",
    "%ProgramFiles(x86)%/Microsoft/Edge/Application/msedge.exe",
)
PRINT_SECONDS = 180  # a browser that has not printed by then never will

# nbconvert's own slides fetch reveal.js, jQuery, require.js and MathJax from the network. These fetch nothing: what is
# needed of reveal.js is written into the file, and the labs hold nothing that needs one of the others.
_SLIDES = """
{%- extends 'reveal/index.html.j2' -%}
{%- block html_head_js -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}{%- endblock -%}
{%- block footer_js -%}
<script>REVEAL_JS</script>
<script>
Reveal.initialize({controls: true, progress: true, hash: true, slideNumber: "c/t", transition: "none",
                   width: 1200, height: 760, margin: 0.02, center: false});
</script>
{%- endblock -%}
"""
_STYLE = """
.reveal .slides section { text-align: left; }
.reveal .slides > section > section { height: 100%; overflow-y: auto; }
.reveal h1, .reveal h2, .reveal h3 { text-transform: none; }
.reveal .jp-OutputArea img { max-width: 100%; }
.jp-CodeCell pre { font-size: 14px; }
.jp-OutputArea .jp-RenderedText pre { word-break: normal; overflow-wrap: anywhere; }
"""
_PAPER = """
.jp-OutputArea .jp-RenderedText pre { word-break: normal; overflow-wrap: anywhere; }
@media print {
  pre { white-space: pre-wrap !important; overflow-wrap: anywhere; }
  img, .jp-OutputArea-output > div { break-inside: avoid; }
}
"""


def sections(notebook: NotebookNode) -> NotebookNode:
    """A copy in which each `##` heading begins a column of slides, and each text below it a slide of that column.

    A cell in which a heading stands further down is cut before it. Code and what it shows stay with the text above.
    """
    from nbformat.v4 import new_markdown_cell

    made = copy.deepcopy(notebook)
    cells: list[NotebookNode] = []
    for cell in made.cells:
        if cell.cell_type == "markdown":
            cells += [
                new_markdown_cell(part, id=f"{cell.id}-{number}") for number, part in enumerate(_parts(cell.source))
            ]
        else:
            cells.append(cell)
    for place, cell in enumerate(cells):
        starts = cell.cell_type == "markdown" and re.match(r"##? ", cell.source)
        kind = "slide" if starts or place == 0 else "subslide" if cell.cell_type == "markdown" else "-"
        cell.metadata["slideshow"] = {"slide_type": kind}
    made.cells = cells
    return made


def _parts(text: str) -> list[str]:
    """A text, cut before each line that begins with `## ` and is not code."""
    parts, fenced = [""], False
    for line in text.splitlines():
        fenced ^= line.startswith("```")
        if line.startswith("## ") and not fenced and parts[-1].strip():
            parts.append("")
        parts[-1] += f"{line}\n"
    return [part.strip("\n") for part in parts]


def to_slides(notebook: NotebookNode, title: str) -> str:
    """The notebook as slides of reveal.js, in one page that needs no network."""
    from nbconvert import SlidesExporter

    reveal = {name: (REVEAL / name).read_text(encoding="utf-8") for name in ("reveal.js", "reveal.css", "white.css")}
    exporter = SlidesExporter(raw_template=_SLIDES, reveal_url_prefix="reveal", reveal_theme="white")
    page, _ = exporter.from_notebook_node(sections(notebook), resources={"metadata": {"name": title}})
    page = _inlined(str(page), "reveal.css", reveal["reveal.css"])
    page = _inlined(page, "theme/white.css", reveal["white.css"] + _STYLE)
    script = re.sub(r"^//# sourceMappingURL.*", "", reveal["reveal.js"], flags=re.MULTILINE)
    return page.replace("REVEAL_JS", script)


def _inlined(page: str, name: str, css: str) -> str:
    """The page with a style sheet of reveal.js written into it, where there was a link."""
    first, *rest = re.split(rf'<link [^>]*href="reveal/dist/{re.escape(name)}"[^>]*>', page)
    return f"{first}<style>{css}</style>{''.join(rest)}"


def to_paper(page: str) -> str:
    """A page of a notebook for printing: long lines of code are wrapped, and pictures and cards are not cut in two."""
    return page.replace("</head>", f"<style>{_PAPER}</style></head>", 1)


def find_chromium() -> str | None:
    """The path of a browser that prints without a window; None where there is none."""
    named = next(filter(None, map(shutil.which, BROWSERS)), None)
    return named or next((place for place in map(_filled_in, PLACES) if os.path.isfile(place)), None)


def _filled_in(place: str) -> str:
    """A path with the values of environment variables in place of %NAME%; "" where one of them is not set."""
    missing = [name for name in re.findall("%(.+?)%", place) if name not in os.environ]
    return "" if missing else re.sub("%(.+?)%", lambda name: os.environ[name[1]], place)


def print_page(page: Path, pdf: Path, browser: str) -> str:
    """Print an HTML page to a PDF file by a browser. Returns "", or why that did not work."""
    root = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with TemporaryDirectory(ignore_cleanup_errors=True) as profile:  # on Windows it may still hold a file
        command = [
            browser,
            "--headless",
            "--disable-gpu",
            "--disable-background-networking",
            f"--user-data-dir={profile}",
            "--no-pdf-header-footer",
            f"--print-to-pdf={pdf.resolve()}",
            *root,
            page.resolve().as_uri(),
        ]
        try:
            pdf.unlink(missing_ok=True)  # else one that was printed earlier would be taken for this one
            done: Any = subprocess.run(
                command, capture_output=True, encoding="utf-8", errors="replace", timeout=PRINT_SECONDS
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)[:200]
    if pdf.is_file() and pdf.read_bytes()[:5] == b"%PDF-":
        return ""
    return f"{Path(browser).name} ended with {done.returncode}: {done.stderr.strip()[-200:]}"
