"""Makes docs/at_a_glance.png, the README's picture, from what Lab 3 shows: python docs/at_a_glance.py

It runs nothing: the summaries and the card are taken from the outputs that the notebook was saved with. Needs
Playwright (in requirements.txt) and Chromium.
"""

import re
import shutil
import sys
from pathlib import Path

import nbformat
from playwright.sync_api import sync_playwright

from genai_labs.course.runner import LAB_NOTEBOOKS
from genai_labs.loading.profiles import PROFILES
from genai_labs.paths import NOTEBOOKS
from genai_labs.rlhf import dialogues
from genai_labs.show.cards import FONT, escape
from genai_labs.show.texts import show_dialogue

WIDTH = 1180  # pixels of a page, drawn at twice that
COLUMN = "flex:1;border:1px solid #c4c9d0;border-radius:6px;padding:10px 14px;"
PAGE = """
<body style="margin:0;background:#f3f5f8;color:#1b1b1b;{font}">
<div id="picture" style="padding:18px;">
  <div style="display:flex;gap:18px;">
    <div style="flex:1.2;">{dialogue}</div>
    <div style="flex:1;display:flex;flex-direction:column;gap:12px;margin:6px 0;">
      <div style="{column}background:#fdf1ee;"><b>Its summary before training</b>
        <p style="margin:8px 0 0;">{before}</p></div>
      <div style="{column}background:#eef7f0;"><b>Its summary after training on rewards</b>
        <p style="margin:8px 0 0;">{after}</p></div>
      <div style="padding:0 14px;">{note}</div>
    </div>
  </div>
  {card}
</div>
"""
# True of the dialogue and the summaries above: look at them again when the notebook has been executed anew.
NOTE = (
    "The insult is gone, and the reproach (too slow) is reported rightly. What it says of Silas is not right: "
    "Silas was to be thanked. Scores hardly show that; the labs ask you to read."
)


def main() -> int:
    """Write the picture beside this file."""
    notebook = nbformat.read(NOTEBOOKS / LAB_NOTEBOOKS[3], as_version=4)
    texts = shown_by(notebook, '"after": summarize(run.model, shown)')["text/plain"]
    before, after = (re.search(rf"^{name}: (.*)$", texts, re.MULTILINE)[1] for name in ("before", "after"))  # type: ignore[index]
    cases = dialogues.evaluation_cases(*PROFILES["mini"].detox_cases)
    page = PAGE.format(
        font=FONT,
        column=COLUMN,
        dialogue=show_dialogue(next(case for case in cases if case.quarrel).dialogue).html,
        before=escape(before),
        after=re.sub(r"\*([^*]+)\*", r"<b>\1</b>", escape(after)),
        note=NOTE,
        card=shown_by(notebook, '"3.6"')["text/html"].replace("max-width:720px", "max-width:none"),
    )
    browser_path = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": WIDTH, "height": 600}, device_scale_factor=2)
        tab.set_content(page)
        tab.locator("#picture").screenshot(path=Path(__file__).with_suffix(".png"))
        browser.close()
    return 0


def shown_by(notebook: nbformat.NotebookNode, code: str) -> dict[str, str]:
    """The first output, by MIME type, of the cell that holds some code."""
    cell = next(cell for cell in notebook.cells if cell.cell_type == "code" and code in cell.source)
    return cell.outputs[0].data


if __name__ == "__main__":
    sys.exit(main())
