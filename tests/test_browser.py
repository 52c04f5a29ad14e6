"""The labs as a learner runs them: JupyterLab in a real browser, with progress bars and without the variables of tests.

One server and one page serve all tests, in the order of the file. Screenshots go to build/screens. Without a browser
(Chromium, Chrome) or the package `playwright` the tests are skipped.
"""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from genai_labs.course.execution import HEADLESS
from genai_labs.course.notebooks import WIDGET
from genai_labs.course.runner import EVERY_NOTEBOOK, LAB_NOTEBOOKS
from genai_labs.course.working_copy import read_notebook
from genai_labs.paths import BUILD, ROOT
from genai_labs.system.progress import MARK
from tests.browsers import find_browser

BROWSER = find_browser()
if BROWSER is None:
    pytest.skip("there is no browser (Chromium or Chrome), or no playwright to drive it", allow_module_level=True)
from playwright import sync_api  # noqa: E402

SCREENS = BUILD / "screens"
SCREEN: sync_api.ViewportSize = {"width": 1280, "height": 900}
MINUTES = 15  # a lab may take on a slow machine
FLAGS = ("--disable-background-networking", "--disable-quic", "--no-first-run", "--disable-component-update")

# What others' code writes into the browser's console as an error, and why that is none of the labs' business.
FOREIGN = {
    r"Canceled future for (debug|create_subshell)_request": "JupyterLab asked something of a kernel that has ended",
}
# JupyterLab asks "File Changed" where a slow machine saves by itself and by hand at once. Nobody else writes the files.
OVERWRITE = """
setInterval(() => document.querySelectorAll("dialog.jp-Dialog").forEach(dialog => {
    if (dialog.textContent.includes("has changed on disk since the last time"))
        [...dialog.querySelectorAll("button")].find(button => button.textContent.includes("Overwrite")).click()
}), 500)
"""


@dataclass
class Learner:
    """A folder with the course, JupyterLab serving it, and the page of a browser that shows it."""

    course: Path
    page: Any
    complaints: list[str] = field(default_factory=list)  # errors in the console that are not foreign, and the like
    executed: int = 0  # cells that were run one by one since the kernel started

    def copy_of(self, lab: int) -> Path:
        return self.course / "work" / LAB_NOTEBOOKS[lab]

    def choose(self, *names: str) -> None:
        """Choose an entry of the menus, such as "Run", "Run All Cells"."""
        bar = self.page.locator(".lm-MenuBar-item, .lm-MenuBar-itemLabel")
        bar.get_by_text(names[0], exact=True).first.click()
        for name in names[1:]:
            self.page.locator(".lm-Menu-itemLabel").get_by_text(re.compile(f"^{re.escape(name)}…?$")).last.click()

    def open(self, lab: int) -> None:
        """Double click on the lab in the file browser."""
        self.page.locator(".jp-DirListing-item").filter(has_text=LAB_NOTEBOOKS[lab]).dblclick()
        self.wait_until_open()

    def wait_until_open(self) -> None:
        """Wait for the notebook in front and its kernel, which says its version: that marks the file as changed."""
        self.page.locator(".jp-Notebook:visible .jp-Cell").first.wait_for()
        self.page.locator(".jp-NotebookPanel:visible .jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for()

    def close(self) -> None:
        """Save the notebook that is in front and close it."""
        self.save()
        self.choose("File", "Close Tab")
        none = self.page.locator("body:not(:has(.jp-NotebookPanel))")
        ask = self.page.locator(".jp-Dialog").filter(has_text="Save your work")
        none.or_(ask).wait_for(state="attached")
        if (
            ask.count()
        ):  # a kernel writes into the notebook when it is ready and when it ends, now and then after saving
            ask.get_by_role("button", name="Save", exact=True).click()
        none.wait_for(state="attached")

    def run_all(self) -> None:
        """Choose "Run All Cells", and once more, as a person does, where nothing begins (seen twice, on a slow day)."""
        begun = self.page.locator(".jp-Notebook:visible .jp-InputPrompt").get_by_text(re.compile(r"\[(\*|\d+)\]:"))
        for attempt in range(3):
            self.choose("Run", "Run All Cells")
            try:
                begun.first.wait_for(timeout=20_000)
                return
            except sync_api.TimeoutError:
                print(f"nothing began after {attempt + 1} times Run All Cells: {self.where_it_is()}")
        raise AssertionError(f"no cell begins to run: {self.where_it_is()}")

    def shut_down(self) -> None:
        """End the notebook's kernel, which gives its memory back."""
        self.choose("Kernel", "Shut Down Kernel")
        self.page.locator(".jp-NotebookPanel:visible .jp-Toolbar").get_by_text("No Kernel").wait_for()

    def save(self) -> None:
        clean = self.page.locator(".lm-TabBar-tab.jp-mod-current:not(.jp-mod-dirty)").first
        for _ in range(3):  # what a kernel writes into the notebook after it was saved is saved again
            with self.page.expect_response(
                lambda answer: answer.request.method == "PUT" and "/api/contents/" in answer.url
            ):
                self.choose("File", "Save Notebook")
            with contextlib.suppress(sync_api.TimeoutError):
                return clean.wait_for(timeout=10_000)
        raise AssertionError(f"the notebook stays changed: {self.where_it_is()}")

    def wait_until_run(self, count: int) -> list[float]:
        """Wait until the last of `count` code cells has its number. Returns how far the bars seen meanwhile were."""
        last = self.cell(count - 1).locator(".jp-InputPrompt").get_by_text(f"[{count}]:", exact=True)
        idle = self.page.locator(".jp-NotebookPanel:visible .jp-Notebook-ExecutionIndicator[data-status=idle]")
        seen: list[float] = []
        began = worked = time.monotonic()
        while not last.count():
            now = time.monotonic()
            worked = worked if idle.count() else now
            assert now < began + 60 * MINUTES, (
                f"the lab is not at its end after {MINUTES} minutes: {self.where_it_is()}"
            )
            assert now < worked + 60, f"the kernel has had nothing to do for a minute: {self.where_it_is()}"
            seen += self.page.evaluate("[...document.querySelectorAll('.jp-OutputArea progress')].map(x => x.value)")
            self.page.wait_for_timeout(200)
        return seen

    def cell(self, place: int) -> Any:
        """A code cell of the notebook in front, by its place among them, from 0 on."""
        return self.page.locator(".jp-Notebook:visible .jp-CodeCell").nth(place)

    def run_cell(self, place: int) -> str:
        """Press Ctrl-Enter in a cell that was clicked into; what it shows, as text, when it has run."""
        self.executed += 1
        prompt = self.cell(place).locator(".jp-InputPrompt")
        for _ in range(3):  # once more, as a person does, where nothing begins: see run_all
            self.page.keyboard.press("Control+Enter")
            with contextlib.suppress(sync_api.TimeoutError):
                prompt.get_by_text(re.compile(rf"\[(\*|{self.executed})\]:")).wait_for(timeout=10_000)
                break
            print(f"nothing began in cell {place}: {self.where_it_is()}")
        prompt.get_by_text(f"[{self.executed}]:", exact=True).wait_for(timeout=180_000)
        return str(self.cell(place).locator(".jp-OutputArea").first.inner_text())

    def write_over(self, place: int, words: str, new: str) -> None:
        """Mark words of a line of a cell by keyboard, as a person does, and type others in their place."""
        line = self.cell(place).locator(".cm-line").filter(has_text=words).first
        line.click()
        start, length = line.inner_text().index(words), len(words)
        for key, times in (("Home", 2), ("ArrowRight", start), ("Shift+ArrowRight", length)):
            for _ in range(times):  # the second Home goes in front of what indents the line
                self.page.keyboard.press(key)
        self.page.keyboard.type(new)
        assert new in self.cell(place).locator(".cm-content").inner_text()

    def where_it_is(self) -> str:
        """What cells, kernel, dialogs and the machine's load say; a picture goes to build/screens."""
        SCREENS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENS / "late.png")
        numbers = self.page.locator(".jp-Notebook:visible .jp-InputPrompt").all_inner_texts()
        asked = self.page.locator("dialog.jp-Dialog").all_inner_texts()
        status = self.page.locator(".jp-NotebookPanel:visible .jp-Notebook-ExecutionIndicator")
        kernel = status.evaluate_all("all => all.map(x => x.dataset.status)")
        shown = f"{' '.join(filter(None, numbers))}; kernel {kernel}; dialogs {asked}"
        return f"{shown}; load {os.getloadavg()}; errors {self.complaints}"


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository as it is now, as somebody who cloned it has it."""
    folder = tmp_path_factory.mktemp("course")
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True, text=True).stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    git(folder, "init", "-q")
    git(folder, "add", "--all")
    git(folder, "-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-q", "-m", "The course")
    return folder


def git(folder: Path, *line: str) -> str:
    return subprocess.run(["git", *line], cwd=folder, capture_output=True, check=True, text=True).stdout


@pytest.fixture(scope="module")
def address(course: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`lab` runs; the address that it printed."""
    own = tmp_path_factory.mktemp("jupyter")
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("GENAI_LABS", "HF_"))}
    environment = {
        **{name: value for name, value in plain.items() if name not in HEADLESS},
        "PYTHONPATH": str(course / "src"),
        **{f"JUPYTER_{kind}_DIR": str(own / kind) for kind in ("CONFIG", "DATA", "RUNTIME")},
    }
    root = ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    line = [sys.executable, "-m", "genai_labs", "lab", "--", "--no-browser", "--ip=127.0.0.1", "--port=0", *root]
    with (own / "log").open("w", encoding="utf-8") as log:
        server = subprocess.Popen(line, cwd=course, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield printed_address(own / "log", server)
    finally:
        server.terminate()
        server.wait(60)


def printed_address(log: Path, server: "subprocess.Popen[bytes]") -> str:
    end = time.monotonic() + 120
    while time.monotonic() < end and server.poll() is None:
        if found := re.search(r"http://127\.0\.0\.1:\d+/\S+", log.read_text(encoding="utf-8")):
            return found[0]
        time.sleep(0.2)
    raise AssertionError(log.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def learner(course: Path, address: str) -> Iterator[Learner]:
    flags = [*FLAGS, *(["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else [])]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=flags)
        page = browser.new_page(viewport=SCREEN)
        made = Learner(course, page)
        page.add_init_script(OVERWRITE)
        page.on("console", lambda message: listen(made, message.type, message.text))
        page.on("pageerror", lambda error: listen(made, "error", str(error)))
        page.on("request", lambda request: watch(made, request.url))
        page.goto(address)
        page.locator(".jp-NotebookPanel").get_by_role("heading", name="Lab 1").wait_for(timeout=120_000)
        made.wait_until_open()
        yield made
        browser.close()


def listen(learner: Learner, kind: str, text: str) -> None:
    if kind == "error" and not any(re.search(foreign, text) for foreign in FOREIGN):
        learner.complaints.append(text)


def watch(learner: Learner, address: str) -> None:
    if address.startswith(("http", "ws")) and urlsplit(address).hostname != "127.0.0.1":
        learner.complaints.append(f"the page asks the network for {address}")


def test_the_printed_address_opens_the_lab_and_its_link_the_model_card(learner: Learner) -> None:
    page = learner.page
    assert sorted(page.locator(".jp-DirListing-itemText").all_inner_texts()) == sorted(EVERY_NOTEBOOK.values())
    page.locator(".jp-Notebook").get_by_role("link", name="model card").first.click()
    page.locator(".jp-FileEditor:visible, .jp-MarkdownViewer:visible").get_by_text("t5-reader").first.wait_for()
    page.locator(".lm-TabBar-tab.lm-mod-current").filter(has_text="README.md").wait_for()
    learner.choose("File", "Close Tab")
    learner.close()
    assert not learner.complaints


# Cells of Lab 1 that are worked on below, by their ids; those in between only make what these need.
WORKED_ON = {
    "imports": "lab1-001",
    "model": "lab1-003",
    "playground": "lab1-play-first-code",
    "exercise": "lab1-ex-bytes-code",
    "baselines": "lab1-015",
    "guess": "lab1-predict-1-1",
    "texts": "lab1-023",
    "lesson": "lab1-025",
    "guesses": "lab1-predictions-code",
    "quiz": "lab1-quiz-code",
}
PLACE = {name: place for place, name in enumerate(WORKED_ON)}


@pytest.fixture
def started(learner: Learner) -> Iterator[Learner]:
    """A notebook of the learner's own in work/, with these cells and the texts above them; the first two have run."""
    whole = read_notebook(learner.course / "notebooks" / LAB_NOTEBOOKS[1])
    cells: list[dict[str, Any]] = []
    for above, cell in zip([{}, *whole["cells"]], whole["cells"], strict=False):
        if cell["id"] in WORKED_ON.values():
            cells += [above] if above.get("cell_type") == "markdown" else []
            cells.append({**cell, "outputs": [], "execution_count": None})
    path = learner.course / "work" / "mine.ipynb"
    path.write_text(json.dumps({**whole, "cells": cells}), encoding="utf-8")
    if learner.page.locator(".jp-Notebook:visible").count():  # Lab 1, which the printed address opens
        learner.close()
    learner.page.locator(".jp-DirListing-item").filter(has_text=path.name).dblclick()
    learner.wait_until_open()
    learner.executed = 0
    for name in ("imports", "model"):
        work_on(learner, name)
    yield learner
    learner.shut_down()
    learner.close()
    path.unlink()


def work_on(learner: Learner, name: str, words: str = "", new: str = "") -> str:
    """Go to a cell, type ``new`` over ``words`` where they are given, and run it; what it shows."""
    learner.cell(PLACE[name]).locator(".cm-line").first.click()
    if words:
        learner.write_over(PLACE[name], words, new)
    shown = learner.run_cell(PLACE[name])
    learner.cell(PLACE[name]).scroll_into_view_if_needed()
    learner.page.wait_for_timeout(300)
    SCREENS.mkdir(parents=True, exist_ok=True)
    learner.page.screenshot(path=SCREENS / f"learner-{learner.executed:02}-{name}.png")
    return shown


def guess_in_field(learner: Learner, typed: str, answer: str) -> None:
    """Type into the field that a cell for a guess shows, press Enter, and wait until it answers so."""
    cell = learner.cell(PLACE["guess"])
    cell.locator("input").fill(typed)
    cell.locator("input").press("Enter")
    cell.get_by_text(answer).wait_for()
    learner.page.screenshot(path=SCREENS / f"learner-{learner.executed:02}-guess-{typed}.png")


def written(shown: str) -> str:
    """The summary in what the playground shows."""
    return shown.split("Written:")[1].strip().splitlines()[0]


def test_a_learner_guesses_solves_and_plays_in_the_browser(started: Learner) -> None:
    first = work_on(started, "playground")
    assert written(first).startswith("Anna ")
    assert "greedy decoding" in first
    named = work_on(started, "playground", "Anna: Four, at", "Anna: Nine, at")
    assert "Nine" in named.split("Written:")[0]
    changed = "dialogue=mine, temperature=1.5, seed=3"
    sampled = work_on(started, "playground", "dialogue=mine", changed)
    assert "temperature 1.5, top-k off, top-p 1, seed 3" in sampled
    assert written(sampled) != written(named)
    refused = work_on(started, "playground", "temperature=1.5", "temperature=-1")
    assert refused.splitlines()[0].startswith("In line 11 of this cell:"), "words, and no traceback"
    assert "temperature is -1, and has to be a number from 0 on. Change it." in refused
    assert written(work_on(started, "playground", changed.replace("1.5", "-1"), "dialogue=mine")) == written(named)

    assert work_on(started, "exercise").startswith("Not yet: the function gives back nothing so far.")
    wrong = work_on(started, "exercise", "...", "return 4 * parameters")
    assert wrong.startswith("Not yet: ")
    assert "these are the weights alone" in wrong
    right = work_on(started, "exercise", "4 * parameters", "4 * parameters + 12 * trained")
    assert right.startswith("Right: ")

    assert "1.1: your guess, before you run what follows" in work_on(started, "guess")
    guess_in_field(started, "abc", "which is no number")
    guess_in_field(started, "0,9", "Your guess of 0.9 is noted.")
    assert not started.cell(PLACE["guess"]).locator("input").count(), "what was noted stands in place of the field"
    for name in ("baselines", "texts"):
        work_on(started, name)
    assert re.search(r"Your guess: 0\.900, too (low|high)|Your guess: 0\.900", work_on(started, "lesson"))
    assert "1 guess, yours: " in work_on(started, "guesses")
    quiz = work_on(started, "quiz", "[None] * 5", '["a", "b", "c", "d", None]')
    assert re.match(r"\d of 5 right; not answered yet: 5\.", quiz)

    restart(started, len(PLACE))  # which runs each cell as it stands now
    for name, words in (("exercise", "Right: "), ("lesson", "The guess of a naive reader"), ("quiz", "of 5 right")):
        started.cell(PLACE[name]).scroll_into_view_if_needed()
        sync_api.expect(started.cell(PLACE[name]).locator(".jp-OutputArea").first).to_contain_text(words)
    assert not started.complaints


# The long labs are left to the slow tests, so that all others end within 45 minutes.
@pytest.mark.parametrize("lab", [n if n == 1 else pytest.param(n, marks=pytest.mark.slow) for n in LAB_NOTEBOOKS])
def test_a_lab_runs_to_its_end_and_is_found_again_as_it_was_left(learner: Learner, lab: int) -> None:
    work_through(learner, lab, again=False)


@pytest.mark.slow
@pytest.mark.parametrize("lab", LAB_NOTEBOOKS)
def test_a_restarted_lab_goes_on_from_the_trainings_that_it_has_finished(learner: Learner, lab: int) -> None:
    if learner.page.locator(".jp-Notebook:visible").count():  # Lab 1, which the printed address opens
        learner.close()
    work_through(learner, lab, again=True)


def work_through(learner: Learner, lab: int, again: bool) -> None:
    """Open the lab, run it, close it, open it again and look at it; ``again``: restart it and run it once more."""
    blank = read_notebook(learner.copy_of(lab))
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in blank["cells"])
    learner.open(lab)
    learner.run_all()
    bars = learner.wait_until_run(sum(cell["cell_type"] == "code" for cell in blank["cells"]))
    assert len(set(bars)) > 5, f"no bar moved: {sorted(set(bars))}"

    learner.close()
    check_saved(learner, lab)
    learner.open(lab)
    take_screenshots(learner, f"lab{lab}")
    check_shown(learner, lab)
    if again:
        restart(learner, sum(cell["cell_type"] == "code" for cell in blank["cells"]))
    learner.shut_down()
    learner.close()
    check_saved(learner, lab, again)
    assert not learner.complaints
    assert git(learner.course, "status", "--porcelain") == ""


def restart(learner: Learner, cells: int) -> None:
    """Choose "Restart Kernel and Run All Cells" and wait until as many code cells have run."""
    learner.choose("Kernel", "Restart Kernel and Run All Cells")
    learner.page.locator(".jp-Dialog-button.jp-mod-accept").click()
    learner.page.locator(".jp-InputPrompt").get_by_text("[*]:", exact=True).first.wait_for()
    learner.wait_until_run(cells)


def check_saved(learner: Learner, lab: int, again: bool = False) -> None:
    """The file holds what the committed one shows, cell by cell, and nothing that only a running kernel shows.

    again: it has run twice, so that a cell may also say that its training was finished before.
    """
    saved, committed = (
        read_notebook(folder / LAB_NOTEBOOKS[lab]) for folder in (learner.course / "work", learner.course / "notebooks")
    )
    for mine, theirs in zip(saved["cells"], committed["cells"], strict=True):
        if again and "This training was finished before" in json.dumps(mine):
            continue
        assert kinds(mine) == kinds(theirs), mine["source"]
        assert mine.get("execution_count") == theirs.get("execution_count")
    assert not any(word in json.dumps(saved) for word in (MARK, WIDGET, '"widgets"'))


def check_shown(learner: Learner, lab: int) -> None:
    """Every card and plot of the file is in the page."""
    outputs = [output for cell in read_notebook(learner.copy_of(lab))["cells"] for output in cell.get("outputs", [])]
    formats = [key for output in outputs for key in output.get("data", {})]
    notebook = learner.page.locator(".jp-Notebook:visible")
    cards = notebook.locator(".jp-OutputArea-output.jp-RenderedHTML")
    plots = notebook.locator(".jp-OutputArea-output.jp-RenderedImage img")
    assert formats.count("text/html") > 0 < formats.count("image/png")
    sync_api.expect(cards).to_have_count(formats.count("text/html"), timeout=30_000)
    sync_api.expect(plots).to_have_count(formats.count("image/png"), timeout=30_000)
    assert all(plots.evaluate_all("all => all.map(x => x.naturalWidth > 0)"))


def kinds(cell: dict[str, Any]) -> list[tuple[str, Any]]:
    """What a cell shows: errors and streams by name, cards and plots by their formats."""
    shown = [
        (output["output_type"], output.get("name") or output.get("ename") or sorted(output["data"]))
        for output in cell.get("outputs", [])
    ]
    return [kind for kind, _ in groupby(shown)]  # what is printed comes in pieces, of whatever size


def take_screenshots(learner: Learner, name: str) -> None:
    """The whole notebook in both themes, a screen at a time; what it shows is in the page."""
    page = learner.page
    SCREENS.mkdir(parents=True, exist_ok=True)
    page.set_viewport_size({"width": 1280, "height": 1800})
    for theme in ("Light", "Dark"):
        learner.choose("Settings", "Theme", f"JupyterLab {theme}")
        page.locator(f"body[data-jp-theme-name='JupyterLab {theme}']").wait_for(state="attached")
        for old in SCREENS.glob(f"{name}-{theme.lower()}-*.png"):
            old.unlink()
        for number, _ in enumerate(scroll(learner), start=1):
            page.screenshot(path=SCREENS / f"{name}-{theme.lower()}-{number:02}.png")
    learner.choose("Settings", "Theme", "JupyterLab Light")
    page.set_viewport_size(SCREEN)


def scroll(learner: Learner) -> Iterator[None]:
    panel = learner.page.locator(".jp-NotebookPanel:visible .jp-WindowedPanel-outer")
    panel.evaluate("panel => panel.scrollTo(0, 0)")
    while True:
        learner.page.wait_for_timeout(300)
        assert not learner.page.get_by_text("Error displaying widget").count()
        yield
        before, after = panel.evaluate(
            "panel => [panel.scrollTop, (panel.scrollBy(0, panel.clientHeight - 40), panel.scrollTop)]"
        )
        if before == after:
            return
