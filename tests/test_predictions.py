"""Predictions: a guess stands on the card of its lesson, comes too late after the result, and is counted at the end."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genai_labs.errors import LabError
from genai_labs.show import asking, predictions
from genai_labs.show.display import ABOUT
from genai_labs.show.lessons import lesson
from genai_labs.show.predictions import calibration, choices_met, predict, predictions_table
from genai_labs.show.record import read_lessons


@pytest.fixture(autouse=True)
def nothing_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No guess and no result of another test; lessons.json in a folder of its own."""
    monkeypatch.setenv("GENAI_LABS_OUT", str(tmp_path))
    monkeypatch.setattr(predictions, "_guesses", {})
    monkeypatch.setattr(predictions, "_met", {})
    monkeypatch.setattr(predictions, "_fields", {})
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)


def measure(id: str, effect: float, **settings: Any) -> Any:
    """A lesson whose effect is about this large."""
    scores = effect + np.random.default_rng(0).normal(0, 0.05, 60)
    return lesson(id, "It is so", scores, metric="score", show=False, bounds=(None, 9.0), expect="between", **settings)


def test_a_guess_stands_on_the_card_and_in_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    predict("1.4", 0.9, naive=0.1)
    assert "0.9 is noted" in capsys.readouterr().out
    card = measure("1.4", 0.3).card
    assert "Your guess: 0.900, too high." in card.text
    assert "diamond: guess 0.9" in card.html
    assert "rotate(45deg)" in card.html
    (row,) = read_lessons()
    assert (row["guess"], row["guess_by"]) == (0.9, "you")


def test_without_a_guess_a_naive_reader_stands_in_and_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    predict("1.4", naive=0.1)
    assert "You did not guess: 0.1" in capsys.readouterr().out
    assert "The guess of a naive reader: 0.100, too low." in measure("1.4", 0.3).card.text
    assert read_lessons()[0]["guess_by"] == "a naive reader"


def test_a_lesson_that_was_not_asked_about_shows_no_guess() -> None:
    card = measure("1.4", 0.3).card
    assert "uess" not in card.text
    assert "uess" not in card.html
    assert "guess" not in read_lessons()[0]


def test_a_guess_after_the_result_is_not_counted(capsys: pytest.CaptureFixture[str]) -> None:
    predict("1.4", 0.9, naive=0.1)
    measure("1.4", 0.3)
    predict("1.4", 0.3, naive=0.1)
    assert "not counted" in capsys.readouterr().out
    assert "Your guess: 0.900" in measure("1.4", 0.3).card.text


def test_a_first_guess_after_the_result_is_not_counted_either(capsys: pytest.CaptureFixture[str]) -> None:
    measure("1.4", 0.3)
    predict("1.4", 0.3, naive=0.1)
    assert "not counted" in capsys.readouterr().out
    assert "uess" not in measure("1.4", 0.3).card.text


def test_the_table_has_a_row_for_each_guess() -> None:
    predict("1.4", 2, naive=0.0)
    predict("1.5", "lower", naive="lower", choices=CHOICES)
    card = measure("1.4", 0.3, unit="points")
    measure("1.5", 0.3, varies=True)
    head, first, second = predictions_table().text.splitlines()[-3:]
    assert head.split() == ["lesson", "guess", "by", "measured", "95", "%", "interval", "the", "guess", "was"]
    low, high = card.interval.low, card.interval.high
    assert first.split() == f"1.4 2 you {card.interval.effect:.3f} points [{low:.3f}, {high:.3f}] too high".split()
    assert second.split()[:4] == ["1.5", "lower", "you", f"{ABOUT}{card.interval.effect:.3f}"]
    assert second.endswith(f"[{ABOUT}{low:.3f}, {ABOUT}{high:.3f}]  not as measured")
    title = predictions_table().text.splitlines()[0]
    assert f"the one outside is {ABOUT}" in title
    assert "of 1 choice, 0 as measured" in title


def test_a_title_without_choices_and_marks(capsys: pytest.CaptureFixture[str]) -> None:
    predict("1.4", 2, naive=0.0)
    assert "Your guess of 2 is noted. Now measure." in capsys.readouterr().out
    found = predictions.guess_for("1.4")
    assert found is not None
    assert isinstance(found.value, float)
    measure("1.4", 0.3)
    text = predictions_table().text
    assert ABOUT not in text
    assert re.search(r"the one outside is \d+\.\d widths of the interval away$", text.splitlines()[0])


def test_an_interval_that_touches_a_level_makes_no_choice_of_a_side() -> None:
    assert predictions.measured_choice(CHOICES, 0.2, 0.2, 0.4) == "no change"
    assert predictions.measured_choice(CHOICES, 0.4, 0.2, 0.4) == "no change"
    assert [predictions.place(guess, 0.2, 0.4) for guess in (0.19, 0.2, 0.4, 0.41)] == [
        "too low",
        "in the interval",
        "in the interval",
        "too high",
    ]


def test_running_the_cells_again_says_nothing_new(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        predict("1.4", 0.9, naive=0.1)
        measure("1.4", 0.3)
    assert "not counted" not in capsys.readouterr().out


def test_a_guess_that_is_no_number_is_told_in_words() -> None:
    for bad in ("a lot", float("nan"), float("inf"), True, [0.1]):
        with pytest.raises(LabError, match=r"The guess for lesson 1\.4 is .* no number"):
            predict("1.4", bad, naive=0.1)  # type: ignore[arg-type]
    with pytest.raises(LabError, match="is '0.5', which is no number. Write one without quotation marks, such as"):
        predict("1.4", "0.5", naive=0.1)
    with pytest.raises(LabError, match="lab and number"):
        predict("one", 0.1, naive=0.1)


def test_the_table_counts_where_guesses_lie() -> None:
    for id, guess in (("1.2", 0.3), ("1.10", 0.9), ("1.3", -0.5), ("1.4", None)):
        predict(id, guess, naive=0.0)
        measure(id, 0.3)
    text = predictions_table().text
    assert "4 guesses, 3 of them yours: 1 in the interval, 2 too low, 1 too high" in text
    assert text.index("1.4") < text.index("1.10")


CHOICES = ("higher", "lower", "no change")


@pytest.mark.parametrize(("guess", "whose"), [(0.9, "yours"), (None, "by a naive reader")])
def test_one_guess_is_counted_as_one(guess: float | None, whose: str) -> None:
    predict("1.2", guess, naive=0.9)
    measure("1.2", 0.3)
    title = predictions_table().text.splitlines()[0]
    assert title.startswith(f"1 guess, {whose}: 0 in the interval, 0 too low, 1 too high; the one outside is ")
    assert title.endswith(" widths of the interval away")
    predict("1.3", "lower", naive="lower", choices=CHOICES)
    measure("1.3", 0.3)
    assert "; of 1 choice, 0 as measured" in predictions_table().text


@pytest.mark.parametrize(("effect", "right"), [(0.3, "higher"), (-0.3, "lower"), (0.0, "no change")])
def test_a_choice_is_met_by_the_side_on_which_the_interval_lies(effect: float, right: str) -> None:
    for number, choice in enumerate(CHOICES):
        predict(f"1.{number}", choice, naive="lower", choices=CHOICES)
        card = measure(f"1.{number}", effect).card
        was = "as measured" if choice == right else "not as measured"
        assert f"Your guess: {choice}, {was}." in card.text
        assert f"Your guess: {choice}, {was}." in card.html
        assert "diamond" not in card.html
    assert [row["guess_was"] for row in read_lessons()].count("as measured") == 1
    assert "3 guesses, 3 of them yours: 0 in the interval" in predictions_table().text
    assert "of 3 choices, 1 as measured" in predictions_table().text


def test_a_choice_can_be_about_a_level_and_two_choices_leave_the_middle_out() -> None:
    for number, level in enumerate((0.2, 0.3, 0.4)):
        predict(f"1.{number}", "more", naive="less", choices=("more", "less"), level=level)
        measure(f"1.{number}", 0.3)
    assert [row["guess_was"] for row in read_lessons()] == ["as measured", "not as measured", "not as measured"]


def test_a_naive_choice_stands_in_and_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    predict("1.4", None, naive="higher", choices=CHOICES)
    assert "You did not guess: higher, the guess of a naive reader" in capsys.readouterr().out
    assert "The guess of a naive reader: higher, as measured." in measure("1.4", 0.3).card.text
    predict("1.4", "lower", naive="higher", choices=CHOICES)
    assert "not counted" in capsys.readouterr().out


def test_capitals_and_blanks_of_a_choice_do_not_matter(capsys: pytest.CaptureFixture[str]) -> None:
    for guess in ("Higher", " higher\n", "higher"):
        predict("1.4", guess, naive="lower", choices=CHOICES)
        assert "Your guess of higher is noted." in capsys.readouterr().out
    predict("1.4", "b", naive="B", choices=("B", "b"))
    assert "Your guess of b is noted." in capsys.readouterr().out


def test_a_guess_that_is_none_of_the_choices_is_told_in_words() -> None:
    for bad in ("more", 0.1, True, ["higher"]):
        with pytest.raises(LabError, match=r"none of the choices.*higher, lower, no change"):
            predict("1.4", bad, naive="lower", choices=CHOICES)  # type: ignore[arg-type]
    with pytest.raises(LabError, match="no number"):
        predict("1.4", "higher", naive=0.1)
    for odd in ("higher", ("higher",), ("a", "a"), ("a", 1), ("a", " "), ("a", "b", "c", "d"), 3):
        with pytest.raises(LabError, match=r"The choices for lesson 1\.4 are .*two or three different texts"):
            predict("1.4", None, naive="a", choices=odd)  # type: ignore[arg-type]


def test_choices_and_numbers_are_counted_apart() -> None:
    predict("1.1", 0.3, naive=0.0)
    predict("1.2", "lower", naive="lower", choices=CHOICES)
    for id in ("1.1", "1.2"):
        measure(id, 0.3)
    assert calibration(read_lessons())["guesses"] == 1
    assert choices_met(read_lessons()) == (1, 0)


def test_before_any_lesson_the_table_says_what_to_do() -> None:
    said = "No guess has met its lesson yet: run the cells above first."
    assert predictions_table().text == said
    assert said in predictions_table().html


def test_calibration_by_hand() -> None:
    def row(guess: float) -> dict[str, Any]:
        return {"guess": guess, "low": 1.0, "high": 2.0}

    found = calibration([row(1.0), row(1.5), row(2.5), row(5.0), row(0.0), {"low": 0.0, "high": 1.0}])
    assert found == {"guesses": 5, "in the interval": 2, "too low": 1, "too high": 2, "off": 1.0}
    assert calibration([])["guesses"] == 0
    assert calibration([row(1.5)])["off"] == 0
    assert calibration([{"low": 0.0, "high": 1.0}, row(1.5)])["guesses"] == 1, "those behind one without a guess count"
    wide = {"low": 0.0, "high": 4.0}
    assert calibration([wide | {"guess": guess} for guess in (5.0, 6.0, 12.0, -1.0, -20.0)])["off"] == 0.5


class Place:
    """Stands for the place below a cell; keeps what is shown there."""

    def __init__(self) -> None:
        self.shown = ""

    def update(self, words: str) -> None:
        self.shown = repr(words)


def ask(monkeypatch: pytest.MonkeyPatch, **settings: Any) -> tuple[Any, Any, Place]:
    """Ask for a guess as in JupyterLab: what it says, its field, and the place that both are shown in."""
    place = Place()
    monkeypatch.setenv("JPY_SESSION_NAME", "work/lab.ipynb")
    monkeypatch.setattr(asking, "display", lambda shown, display_id: place)
    predict("1.4", **settings)
    note, field = predictions._fields["1.4"].box.children
    return note, field, place


def test_in_jupyterlab_a_number_is_typed_into_a_field(monkeypatch: pytest.MonkeyPatch) -> None:
    note, field, place = ask(monkeypatch, naive=0.1)
    assert "0.1" not in note.value, "the naive reader's guess would sway the learner's"
    field.value = "much"
    assert "'much', which is no number" in note.value
    assert not place.shown
    field.value = " 0,9 "
    assert place.shown == "Your guess of 0.9 is noted. Now measure."
    assert "Your guess: 0.900, too high." in measure("1.4", 0.3).card.text
    assert place.shown == "Your guess of 0.9 is noted. Now measure."


def test_in_jupyterlab_a_choice_is_a_button(monkeypatch: pytest.MonkeyPatch) -> None:
    _, field, place = ask(monkeypatch, naive="lower", choices=CHOICES)
    assert (field.options, field.value) == (CHOICES, None)
    field.value = CHOICES[0]
    assert place.shown == f"Your guess of {CHOICES[0]} is noted. Now measure."
    assert predictions.guess_for("1.4") == predictions.Guess(CHOICES[0], "you", CHOICES)


def test_a_field_that_nobody_fills_in_is_closed_by_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    _, field, place = ask(monkeypatch, naive=0.1)
    assert "The guess of a naive reader: 0.100, too low." in measure("1.4", 0.3).card.text
    assert place.shown == "You did not guess: 0.1, the guess of a naive reader, stands in for yours."
    field.value = "0.9"  # typed too late
    assert place.shown.startswith("Lesson 1.4 has been measured already")
    assert "naive reader: 0.100" in measure("1.4", 0.3).card.text


def test_a_guess_in_the_cell_needs_no_field(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JPY_SESSION_NAME", "work/lab.ipynb")
    predict("1.4", 0.9, naive=0.1)
    assert not predictions._fields
    assert "0.9 is noted" in capsys.readouterr().out


def test_a_field_keeps_choices_and_level(monkeypatch: pytest.MonkeyPatch) -> None:
    note, field, place = ask(monkeypatch, naive="lower", choices=CHOICES, level=0.5)
    assert note.value.startswith("1.4: your guess")
    assert predictions.guess_for("1.4") == predictions.Guess("lower", "a naive reader", CHOICES, 0.5)
    field.value = CHOICES[0]
    assert predictions.guess_for("1.4") == predictions.Guess(CHOICES[0], "you", CHOICES, 0.5)
    measure("1.4", 0.3)
    assert read_lessons()[0]["guess_was"] == "not as measured", "0.3 lies below the level, and above 0"


def test_a_word_for_a_number_is_refused_with_the_lessons_name(monkeypatch: pytest.MonkeyPatch) -> None:
    note, field, place = ask(monkeypatch, naive=0.1)
    field.value = "much"
    assert "guess for lesson 1.4 is 'much'" in note.value
    assert not place.shown


def test_a_choice_that_nobody_makes_is_closed_by_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, place = ask(monkeypatch, naive="lower", choices=CHOICES)
    measure("1.4", 0.3)
    assert place.shown == "You did not guess: lower, the guess of a naive reader, stands in for yours."


def test_a_cell_that_runs_again_in_jupyterlab_keeps_the_guess(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, field, _ = ask(monkeypatch, naive=0.1)
    field.value = "0.9"
    capsys.readouterr()
    predict("1.4", naive=0.1)
    assert "Your guess of 0.9 is noted. Now measure." in capsys.readouterr().out
    assert predictions.guess_for("1.4") == predictions.Guess(0.9, "you")
    predict("1.4", naive="lower", choices=CHOICES)  # another question: the old guess answers it no longer
    assert "0.9" not in capsys.readouterr().out
    assert list(predictions._fields) == ["1.4"]
    assert predictions.guess_for("1.4") == predictions.Guess("lower", "a naive reader", CHOICES)


@pytest.mark.parametrize(("guesses", "words"), [((2, -2), "half of those outside are at least"), ((2,), "the one")])
def test_how_far_off_guesses_are_is_said_of_one_and_of_several(guesses: tuple[float, ...], words: str) -> None:
    for number, guess in enumerate(guesses):
        predict(f"1.{number}", guess, naive=0.0)
        measure(f"1.{number}", 0.3)
    title = predictions_table().text.splitlines()[0]
    assert f"; {words} " in title
    assert title.startswith("2 guesses, 2 of them yours" if len(guesses) == 2 else "1 guess, yours")
