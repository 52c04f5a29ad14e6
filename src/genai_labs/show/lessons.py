"""Lessons: claims that are measured in front of the learner, each with an interval and a verdict.

Every lesson is written into lessons.json with its verdict, whatever that is: a claim that does not hold says
so, and the run that contains it fails.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from genai_labs.errors import LabError
from genai_labs.inputs.arguments import as_text, is_list
from genai_labs.loading.profiles import loaded_profile
from genai_labs.scoring.intervals import SEED, Estimate, Interval, holm
from genai_labs.show.cards import Card, box, escape
from genai_labs.show.display import ABOUT, show_table
from genai_labs.show.lesson_cards import Lesson, cell_run
from genai_labs.show.lesson_table import show_with_cell
from genai_labs.show.predictions import guess_for, meet
from genai_labs.show.record import ID, checked, order, write_row
from genai_labs.show.verdicts import ANSWERS, HOLDS, LOOKS, NOT_SHOWN, OPEN, TOO_FEW, Bounds, Expect, Expectation

FEWEST = 20
DECIMALS = 4  # of the numbers in lessons.json; verdicts are passed on these numbers, too

_measured: dict[str, Lesson] = {}


def lesson(
    id: str,
    claim: str,
    a: ArrayLike,
    b: ArrayLike | None = None,
    *,
    metric: str,
    unit: str = "",
    expect: Expect = "higher",
    at_least: float = 0.0,
    bounds: Bounds | None = None,
    seed: int = SEED,
    show: bool = True,
    of: str = "dialogues",
    fewest: int = FEWEST,
    digits: int = 3,
    varies: bool = False,
    selected: bool = False,
    clusters: Sequence[object] | None = None,
    beside: Mapping[str, float] | None = None,
) -> Lesson:
    """Measures a claim, writes it into lessons.json, and shows it below what its cell shows, with the cell's others.

    id: lab and number, such as "1.4". claim: one sentence.
    a, b: scores of the same dialogues, shape (n,) or (n, rows); the effect is the mean of a - b, or of a.
    metric: what the scores are, such as "ROUGE-1 F"; unit: what the effect is counted in, if not in that.
    expect, at_least, bounds: what the claim says of the effect. "higher" and "lower": by at least at_least
    (the effect is -at_least or less for "lower"); "between": within bounds, (None, .1) for at most .1.
    of: what was scored. fewest: the smallest n accepted. digits: decimals shown on the card.
    varies: the scores rest on a training or on samples, so that their last digits depend on the machine: the card
    marks them with ≈, and the comparison of saved outputs passes over them, but not over the verdict.
    selected: of varying texts only some are scored, so that n depends on the machine, too, and is marked.
    clusters: what each dialogue has in common with others, such as its situation (``data.situations``).
    beside: numbers to see on the scale, such as {"chance": 0.25}, where the effect is a single score.
    The verdict is "holds" when the whole 95 % interval is as expected; "the opposite holds" when all of it
    is on the other side of 0 (of at_least for a single score, of the bounds for "between"); "no detectable
    change" when it contains 0; "smaller than claimed" when the effect has the expected sign and all of the
    interval falls short of at_least; "not shown" when it contains at_least or a bound: the data leave that
    open; "too few to tell" when n is below `fewest` in another world than the embedded one.
    Raises LabError when n is below `fewest` in the embedded world, when scores do not pair up, and when the claim makes
    no sense.
    """
    _check_claim(id, expect, at_least, bounds, single=b is None)
    # Elsewhere than in the embedded world the data are not ours, and a lab should not stop because they have little.
    expectation = Expectation(expect, at_least, bounds, level=b is None and bool(at_least or bounds))
    said = {"claim": claim, "metric": metric, "unit": unit, "of": of, "digits": digits, "varies": varies}
    said |= {"selected": selected, "beside": tuple((beside or {}).items())}
    return _measure(id, a, b, expectation, seed, fewest, clusters, show, said)


def open_question(
    id: str,
    asked: str,
    a: ArrayLike,
    b: ArrayLike | None = None,
    *,
    answers: tuple[str, str],
    metric: str,
    unit: str = "",
    show: bool = True,
    of: str = "dialogues",
    fewest: int = FEWEST,
    digits: int = 3,
    varies: bool = False,
    clusters: Sequence[object] | None = None,
) -> Lesson:
    """Asks what nobody knows before the run, and shows and writes the answer like a lesson.

    asked: the question. answers: what it means that the mean of a - b (or of a) is above 0, and that it is below 0.
    Everything else is as in :func:`lesson`. The verdict is "higher" or "lower" when the whole 95 % interval lies on one
    side of 0, and "left open" when it contains 0. None of them is a failure.
    Raises LabError as :func:`lesson` does.
    """
    _check_claim(id, "higher", 0.0, None, single=b is None)
    said = {"claim": asked, "metric": metric, "unit": unit, "of": of, "digits": digits, "varies": varies}
    return _measure(id, a, b, Expectation(answers=answers), SEED, fewest, clusters, show, said)


def _measure(
    id: str,
    a: ArrayLike,
    b: ArrayLike | None,
    expectation: Expectation,
    seed: int,
    fewest: int,
    clusters: Sequence[object] | None,
    show: bool,
    said: dict[str, Any],
) -> Lesson:
    """The verdict on what is expected of the scores; said: what the card says of them, fields of the lesson."""
    profile = loaded_profile()
    count = len(a) if is_list(a) else 1  # type: ignore[arg-type]
    if count < fewest and profile == "mini":
        raise LabError(
            f"Lesson {id} is not taught: {count} {said['of']} are too few for a claim, {fewest} are needed. "
            f"Score more of them, or state fewest={count} if so few are meant."
        )
    interval, p, groups = Interval(0.0, 0.0, 0.0, count), 1.0, count
    if count >= 2:
        estimate = Estimate(a, b, seed=seed, clusters=clusters)
        interval, groups = _rounded(estimate.interval()), len(set(estimate.clusters))
        shown = [each for each in (HOLDS, *ANSWERS) if each != OPEN]
        p = estimate.p_value(lambda at_a_level: expectation.judge(_rounded(at_a_level))[0] in shown)
    verdict, reason = expectation.judge(interval)
    if count < fewest:
        verdict, reason = TOO_FEW, f"{count} {said['of']} are too few for a claim: {fewest} are needed."
    result = Lesson(
        id=id,
        interval=interval,
        verdict=verdict,
        reason=reason,
        seed=seed,
        profile=profile,
        expectation=expectation,
        shown_in=cell_run() if show else None,
        clusters=groups,
        p=float(f"{p:.3g}"),
        guess=guess_for(id),
        sides=None if b is None or not count else (_mean_score(a), _mean_score(b)),
        **said,
    )
    _measured[id] = result
    write_row(meet(result.row()))
    if show:
        show_with_cell(result)
    return result


def lessons_table(rows: Iterable[Mapping[str, Any]] | None = None) -> Card:
    """The lessons measured in this notebook so far, or those of `rows` as read_lessons gives them.

    Of twenty claims that are not true, one holds by luck. "with all others" is the verdict after Holm's correction: it
    still holds if the interval shows the claim at the level that is needed for all lessons of the lab to be right.
    """
    try:
        rows = [each.row() for each in _measured.values()] if rows is None else checked(rows)
    except (ValueError, TypeError, OverflowError) as error:
        raise LabError(f"These are not rows of lessons ({error}). Pass what read_lessons gives.") from error
    if not rows:
        text = "No lesson has been measured yet: run the cells above first."
        return Card(box(escape(text)), text)
    rows = sorted(rows, key=order)
    corrected: dict[str, float] = {}
    for lab in {row["lab"] for row in rows}:
        tried = [row for row in rows if row["lab"] == lab and "p" in row and row["verdict"] != TOO_FEW]
        corrected |= zip((row["id"] for row in tried), holm([row["p"] for row in tried]), strict=True)
    return show_table([_table_row(row, corrected.get(row["id"])) for row in rows])


def _check_claim(id: str, expect: str, at_least: float, bounds: Bounds | None, single: bool) -> None:
    problem = ""
    if not re.fullmatch(ID, as_text(id, "The id of a lesson"), re.ASCII):
        problem = 'its id must be lab and number, such as "1.4"'
    elif expect not in ("higher", "lower", "between"):
        problem = f'expect={expect!r} is none of "higher", "lower" and "between"'
    elif (expect == "between") != (bounds is not None) or bounds == (None, None):
        problem = 'expect="between" and bounds=(low, high) need each other, and one bound must be a number'
    elif bounds and None not in bounds and bounds[0] > bounds[1]:  # type: ignore[operator]
        problem = f"its lower bound {bounds[0]} is greater than its upper bound {bounds[1]}"
    elif at_least < 0 or (at_least and expect == "between"):
        problem = 'at_least is a size, 0 or more, for "higher" and "lower" only'
    elif single and expect == "lower" and at_least:
        problem = f'"at most x" is said of a single score with expect="between", bounds=(None, {at_least:g})'
    if problem:
        raise LabError(f"Lesson {id} cannot be measured: {problem}. Mend the call of lesson().")


def _mean_score(scores: ArrayLike) -> float:
    return round(float(np.mean(np.asarray(scores, float))), DECIMALS) + 0.0


def _rounded(interval: Interval) -> Interval:
    effect, low, high = (round(number, DECIMALS) + 0.0 for number in interval[:3])  # + 0.0 turns -0.0 into 0.0
    return Interval(effect, low, high, interval.n)


def _table_row(row: Mapping[str, Any], p: float | None) -> dict[str, Any]:
    mark = ABOUT if row.get("varies") else ""
    uncertain = (p or 0) > 0.05
    after_holm = NOT_SHOWN if row["holds"] and uncertain else row["verdict"]
    after_holm = OPEN if row["verdict"] in ANSWERS and uncertain else after_holm
    return {
        "lesson": row["id"],
        "claim": row["claim"],
        "effect": f"{mark}{row['effect']:z.3f} {row['unit'] or row['metric']}",
        "95 % interval": f"[{mark}{row['low']:z.3f}, {mark}{row['high']:z.3f}]",
        "n": f"{ABOUT}{row['n']}" if row.get("selected") else row["n"],
        "verdict": f"{LOOKS[row['verdict']][0]} {row['verdict']}",
        "with all others": "-" if p is None else f"{LOOKS[after_holm][0]} {after_holm}",
    }
