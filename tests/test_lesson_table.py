"""Lessons of one cell stand in one table: in text and HTML, on a labelled scale for each unit, in every theme."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from nbval.plugin import get_sanitize_patterns

from genai_labs.paths import ROOT
from genai_labs.show import predictions
from genai_labs.show.cards import Card
from genai_labs.show.lesson_cards import Lesson
from genai_labs.show.lesson_table import lessons_card
from genai_labs.show.lessons import lesson, open_question
from genai_labs.show.predictions import predict

BASE = np.random.default_rng(0).random(100) / 2
NOISE = np.random.default_rng(1).normal(0, 0.02, 100)
CLAIM = "A claim <b>of more</b> than sixty letters, which stands in the text fallback to its very last word"
CELL = """
print("before")
lesson("1.1", "First.", a + 0.1, a, metric="content F1")
lesson("1.2", "Second.", a - 0.1, a, metric="content F1", expect="lower")
print("after")
"""


@pytest.fixture(autouse=True)
def nothing_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENAI_LABS_OUT", str(tmp_path))
    monkeypatch.setattr(predictions, "_guesses", {})
    monkeypatch.setattr(predictions, "_met", {})


@pytest.fixture
def shell() -> Iterator[InteractiveShell]:
    found = InteractiveShell.instance()
    found.user_ns.update(lesson=lesson, a=BASE + NOISE)
    yield found
    InteractiveShell.clear_instance()


def made(shift: float, id: str = "1.1", **settings: Any) -> Lesson:
    chosen: dict[str, Any] = {"metric": "content F1", "at_least": 0.05} | settings
    return lesson(id, CLAIM, BASE + shift + NOISE, BASE, show=False, **chosen)


def asked(shift: float) -> Lesson:
    answers = ("The first", "The second")
    scores = BASE + shift + NOISE - NOISE.mean()
    return open_question("1.3", "Which?", scores, BASE, answers=answers, metric="content F1", show=False, varies=True)


def compared(shown: Card) -> list[str]:
    """What is left for the comparison of saved outputs."""
    texts = [shown.text, shown.html]
    for regex, replacement in get_sanitize_patterns((ROOT / "tests" / "nbval_sanitize.cfg").read_text("utf-8")):
        texts = [re.sub(regex, replacement, text) for text in texts]
    return texts


def test_lessons_of_one_cell_are_one_output_below_the_others(shell: InteractiveShell) -> None:
    with capture_output() as captured:
        shell.run_cell(CELL, store_history=True)
    assert captured.stdout == "before\nafter\n"
    (table,) = captured.outputs
    assert set(table.data) == {"text/plain", "text/html"}
    assert [id in table.data["text/html"] for id in ("Lesson 1.1", "Lesson 1.2")] == [True, True]
    with capture_output() as later:
        shell.run_cell('lesson("1.4", "Third.", a + 0.1, metric="m");', store_history=True)
    assert later.outputs[0].data["text/plain"].startswith("Lesson 1.4: holds")


def test_what_was_measured_before_a_cell_failed_is_shown(shell: InteractiveShell) -> None:
    with capture_output() as captured:
        shell.run_cell(CELL + "1 / 0", store_history=True)
    assert "Lesson 1.2" in captured.outputs[-1].data["text/plain"]


def test_the_text_says_all_and_cuts_no_claim() -> None:
    predict("1.2", 0.5, naive=0.0)
    text = lessons_card([made(0.1), made(0.2, "1.2"), asked(0.1)]).text
    assert text.count(CLAIM) == 2
    assert text.count("content F1") == 1
    for part in ("Lesson 1.1: holds", "Lesson 1.2: holds", "Open question 1.3: higher", "Your guess: 0.500, too high."):
        assert part in text
    assert re.search(
        r"\+0\.\d{3} \(0\.\d{3} against 0\.\d{3}\), 95 % interval \[\+0\.\d{3}, \+0\.\d{3}\], n = 100", text
    )
    assert text.count("the last digits depend on the machine") == 1


def test_one_unit_has_one_labelled_scale_and_two_units_have_two() -> None:
    same = lessons_card([made(0.1), made(0.2, "1.2")])
    assert same.html.count("content F1") == 1
    assert same.html.count("text-align:center;") >= 4  # the name of the axis, and at least three numbers along it
    assert same.html.count("<table") == 1
    both = lessons_card([made(0.1), made(1.5, "1.2", metric="how much", unit="logits")])
    assert both.html.count("<table") == 2
    assert "how much. " not in same.html
    assert "how much." in both.html


def test_equal_effects_of_two_lessons_stand_below_each_other_and_larger_ones_further_right() -> None:
    def dots(*shifts: float) -> list[int]:
        table = lessons_card([made(shift, f"1.{n}") for n, shift in enumerate(shifts)])
        return [int(x) for x in re.findall(r"left:(\d+)%;margin-left:-6px", table.html)]

    assert len(set(dots(0.1, 0.1))) == 1
    first, second, third = dots(0.1, 0.3, 0.5)
    assert third - second == pytest.approx(second - first, abs=1)
    assert second - first > 10


def test_intervals_are_not_broken_and_text_is_escaped() -> None:
    html = lessons_card([made(0.1), made(0.2, "1.2")]).html
    assert len(re.findall(r"white-space:nowrap;\">\[\+0", html)) == 2
    assert "&lt;b&gt;of more" in html


def test_every_cell_brings_text_colours_for_light_and_dark() -> None:
    html = lessons_card([made(0.1), made(0.2, "1.2"), asked(0.0)]).html
    for style in re.findall(r"<t[dh] style=\"([^\"]*)\"", html):
        assert re.search(r"(?<![\w-])color:var\(--jp-[\w-]+,#[0-9a-f]{6}\)", style)
    assert "background:var(--jp-layout-color1,#ffffff)" in html


def test_numbers_that_vary_are_passed_over_and_verdicts_are_not() -> None:
    def shown(shift: float, more: float = 0.1, **settings: Any) -> list[str]:
        return compared(lessons_card([made(shift, varies=True, **settings), made(more, "1.2")]))

    assert shown(0.1) == shown(0.103)
    assert shown(0.1) != shown(-0.1)
    assert shown(0.1) != shown(0.1, 0.103)
    assert shown(0.1) != shown(0.1, at_least=0.06)


def test_the_answer_to_an_open_question_is_passed_over() -> None:
    first, second, third = (compared(lessons_card([made(0.1), asked(shift)])) for shift in (0.1, -0.1, 0.0))
    assert first == second == third
