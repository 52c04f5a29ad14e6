"""What is shown is escaped, the same each time, and legible without colour."""

import html
import io
import re
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from matplotlib import image
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.text import Text
from nbval.plugin import get_sanitize_patterns

from genai_labs.errors import LabError
from genai_labs.paths import ROOT
from genai_labs.prompting import figures
from genai_labs.scoring.metrics import Interval
from genai_labs.show import display
from genai_labs.show.display import Card, Plot
from genai_labs.show.texts import mark_changes

EVIL = "<script>alert('x')</script> & \"quotes\""
SCORE = Interval(0.612, 0.58, 0.64, 200)

CARDS: dict[str, Callable[[], Card]] = {
    "table": lambda: display.show_table([{EVIL: EVIL, "n": 3}], caption=EVIL),
    "data frame": lambda: display.show_table(pd.DataFrame({"a": [EVIL]}, index=[EVIL])),
    "dialogue": lambda: display.show_dialogue(f"#Person1#: {EVIL}\n{EVIL}", [EVIL]),
    "side by side": lambda: display.side_by_side({EVIL: EVIL, "other": f"new {EVIL}"}, reference=EVIL),
}
PLOTS: dict[str, Callable[[], Plot]] = {
    "token_bars": lambda: figures.token_bars(["▁wants", "$4 or $5", "</s>"], [0.6, 0.3, 0.1], title="Next"),
    "score_bars": lambda: display.score_bars({"zero-shot": SCORE}, "ROUGE-1 F (0 to 1)", {"longest turn": 0.2}),
    "line_with_band": lambda: display.line_with_band(
        [0, 1], {"seen": [SCORE, SCORE], "unseen": [(0.3, 0.2, 0.4)] * 2}, "exemplars", "ROUGE-1 F (0 to 1)"
    ),
    "sweep_plot": lambda: figures.sweep_plot(
        {
            "temperature": {"T = 1": (SCORE, SCORE), "T = 2": (SCORE, (0.3, 0.2, 0.4))},
            "top-k": {"5": (SCORE, SCORE)},
        },
        "diversity (0 to 1)",
        "ROUGE-1 F (0 to 1)",
    ),
}


@pytest.mark.parametrize("make", CARDS.values(), ids=CARDS.keys())
def test_text_from_data_is_escaped(make: Callable[[], Card]) -> None:
    page = make()._repr_html_()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "alert('x')" in html.unescape(re.sub(r"</?[bu]>", "", page))


@pytest.mark.parametrize("make", CARDS.values(), ids=CARDS.keys())
def test_cards_are_the_same_each_time_and_have_a_plain_text(make: Callable[[], Card]) -> None:
    assert make()._repr_html_() == make()._repr_html_()
    assert repr(make()) == repr(make())
    assert "alert('x')" in repr(make()).replace("*", "")
    assert " at 0x" not in repr(make())


@pytest.mark.parametrize("make", CARDS.values(), ids=CARDS.keys())
def test_each_cell_brings_its_own_colours_for_every_theme(make: Callable[[], Card]) -> None:
    cells = re.findall(r"<t[dh] style=\"([^\"]*)\"", make()._repr_html_())
    assert cells
    for style in cells:
        for name in ("background", "color"):
            # from the theme where there is one, and a colour of its own where there is none
            assert re.search(
                rf"(?<![\w-]){name}:(color-mix\(in srgb,#\w+ \d+%,)?var\(--jp-[\w-]+,#[0-9a-f]{{6}}\)", style
            )
    assert "<style" not in make()._repr_html_()


def test_table_rounds_numbers_and_keeps_whole_ones_whole() -> None:
    rows = [
        {"prompt": "one", "score": SCORE, "share": np.float32(0.98765), "n": np.int64(200), "ok": True},
        {"prompt": "two", "score": SCORE, "n": 3, "ok": np.False_},
    ]
    lines = repr(display.show_table(rows, digits=2)).splitlines()
    assert re.split(r"\s{2,}", lines[1]) == ["one", "0.61 [0.58, 0.64]", "0.99", "200", "yes"]
    assert re.split(r"\s{2,}", lines[2]) == ["two", "0.61 [0.58, 0.64]", "-", "3", "no"]


def test_table_of_columns_and_of_a_data_frame_with_labels() -> None:
    table = display.show_table({"a": [1, 2], "b": ["x", "y"]})
    assert repr(table).splitlines() == ["a  b", "1  x", "2  y"]
    labelled = display.show_table(pd.DataFrame({"a": [1]}, index=pd.Index(["row"], name="name")))
    assert repr(labelled).splitlines() == ["name  a", "row   1"]


def test_whatever_is_missing_is_a_dash() -> None:
    missing = [None, float("nan"), np.float64("nan"), pd.NaT, pd.NA, np.datetime64("NaT")]
    card = display.show_table([{"what": value} for value in missing])
    assert [line.strip() for line in card.text.splitlines()[1:]] == ["-"] * len(missing)


def test_side_by_side_marks_what_differs_in_bold_and_underlined() -> None:
    card = display.side_by_side(
        {"reference": "Viola wants a table on Friday.", "model": "Viola wants two chairs on friday"},
        reference="reference",
    )
    assert "Viola wants <b><u>two chairs</u></b> on friday" in card._repr_html_()
    assert "Viola wants a table on Friday." in card._repr_html_()
    assert "model: Viola wants *two chairs* on friday" in repr(card)


def test_marked_pieces_join_to_the_whole_text() -> None:
    text = "  Two  spaces, a\nnew line and - a dash "
    pieces = mark_changes(text, "a dash")
    assert "".join(piece for piece, _ in pieces) == text
    assert {mark for _, mark in pieces} == {True, False}
    assert mark_changes(text, text) == [(text, False)]


def test_side_by_side_without_a_reference_marks_nothing_and_takes_several_rows() -> None:
    card = display.side_by_side({"a": ["one", "two"], "b": ["three", "four"]})
    assert "<u>" not in card._repr_html_()
    assert card._repr_html_().count("<tr>") == 3
    assert repr(card) == "a: one\nb: three\n\na: two\nb: four"


def test_side_by_side_answers_unfit_columns_in_words() -> None:
    with pytest.raises(LabError, match="no column 'c'.*'a', 'b'"):
        display.side_by_side({"a": "x", "b": "y"}, reference="c")
    with pytest.raises(LabError, match="'a' has 1, 'b' has 2"):
        display.side_by_side({"a": "x", "b": ["y", "z"]})


def test_dialogue_shows_speakers_turns_and_summaries_in_order() -> None:
    card = display.show_dialogue("#Person1#: Hi.\n#Person2#: Hello.", "They greet.")
    assert repr(card) == "#Person1#: Hi.\n#Person2#: Hello.\nSummary: They greet."
    parts = re.findall(r">([^<>]+)<", card._repr_html_())
    assert parts == ["#Person1#", "Hi.", "#Person2#", "Hello.", "Summary", "They greet."]


@pytest.mark.parametrize("make", PLOTS.values(), ids=PLOTS.keys())
def test_figures_have_named_axes_and_an_opaque_light_background(make: Callable[[], Plot]) -> None:
    figure = make().figure
    assert isinstance(figure, Figure)
    *paper, opaque = to_rgba(figure.get_facecolor())
    assert min(paper) > 0.9
    assert opaque == 1
    (axes,) = figure.axes
    assert axes.get_xlabel()
    assert axes.get_ylabel() or [label.get_text() for label in axes.get_yticklabels()] == ["zero-shot"]
    assert figure.legends or not axes.get_legend_handles_labels()[1]


@pytest.mark.parametrize("make", PLOTS.values(), ids=PLOTS.keys())
def test_pictures_have_round_corners_with_nothing_behind_them(make: Callable[[], Plot]) -> None:
    opaque = image.imread(io.BytesIO(make().png()))[..., 3]
    assert max(opaque[0, 0], opaque[0, -1], opaque[-1, 0], opaque[-1, -1]) == 0
    assert opaque[20:-20, 20:-20].min() == 1


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("make", PLOTS.values(), ids=PLOTS.keys())
def test_figures_are_the_same_each_time(make: Callable[[], Plot]) -> None:
    first, again = make(), make()
    picture, metadata = first._repr_png_()
    assert picture.startswith(b"\x89PNG")
    assert picture == again.png()
    assert metadata["alt"] == repr(first) == repr(again)


@pytest.mark.parametrize("name", ["line_with_band", "sweep_plot"])
def test_series_differ_by_marker_and_line_and_not_by_colour_alone(name: str) -> None:
    (axes,) = PLOTS[name]().figure.axes
    named = [line for line in axes.lines if not str(line.get_label()).startswith("_")]
    assert len(named) == 2
    assert len({line.get_marker() for line in named}) == 2
    assert len({line.get_linestyle() for line in named}) == 2


def test_text_of_a_figure_holds_its_numbers() -> None:
    assert repr(PLOTS["score_bars"]()).splitlines() == [
        "Figure: ROUGE-1 F (0 to 1)",
        "  zero-shot: 0.61 [0.58, 0.64]",
        "  baseline longest turn: 0.20",
    ]
    assert "  0.60  ▁wants" in repr(PLOTS["token_bars"]()).splitlines()


def test_labels_of_close_points_do_not_hide_each_other() -> None:
    close = {f"setting {number}": ((0.5 + number / 500,) * 3, (0.5,) * 3) for number in range(6)}
    figure = figures.sweep_plot({"family": close}, "x (0 to 1)", "y (0 to 1)").figure
    figure.draw_without_rendering()
    boxes = [Text.get_window_extent(note) for note in figure.axes[0].texts]
    assert len(boxes) == 6
    assert not any(one.overlaps(other) for one in boxes for other in boxes if one is not other)


def test_a_dollar_sign_in_a_token_stays_a_dollar_sign() -> None:
    (axes,) = PLOTS["token_bars"]().figure.axes
    (label,) = [label for label in axes.get_yticklabels() if "$" in label.get_text()]
    assert label.get_text() == "$4 or $5"
    assert not label.get_parse_math()


def test_unknown_characters_of_a_model_raise_no_warning(recwarn: pytest.WarningsRecorder) -> None:
    figures.token_bars(["漢字", "ok"], [0.5, 0.5]).png()
    assert not recwarn.list


def test_bars_need_a_probability_for_each_token() -> None:
    with pytest.raises(LabError, match="2 tokens but 1 numbers"):
        figures.token_bars(["a", "b"], [1.0])


def sanitized(shown: Card | Plot) -> list[str]:
    texts = [repr(shown), shown.html if isinstance(shown, Card) else ""]
    for regex, replacement in get_sanitize_patterns(
        (ROOT / "tests" / "nbval_sanitize.cfg").read_text(encoding="utf-8")
    ):
        texts = [re.sub(regex, replacement, text) for text in texts]
    return texts


def test_numbers_marked_as_about_are_passed_over_and_nothing_else_is() -> None:
    def made(score: str, name: str = "LoRA", trained: int = 3) -> Card:
        return display.show_table([{"model": name, "ROUGE-1": score, "trained": trained}])

    first, second = display.about(made("0.72 [0.70, 0.74]")), display.about(made("0.71 [0.69, 0.74]"))
    assert "\N{ALMOST EQUAL TO}0.72 [\N{ALMOST EQUAL TO}0.70, " in repr(first)
    assert "\N{ALMOST EQUAL TO}0.72" not in first.html
    assert first.html.count("the last digits depend on the machine") == 1, "said once, below the table"
    assert repr(first) != repr(second)
    assert sanitized(first) == sanitized(second)
    assert sanitized(first) != sanitized(display.about(made("0.72 [0.70, 0.74]", name="full")))
    assert sanitized(first) != sanitized(display.about(made("0.72 [0.70, 0.74]", trained=4)))
    assert sanitized(made("0.72")) != sanitized(made("0.71"))
    assert repr(display.about(first)) == repr(first)


def test_numbers_of_a_figure_are_marked_as_about_and_those_in_styles_are_not() -> None:
    plot = PLOTS["score_bars"]()
    assert "  zero-shot: \N{ALMOST EQUAL TO}0.61 [\N{ALMOST EQUAL TO}0.58, " in repr(display.about(plot))
    assert display.about(plot).png() == plot.png()
    card = display.show_table([{"n": "0.5"}])
    styles, with_note = (re.findall(r"style=\"[^\"]*\"", each.html) for each in (card, display.about(card)))
    assert with_note[: len(styles)] == styles
