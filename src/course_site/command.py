"""``python -m genai_labs site``: the course as a static site, with its models in a browser tab, in ``build/site``."""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from string import Template
from tempfile import TemporaryDirectory
from typing import NamedTuple

from course_site import adapters, checking, frame, lessons, pages, tab
from course_site.frame import Page
from genai_labs.errors import LabError
from genai_labs.inputs.helptext import plain
from genai_labs.inputs.options import writable_folder
from genai_labs.paths import BUILD
from genai_labs.system import files

# From npm, by the names that the page has for them; what ends in .gz is compressed here.
VENDORED = {
    "vendor/ort.mjs": "onnxruntime-web/dist/ort.wasm.bundle.min.mjs",
    "vendor/ort.wasm.gz": "onnxruntime-web/dist/ort-wasm-simd-threaded.wasm",
    "vendor/tokenizers.mjs": "@huggingface/tokenizers/dist/tokenizers.min.mjs",
}
COPIED = ("icon.svg", "licences.txt", *(f"src/{path.name}" for path in sorted((frame.SOURCE / "src").glob("*.js"))))
LOADED = ("index.html", "styles.css", "icon.svg", "sw.js", "vendor/", "model/", "src/")  # by a first visit to the tab
MADE = ("index.html", "pages.html", "sw.js")  # by which a site is known
FEWEST_PAGES = 12  # of a site that may be published
CARDS = {
    "notebooks/lab1_prompting.html": "Ask a model without an instruction, with one, with solved examples.",
    "notebooks/lab2_fine_tuning.html": "Train all its weights, then adapters; count what is gained and forgotten.",
    "notebooks/lab3_ppo_detox.html": "Make it kinder by reinforcement learning, and see a reward hacked.",
    "notebooks/week3_reasoning_and_retrieval.html": "Checked rewards, tools, notes, smaller models: more of week 3.",
    "lessons.html": "Every claim of the labs with its 95 % intervals, on five seeds.",
    "README.html": "Install the course and run the labs yourself: five minutes, no GPU.",
    "docs/architecture.html": "What lives where in the code, and what builds on what.",
    "docs/instructors.html": "Plans for a class, and what learners get wrong.",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Build the site and check it; what is in the folder is replaced only by a whole site."""
    args = make_parser().parse_args(argv)
    out = (args.out or BUILD / "site").resolve()
    check_replaceable(out)
    with files.faults_in_words(out), TemporaryDirectory(prefix="site-") as made:
        new = Path(made) / "site"
        write_pages(new, args.repository)
        if not args.pages_only:
            copy_vendored(install_packages(BUILD / "npm"), new)
            tab.write_tab(new, adapters.train_adapters(BUILD / "site-adapters"))
        write_start(new, not args.pages_only)
        write_offline(new)
        found = checking.check_site(new, FEWEST_PAGES, with_tab=not args.pages_only)
        if out.exists():
            shutil.rmtree(out)
        shutil.copytree(new, out)
    if not args.pages_only:
        print(f"A first visit to the tab loads {first_visit(out).whole / 1e6:.1f} MB, gzipped.")
    print(f"{found}\nThe site is in {out}. To look at it: python -m http.server --directory {out}")
    return 0


def make_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m genai_labs site", description=plain(__doc__))
    parser.add_argument("--out", type=writable_folder, metavar="DIR", help="where to write (default: build/site)")
    parser.add_argument("--repository", metavar="URL", help="where the code is, for links to files that are no pages")
    parser.add_argument("--pages-only", action="store_true", help="without the models, which need npm and ten minutes")
    return parser


def check_replaceable(out: Path) -> None:
    """Raise LabError where the folder holds anything but a site that this command made."""
    if out.is_dir() and any(out.iterdir()) and not all((out / name).is_file() for name in MADE):
        raise LabError(
            f"The site would take the place of all that is in {out}, and that is no site that this command made. "
            "Nothing was changed. Name a folder that is new or empty: --out DIR"
        )


def write_pages(out: Path, repository: str | None = None) -> None:
    """Write the pages to read, their pictures and their styles."""
    reading = pages.Reading(repository=repository)
    reading.read(pages.documents())
    shown = lessons.lessons_page()
    reading.pages[shown.address] = shown
    for page in (*reading.pages.values(), reading.contents()):
        write_page(out, page)
    for name in (*reading.pictures, *COPIED):
        source = (frame.SOURCE if name in COPIED else reading.root) / name
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, out / name)
    styles = (frame.SOURCE / "styles.css").read_text(encoding="utf-8") + pages.code_styles()
    (out / "styles.css").write_text(styles, encoding="utf-8")


def write_page(out: Path, page: Page) -> None:
    """Write one page where its address says."""
    path = out / page.address
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page.whole(), encoding="utf-8")


def write_start(out: Path, with_tab: bool) -> None:
    """Write the first page: the tab, or where it is left out, what there is to read. Its plan learns its size."""
    there = [(address, what) for address, what in CARDS.items() if (out / address).exists()]
    titles = {address: pages.title_of((out / address).read_text(encoding="utf-8")) for address, _ in there}
    items = "".join(f'<li><a href="{a}">{titles[a]}</a><p class="hint">{what}</p></li>\n' for a, what in there)
    cards = f'<ul class="links">\n{items}</ul>'
    if not with_tab:
        write_page(out, Page("index.html", "Generative AI labs", f"<h1>Generative AI labs</h1>\n{cards}", "tab"))
        return
    path = out / tab.FOLDER / "plan.json"
    loaded = sum((out / name).stat().st_size for name in ("vendor/ort.wasm.gz", tab.WEIGHTS_FILE))
    tab.write_json(path, json.loads(path.read_text(encoding="utf-8")) | {"bytes": loaded})
    content = Template((frame.SOURCE / "index.html").read_text(encoding="utf-8")).substitute(
        cards=cards, megabytes=f"{loaded / 1e6:.0f}"
    )
    write_page(
        out,
        Page("index.html", "A language model in this tab", content, "tab", frame.SCRIPTED, scripts=("src/main.js",)),
    )


def install_packages(folder: Path) -> Path:
    """What the page needs of npm, as site/package-lock.json pins it; the folder node_modules.

    Raises LabError where npm is missing or fails.
    """
    npm = shutil.which("npm")  # by its whole path, as it is npm.cmd on Windows, which no program finds by "npm"
    if npm is None:
        raise LabError(
            "The site needs npm, which comes with Node.js, for the engine that runs the models in the browser, and npm "
            "is not installed here. Install Node.js 20 or newer (https://nodejs.org), or build what there is to read "
            "alone: python -m genai_labs site --pages-only"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copyfile(frame.SOURCE / name, folder / name)
    words = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run([npm, *words], cwd=folder, capture_output=True, text=True, encoding="utf-8", errors="replace")
    if done.returncode:
        said = " ".join(done.stderr.split())[-400:]
        raise LabError(
            f"`npm {' '.join(words)}` ended with status {done.returncode} in {folder}: {said} Where there is no "
            "network, run the same command again when there is, or build what there is to read alone: --pages-only"
        )
    return folder / "node_modules"


def copy_vendored(packages: Path, out: Path) -> None:
    """Copy what comes from npm. The engine is compressed here, as not every host compresses it when it sends it."""
    (out / "vendor").mkdir(parents=True, exist_ok=True)
    for name, source in VENDORED.items():
        data = (packages / source).read_bytes()
        (out / name).write_bytes(gzip.compress(data, 9, mtime=0) if name.endswith(".gz") else data)


def write_offline(out: Path) -> None:
    """Write the service worker; its version is made of all files of the site."""
    names = sorted(str(path.relative_to(out).as_posix()) for path in out.rglob("*") if path.is_file())
    digest = hashlib.sha256()
    for name in names:
        digest.update(name.encode() + (out / name).read_bytes())
    worker = Template((frame.SOURCE / "sw.js").read_text(encoding="utf-8"))
    text = worker.substitute(VERSION=digest.hexdigest()[:12], FILES=json.dumps(names))
    (out / "sw.js").write_text(text, encoding="utf-8")


class Size(NamedTuple):
    """Bytes of a first visit to the tab, as a host that compresses sends them, by file."""

    of: dict[str, int]

    @property
    def whole(self) -> int:
        """All of them together."""
        return sum(self.of.values())


def first_visit(out: Path) -> Size:
    """What a first visit to the tab loads, every file gzipped."""
    names = sorted(str(path.relative_to(out).as_posix()) for path in out.rglob("*") if path.is_file())
    return Size({name: len(gzip.compress((out / name).read_bytes(), 9)) for name in names if name.startswith(LOADED)})
