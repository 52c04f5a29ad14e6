"""Verdicts follow from the interval; lessons.json keeps one row a lesson, in order, whole."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from nbval.plugin import get_sanitize_patterns
from numpy.typing import NDArray

from genai_labs.errors import LabError
from genai_labs.loading import profiles
from genai_labs.paths import ROOT
from genai_labs.scoring.metrics import Interval
from genai_labs.show import lessons, verdicts
from genai_labs.show.lessons import Expectation, lesson, lessons_table, open_question
from genai_labs.show.record import failed_claim, lessons_path, read_lessons
from tests.variants import Variant, assert_noticed

ROW = [
    *("lab", "id", "claim", "metric", "unit", "effect", "low", "high", "n"),
    *("verdict", "holds", "seed", "profile", "versions"),
    *("clusters", "smallest_effect", "p", "varies", "selected"),
]

RNG = np.random.default_rng(0)
BASE = RNG.random(100) / 2
BETTER = BASE + 0.1 + RNG.normal(0, 0.02, 100)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENAI_LABS_OUT", str(tmp_path / "out"))
    monkeypatch.delenv("GENAI_LABS_PROFILE", raising=False)
    monkeypatch.setattr(lessons, "_measured", {})
    monkeypatch.setattr(profiles, "loaded", None)


def verdict(low: float, high: float, **claim: object) -> str:
    return Expectation(**claim).judge(Interval((low + high) / 2, low, high, 200))[0]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("low", "high", "at_least", "expected"),
    [
        (0.01, 0.20, 0.0, "holds"),
        (-0.01, 0.20, 0.0, "no detectable change"),
        (0.0, 0.0, 0.0, "no detectable change"),
        (-0.20, -0.01, 0.0, "the opposite holds"),
        (0.10, 0.20, 0.1, "holds"),
        (0.02, 0.08, 0.1, "smaller than claimed"),
        (0.02, 0.12, 0.1, "not shown"),
        (-0.02, 0.12, 0.1, "no detectable change"),
        (-0.20, -0.12, 0.1, "the opposite holds"),
    ],
)
def test_verdict_on_a_difference(low: float, high: float, at_least: float, expected: str) -> None:
    assert verdict(low, high, expect="higher", at_least=at_least) == expected
    assert verdict(-high, -low, expect="lower", at_least=at_least) == expected


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.60, 0.70, "holds"), (0.55, 0.65, "not shown"), (0.40, 0.59, "the opposite holds")],
)
def test_verdict_on_one_score_against_a_threshold(low: float, high: float, expected: str) -> None:
    assert verdict(low, high, at_least=0.6, level=True) == expected


@pytest.mark.parametrize(
    ("low", "high", "bounds", "expected"),
    [
        (-0.01, 0.02, (-0.05, 0.05), "holds"),
        (-0.01, 0.06, (-0.05, 0.05), "not shown"),
        (-0.20, 0.20, (-0.05, 0.05), "not shown"),
        (0.06, 0.20, (-0.05, 0.05), "the opposite holds"),
        (-9.0, 0.05, (None, 0.05), "holds"),
        (0.00, 0.06, (None, 0.05), "not shown"),
        (0.90, 0.95, (0.9, None), "holds"),
        (0.80, 0.85, (0.9, None), "the opposite holds"),
    ],
)
def test_verdict_within_bounds(low: float, high: float, bounds: lessons.Bounds, expected: str) -> None:
    assert verdict(low, high, expect="between", bounds=bounds) == expected


def test_lesson_is_measured_and_written() -> None:
    result = lesson("1.4", "Better.", BETTER, BASE, metric="ROUGE-1 F", unit="points", at_least=0.05, seed=7)
    (row,) = json.loads(lessons_path().read_text(encoding="utf-8"))
    assert list(row) == ROW
    assert row == result.row()
    assert (row["lab"], row["id"], row["n"], row["seed"], row["profile"]) == (1, "1.4", 100, 7, "mini")
    assert row["holds"] is True
    assert row["low"] < row["effect"] < row["high"]
    assert [row[key] for key in ("effect", "low", "high")] == [round(row[key], 4) for key in ("effect", "low", "high")]
    assert set(row["versions"]) == {"python", "torch", "transformers", "genai_labs"}


def test_a_claim_that_does_not_hold_is_written_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENAI_LABS_PROFILE", "other")
    lesson("2.1", "Worse.", BETTER, BASE, metric="ROUGE-1 F", expect="lower")
    (row,) = read_lessons()
    assert (row["holds"], row["verdict"], row["profile"]) == (False, "the opposite holds", "other")


def test_measuring_again_replaces_the_row_and_order_follows_the_ids() -> None:
    for id in ("1.10", "2.1", "1.9", "1.10"):
        lesson(id, f"Claim {id}", BETTER, BASE, metric="m", show=False)
    assert [row["id"] for row in read_lessons()] == ["1.9", "1.10", "2.1"]
    before = lessons_path().read_bytes()
    lesson("1.9", "Claim 1.9", BETTER, BASE, metric="m", show=False)
    assert lessons_path().read_bytes() == before


def test_a_failed_write_leaves_the_old_file_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    lesson("1.1", "First.", BETTER, BASE, metric="m", show=False)
    before = lessons_path().read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(LabError, match=r"The disk is full.*Make room"):
        lesson("1.2", "Second.", BETTER, BASE, metric="m", show=False)
    assert lessons_path().read_bytes() == before


WRITE = """
import sys
import numpy as np
from genai_labs.show.lessons import lesson
better = np.linspace(0.2, 0.8, 30)
print("ready", flush=True)
sys.stdin.readline()
for number in range(1, 13):
    lesson(f"{sys.argv[1]}.{number}", "Better.", better + 0.1, better, metric="m", show=False)
"""


def test_labs_that_write_at_once_lose_no_row() -> None:
    lines = [[sys.executable, "-c", WRITE, str(lab)] for lab in (1, 2, 3)]
    labs = [subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for line in lines]
    for lab in labs:
        assert lab.stdout is not None
        lab.stdout.readline()
    for lab in labs:
        lab.communicate("go\n")
        assert lab.returncode == 0
    assert [row["id"] for row in read_lessons()] == [f"{lab}.{n}" for lab in (1, 2, 3) for n in range(1, 13)]


def test_a_damaged_file_is_answered_in_words() -> None:
    lessons_path().parent.mkdir(parents=True)
    for damage in ('[{"lab": 1', "7", '["x"]', "[{}]"):
        lessons_path().write_text(damage)
        with pytest.raises(LabError, match="damaged.*run the lab again"):
            lesson("1.1", "Better.", BETTER, BASE, metric="m", show=False)


def test_too_few_dialogues_teach_nothing_unless_stated() -> None:
    with pytest.raises(LabError, match="19 dialogues are too few"):
        lesson("1.1", "Better.", BETTER[:19], BASE[:19], metric="m")
    assert read_lessons() == []
    assert lesson("1.1", "Better.", BETTER[:19], BASE[:19], metric="m", fewest=19, show=False).interval.n == 19


def test_scores_of_unequal_length_are_said_in_words() -> None:
    with pytest.raises(LabError, match="every dialogue must have the same number of scores"):
        lesson("1.1", "x", [[1.0], [1.0, 2.0]] * 10, expect="higher", metric="m")


@pytest.mark.parametrize("count", [0, 1, 19])
def test_in_other_worlds_too_few_are_said_to_be_too_few(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiles, "loaded", "flan-t5-small")
    result = lesson("1.1", "Better.", BETTER[:count], BASE[:count], metric="m")
    (row,) = read_lessons()
    assert (row["verdict"], row["holds"], row["n"], row["profile"]) == (
        "too few to tell",
        False,
        count,
        "flan-t5-small",
    )
    assert f"{count} dialogues are too few for a claim: 20 are needed." in repr(result)


@pytest.mark.parametrize(
    ("id", "options", "words"),
    [
        ("four", {}, "lab and number"),
        ("1.1", {"expect": "more"}, "is none of"),
        ("1.1", {"expect": "between"}, "need each other"),
        ("1.1", {"bounds": (0, 1)}, "need each other"),
        ("1.1", {"expect": "between", "bounds": (None, None)}, "must be a number"),
        ("1.1", {"expect": "between", "bounds": (0.2, 0.1)}, "greater than its upper bound"),
        ("1.1", {"at_least": -0.1}, "0 or more"),
        ("1.1", {"expect": "lower", "at_least": 0.1}, "bounds="),
    ],
)
def test_claims_that_make_no_sense_are_answered_in_words(id: str, options: dict[str, object], words: str) -> None:
    with pytest.raises(LabError, match=words):
        lesson(id, "Better.", BETTER, metric="m", **options)  # type: ignore[arg-type]
    assert not lessons_path().exists()


def test_card_tells_the_same_in_text_and_html() -> None:
    claim = "Scripts <script>alert(1)</script> & co."
    card = lesson("1.4", claim, BETTER, BASE, metric="ROUGE-1 F", at_least=0.05, digits=2, show=False).card
    for part in (
        "Lesson 1.4",
        "holds",
        "+0.10 ROUGE-1 F",
        "95 % interval [+0.09, +0.10]",
        "n = 100 dialogues",
    ):
        assert part in repr(card)
        assert part in card._repr_html_()
    assert claim in repr(card)
    assert "<script>" not in card._repr_html_()
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; co." in card._repr_html_()


def test_a_card_that_varies_is_compared_by_its_words_and_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    patterns = get_sanitize_patterns((ROOT / "tests" / "nbval_sanitize.cfg").read_text(encoding="utf-8"))

    def compared(a: NDArray[np.float64], varies: bool = True, **claim: Any) -> list[str]:
        made = lesson("1.4", "A lot better", a, BASE[: len(a)], metric="F", show=False, varies=varies, **claim)
        texts = [made.card.text, made.card.html, lessons_table().html]
        for regex, replacement in patterns:
            texts = [re.sub(regex, replacement, text) for text in texts]
        return texts

    assert compared(BETTER) == compared(BETTER + 0.003)
    assert compared(BETTER, varies=False) != compared(BETTER + 0.003, varies=False)
    assert compared(BETTER) != compared(BASE - 0.1)
    assert compared(BETTER, at_least=0.05) != compared(BETTER, at_least=0.06)
    fewer = compared(BETTER[:90], selected=True)
    assert fewer == compared(BETTER[:91], selected=True)
    assert fewer != compared(BETTER[:90]) != compared(BETTER[:91])


def test_the_answer_to_an_open_question_is_not_compared_and_all_around_it_is() -> None:
    patterns = get_sanitize_patterns((ROOT / "tests" / "nbval_sanitize.cfg").read_text(encoding="utf-8"))

    def compared(a: NDArray[np.float64], asked: str = "Which wins?") -> list[str]:
        answers = ("The first wins", "The second wins")
        made = open_question("1.4", asked, a, BASE, answers=answers, metric="F", show=False, varies=True)
        texts = [made.card.text, made.card.html, lessons_table().html]
        for regex, replacement in patterns:
            texts = [re.sub(regex, replacement, text) for text in texts]
        return texts

    noise = np.random.default_rng(3).normal(0, 0.1, len(BASE))
    assert compared(BASE + 0.1 + noise) == compared(BASE - 0.1 + noise) == compared(BASE + noise - noise.mean())
    assert compared(BETTER) != compared(BETTER, "Which loses?")


def test_a_zero_has_no_minus_sign() -> None:
    tiny = RNG.normal(0, 1e-4, 50) - 1e-5
    card = lesson("1.1", "Nothing.", tiny, BASE[:50] * 0, metric="m", digits=2, show=False).card
    assert "[+0.00, +0.00]" in repr(card)


def test_every_verdict_is_said_in_words_and_not_by_colour_alone() -> None:
    signs = {sign for sign, _ in lessons.LOOKS.values()}
    assert len(signs) == len(lessons.LOOKS) - 1  # what no interval shows looks alike in lessons and in questions
    for low, high in ((0.1, 0.2), (-0.1, 0.1), (-0.2, -0.1), (0.01, 0.02), (0.01, 0.2)):
        words, reason = Expectation(at_least=0.05).judge(Interval(0, low, high, 20))
        assert words in lessons.LOOKS
        assert reason.endswith(".")


def test_table_shows_the_lessons_of_this_process() -> None:
    assert "No lesson" in repr(lessons_table())
    lesson("1.2", "Better.", BETTER, BASE, metric="ROUGE-1 F", show=False)
    lesson("1.1", "Same <b>.", BASE, BASE, metric="ROUGE-1 F", show=False)
    text, html = repr(lessons_table()), lessons_table()._repr_html_()
    assert text.index("1.1") < text.index("1.2")
    assert "no detectable change" in text
    assert "Same &lt;b&gt;." in html
    assert repr(lessons_table(read_lessons())) == text


def test_dialogues_of_one_situation_are_counted_and_make_the_interval_wider() -> None:
    names = [str(number // 4) for number in range(100)]
    gain = np.repeat(RNG.normal(0.05, 0.1, 25), 4)
    apart, together = (lesson("1.1", "c", gain, metric="m", show=False, clusters=each) for each in (None, names))
    assert (apart.clusters, together.clusters, read_lessons()[0]["clusters"]) == (100, 25, 25)
    assert together.interval.low < apart.interval.low - 0.01
    assert "n = 100 dialogues of 25 situations" in repr(together.card)
    assert "situations" not in repr(apart.card)


def test_a_card_says_what_could_have_been_found() -> None:
    result = lesson("1.1", "c", RNG.normal(0, 1, 100), metric="m", show=False)
    low, high = result.interval.low, result.interval.high
    assert result.smallest_effect == pytest.approx(2.8 * (high - low) / 3.92, abs=1e-4)
    assert result.smallest_effect == pytest.approx(0.28, abs=0.06)  # 2.8 standard errors of 1 / 10
    assert f"n = 100 dialogues, could have shown {result.smallest_effect:.3f} or more" in repr(result.card)
    assert "could have" not in repr(lesson("1.1", "c", BASE, BASE, metric="m", show=False).card)


def test_the_table_shows_what_still_holds_with_all_others() -> None:
    close = RNG.normal(0, 1, 100)
    close += 2.1 * close.std() / 10 - close.mean()
    alone = lesson("1.1", "Close.", close, metric="m", show=False)
    assert alone.holds
    assert 0.01 < alone.p <= 0.05
    assert lessons_table().text.splitlines()[-1].count("holds") == 2
    for number in range(2, 8):
        lesson(f"1.{number}", "Open.", close - 0.2, metric="m", show=False)
    lesson("1.8", "Clear.", close + 2, metric="m", show=False)
    rows = {line.split()[0]: line for line in lessons_table().text.splitlines()[1:]}
    assert rows["1.1"].endswith("\N{CHECK MARK} holds                 ? not shown")
    assert rows["1.8"].count("holds") == 2
    lesson("2.1", "Another lab.", close, metric="m", show=False)
    assert lessons_table(read_lessons()).text.splitlines()[-1].count("holds") == 2


def test_rows_of_older_files_have_no_correction() -> None:
    lesson("1.1", "Better.", BETTER, BASE, metric="m", show=False)
    old = {key: read_lessons()[0][key] for key in ROW[:14]}
    assert lessons_table([old]).text.endswith("holds  -")


@pytest.mark.parametrize("name", ["p", "clusters", "smallest_effect"])
@pytest.mark.parametrize("value", ["x", None, float("nan"), [1]])
def test_later_numbers_are_checked_where_they_are(name: str, value: object) -> None:
    lesson("1.1", "Better.", BETTER, BASE, metric="m", show=False)
    with pytest.raises(LabError, match="lacks a number"):
        lessons_table([read_lessons()[0] | {name: value}])


def test_a_claim_that_holds_has_a_p_value_of_at_most_5_percent_and_no_other() -> None:
    for shift in np.linspace(0.15, 0.25, 11):
        scores = np.random.default_rng(1).normal(size=100) + shift
        for claim in ({}, {"expect": "between", "bounds": (-0.4, 0.4)}):
            result = lesson("1.1", "c", scores, metric="m", show=False, **claim)  # type: ignore[arg-type]
            assert result.holds == (result.p <= 0.05)


def test_a_cell_that_ends_with_a_lesson_shows_one_card(monkeypatch: pytest.MonkeyPatch) -> None:
    shell = InteractiveShell.instance()
    shell.user_ns.update(lesson=lesson, a=BETTER, b=BASE)
    try:
        with capture_output() as first:
            shell.run_cell("taught = lesson('1.1', 'Better.', a, b, metric='m')\ntaught", store_history=True)
        with capture_output() as later:
            shell.run_cell("taught", store_history=True)
    finally:
        InteractiveShell.clear_instance()
    for outputs in (first.outputs, later.outputs):
        (card,) = outputs
        assert set(card.data) == {"text/plain", "text/html"}
        assert card.data["text/plain"].startswith("Lesson 1.1: holds")


@pytest.mark.parametrize(("shift", "verdict", "words"), [(0.2, "higher", "A wins: "), (-0.2, "lower", "B wins: ")])
def test_an_open_question_is_answered_by_the_side_on_which_the_interval_lies(
    shift: float, verdict: str, words: str
) -> None:
    asked = open_question(
        "1.1", "Which wins?", BASE + shift, BASE, answers=("A wins", "B wins"), metric="m", show=False
    )
    assert (asked.verdict, asked.holds, asked.p <= 0.05) == (verdict, False, True)
    assert repr(asked.card).startswith(f"Open question 1.1: {verdict}\n  Which wins?\n")
    assert words in repr(asked.card)
    assert not failed_claim(read_lessons()[0])
    assert lessons_table().text.count(verdict) == 2


def test_an_open_question_stays_open_where_the_interval_contains_0() -> None:
    noise = np.random.default_rng(3).normal(0, 1, 100)
    asked = open_question(
        "1.1", "Which wins?", noise - noise.mean(), answers=("A wins", "B wins"), metric="m", show=False
    )
    assert (asked.verdict, asked.p) == ("left open", 1.0)
    assert "wins:" not in repr(asked.card)
    with pytest.raises(LabError, match="too few"):
        open_question("1.1", "Which?", BASE[:3], BASE[3:6], answers=("A", "B"), metric="m")


def test_an_answer_that_is_not_sure_beside_all_others_is_left_open_in_the_table() -> None:
    close = np.random.default_rng(3).normal(0, 1, 100)
    close += 2.1 * close.std() / 10 - close.mean()
    open_question("1.1", "Above 0?", close, answers=("Yes", "No"), metric="m", show=False)
    for number in range(2, 8):
        lesson(f"1.{number}", "Open.", close - 0.2, metric="m", show=False)
    line = lessons_table().text.splitlines()[1]
    assert line.rstrip().endswith("left open")
    assert "higher" in line


def test_a_card_shows_both_sides_and_what_is_known_of_the_scale() -> None:
    card = lesson("1.1", "Better.", BETTER, BASE, metric="m", digits=2, show=False).card
    assert f"({BETTER.mean():.2f} against {BASE.mean():.2f})" in repr(card)
    assert f"({BETTER.mean():.2f} against {BASE.mean():.2f})" in card._repr_html_()
    alone = lesson("1.2", "High.", BASE, metric="m", at_least=0.1, beside={"by chance": 0.125}, show=False).card
    assert "For comparison: by chance 0.125. " in repr(alone)
    assert "against" not in repr(alone)
    assert "dotted line: by chance" in alone._repr_html_()


# Checks, and wrong variants that they must notice.

LITTLE = 0.001


def check_a_claim_holds_by_its_whole_interval() -> None:
    # The estimate, the middle of these intervals, is as claimed each time.
    assert verdict(-0.01, 0.20, expect="higher") == verdict(-0.20, 0.01, expect="lower") == "no detectable change"
    assert verdict(0.09, 0.20, expect="higher", at_least=0.1) == "not shown"
    assert verdict(0.55, 0.70, at_least=0.6, level=True) == "not shown"
    assert verdict(-0.04, 0.06, expect="between", bounds=(-0.05, 0.05)) == "not shown"


def check_an_interval_that_touches_0_shows_nothing() -> None:
    assert verdict(0.0, 0.2, expect="higher") == verdict(-0.2, 0.0, expect="lower") == "no detectable change"
    assert verdict(-0.2, 0.0, expect="higher") == verdict(0.0, 0.2, expect="lower") == "no detectable change"
    assert verdict(LITTLE, 0.2, expect="higher") == verdict(-0.2, -LITTLE, expect="lower") == "holds"


def check_bounds_are_where_they_are_said_to_be() -> None:
    for bounds in ((-0.05, 0.05), (None, 0.05), (0.9, None), (0.9, 1.1)):
        low, high = bounds[0] or -9.0, bounds[1] or 9.0
        assert verdict(low, high, expect="between", bounds=bounds) == "holds"
        if bounds[0] is not None:
            assert verdict(low - LITTLE, high, expect="between", bounds=bounds) == "not shown"
        if bounds[1] is not None:
            assert verdict(low, high + LITTLE, expect="between", bounds=bounds) == "not shown"


def check_one_score_is_judged_against_what_is_claimed_of_it() -> None:
    for scores, said in ((BASE + 0.2, "the opposite holds"), (BASE + 0.35, "not shown"), (BASE + 0.5, "holds")):
        assert lesson("1.1", "High.", scores, metric="m", at_least=0.6, show=False).verdict == said


def check_two_sides_are_compared_in_the_direction_of_the_claim() -> None:
    assert lesson("1.1", "More.", BETTER, BASE, metric="m", expect="higher", show=False).verdict == "holds"
    assert lesson("1.1", "Less.", BETTER, BASE, metric="m", expect="lower", show=False).verdict == "the opposite holds"
    result = lesson("1.1", "Better.", BETTER, BASE, metric="m", at_least=0.5, show=False)
    assert result.verdict == "smaller than claimed"
    assert result.interval.effect == pytest.approx((BETTER - BASE).mean(), abs=1e-4)


def by_estimate(expectation: Expectation, interval: Interval) -> tuple[str, str]:
    return JUDGE(expectation, interval._replace(low=interval.effect, high=interval.effect))


def touching_0_is_enough(interval: Interval, sign: int, at_least: float) -> tuple[str, str]:
    low, high = interval.low, interval.high
    inside = interval._replace(low=low + 1e-9 * (low == 0), high=high - 1e-9 * (high == 0))
    return DIFFERENCE(inside, sign, at_least)


def a_tenth_wider(interval: Interval, bounds: lessons.Bounds) -> tuple[str, str]:
    low, high = bounds
    return BOUNDS(interval, (low and low - abs(low) / 10, high and high + abs(high) / 10))


def against_0(*claim: Any, level: bool = False) -> Expectation:
    return Expectation(*claim)


JUDGE, DIFFERENCE, BOUNDS = Expectation.judge, verdicts._judge_difference, verdicts._judge_bounds
ESTIMATE = lessons.Estimate
WRONG = {
    "by the estimate": Variant(Expectation, "judge", by_estimate, check_a_claim_holds_by_its_whole_interval),
    "touching 0 is enough": Variant(
        verdicts, "_judge_difference", touching_0_is_enough, check_an_interval_that_touches_0_shows_nothing
    ),
    "bounds a tenth wider": Variant(
        verdicts, "_judge_bounds", a_tenth_wider, check_bounds_are_where_they_are_said_to_be
    ),
    "one score against 0": Variant(
        lessons, "Expectation", against_0, check_one_score_is_judged_against_what_is_claimed_of_it
    ),
    "any difference is enough": Variant(
        Expectation,
        "judge",
        lambda claim, interval: JUDGE(replace(claim, at_least=0.0), interval),
        check_two_sides_are_compared_in_the_direction_of_the_claim,
    ),
    "either direction is right": Variant(
        verdicts,
        "_judge_difference",
        lambda interval, sign, at_least: DIFFERENCE(interval, 1 if interval.effect > 0 else -1, at_least),
        check_two_sides_are_compared_in_the_direction_of_the_claim,
    ),
    "the second side is left out": Variant(
        lessons,
        "Estimate",
        lambda a, b, **options: ESTIMATE(a, **options),
        check_two_sides_are_compared_in_the_direction_of_the_claim,
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_variant_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_noticed(WRONG[name], monkeypatch)
