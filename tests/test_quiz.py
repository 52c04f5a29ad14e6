"""The quizzes: one right option a question, each option explained, the right ones by what the package works out."""

from __future__ import annotations

import json
import re
from typing import Any

import nbformat
import pytest
import torch
from rouge_score.rouge_scorer import RougeScorer
from transformers import TopKLogitsWarper, TopPLogitsWarper

from genai_labs.course.runner import LAB_NOTEBOOKS
from genai_labs.errors import LabError
from genai_labs.finetuning import memory
from genai_labs.paths import NOTEBOOKS, RESULTS
from genai_labs.prompting import reasoning
from genai_labs.show import quiz as quizzes
from genai_labs.show.quiz import LETTERS, quiz, quiz_questions, right_letter

WEEKS = (1, 2, 3)
QUESTIONS = [(week, number) for week in WEEKS for number in range(1, 6)]
WORKED_OUT: dict[
    tuple[int, int], set[float]
] = {  # numbers of explanations that stand neither in the question nor in the notebook
    (1, 3): {4 * 4},
    (1, 4): {3 * 3},
    (2, 3): {0.408 - 0.233, 0.422 - 0.233},
    (3, 4): {54 + 39, 3 * 16},
}


def question(week: int, number: int) -> dict[str, Any]:
    return quiz_questions()[week][number - 1]


def option_texts(question: dict[str, Any]) -> list[str]:
    """What the options of a question say, in the order of their letters."""
    return [str(option.get("right", option.get("wrong"))) for option in question["options"]]


def right_text(week: int, number: int) -> str:
    found = question(week, number)
    return option_texts(found)[LETTERS.index(right_letter(found))]


def wrong_texts(week: int, number: int) -> list[str]:
    return [text for text in option_texts(question(week, number)) if text != right_text(week, number)]


def whole_text(lab: int) -> str:
    """Sources and outputs of a notebook."""
    cells = nbformat.read(NOTEBOOKS / LAB_NOTEBOOKS[lab], as_version=4).cells
    return "\n".join([cell.source for cell in cells] + [json.dumps(cell.get("outputs", "")) for cell in cells])


def numbers(text: str) -> set[float]:
    return {float(each.replace(",", "")) for each in re.findall(r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?![\w])", text)}


def test_there_are_three_weeks_of_five_questions() -> None:
    assert {week: len(questions) for week, questions in quiz_questions().items()} == dict.fromkeys(WEEKS, 5)
    asked = [each["asks"] for questions in quiz_questions().values() for each in questions]
    assert len(set(asked)) == 15


@pytest.mark.parametrize(("week", "number"), QUESTIONS)
def test_one_of_four_options_is_right_and_each_is_explained(week: int, number: int) -> None:
    options = question(week, number)["options"]
    assert len(options) == len(LETTERS) == len(set(option_texts(question(week, number))))
    assert [set(option) for option in options].count({"right", "why"}) == 1
    assert [set(option) for option in options].count({"wrong", "why"}) == 3
    for option in options:
        assert re.fullmatch(r"[A-Z0-9].{25,260}[.?]", option["why"], re.DOTALL)
    assert len({option["why"] for option in options}) >= 3


def test_neither_letter_nor_length_gives_the_right_option_away() -> None:
    letters = [right_letter(question(*each)) for each in QUESTIONS]
    assert set(letters) == set(LETTERS)
    assert max(map(letters.count, LETTERS)) <= 5
    longest = [max(option_texts(question(*each)), key=len) == right_text(*each) for each in QUESTIONS]
    assert sum(longest) <= 5


@pytest.mark.parametrize(("week", "number"), QUESTIONS)
def test_a_wrong_answer_is_not_told_the_right_one(week: int, number: int) -> None:
    right = right_text(week, number).rstrip(".")
    for option in question(week, number)["options"]:
        assert "right" in option or right not in option["why"]
        assert not re.search(r"\b[a-d]\)|option [a-d]\b", option["why"])


@pytest.mark.parametrize(("week", "number"), QUESTIONS)
def test_what_a_question_refers_to_exists(week: int, number: int) -> None:
    see = question(week, number)["see"]
    assert see["lab"] == week
    cells = nbformat.read(NOTEBOOKS / LAB_NOTEBOOKS[see["lab"]], as_version=4).cells
    headings = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    assert re.search(rf"^## \d+\. {re.escape(see['section'])}$", headings, re.MULTILINE), see["section"]
    why = " ".join(option["why"] for option in question(week, number)["options"])
    for lesson in {*see.get("lessons", []), *re.findall(r"[Ll]esson (\d\.\d+)", why)}:
        measured = json.loads((RESULTS / f"lab{lesson[0]}_seeds.json").read_text(encoding="utf-8"))["lessons"]
        assert lesson in {row["id"] for row in measured}
        assert f'"{lesson}"' in whole_text(int(lesson[0]))


@pytest.mark.parametrize(("week", "number"), QUESTIONS)
def test_each_number_of_an_explanation_stands_somewhere(week: int, number: int) -> None:
    found = question(week, number)
    why = re.sub(r"[Ll]esson \d\.\d+|Lab \d", "", " ".join(option["why"] for option in found["options"]))
    known = numbers(" ".join([found["asks"], *option_texts(found)]))
    known |= {round(each, 3) for each in WORKED_OUT.get((week, number), set())}
    missing = numbers(why) - known - {0.0, 1.0, 10.0}  # as in "1 for chosen and 0 for rejected"
    assert missing <= numbers(whole_text(week)), missing


def test_memory_to_train_is_what_the_package_predicts() -> None:
    assert right_text(1, 3) == f"{memory.predicted(10**9, 10**9).total / 1e9:.0f} GB"


def test_three_times_the_parameters_cost_nine_times_the_computing() -> None:
    def cost(parameters: float) -> float:
        return 6 * parameters * 20 * parameters

    assert right_text(1, 4) == f"{cost(3e6) / cost(1e6):.0f} times as much"


def test_one_word_of_fifty_costs_so_much_rouge() -> None:
    words = [f"word{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(49)]
    one, other = (" ".join([*words, day]) for day in ("Friday", "Thursday"))
    score = RougeScorer(["rouge1"], use_stemmer=True).score(one, other)["rouge1"]
    assert score.precision == score.recall == score.fmeasure
    assert right_text(2, 2).startswith(f"{score.fmeasure:.2f},")


def test_the_share_of_the_gain_follows_from_the_published_scores() -> None:
    before, full, adapter = 0.233, 0.422, 0.408
    assert all(f"{score:.3f}" in question(2, 3)["asks"] for score in (before, full, adapter))
    assert f"{(adapter - before) / (full - before):.0%}".replace("%", " %") in right_text(2, 3)
    (share_of_score,) = [text for text in wrong_texts(2, 3) if "keeps" in text]
    assert f"{adapter / full:.0%}".replace("%", " %") in share_of_score


def test_only_a_shift_of_all_scores_leaves_the_loss_of_preferences() -> None:
    chosen, rejected = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([0.0, 1.0, -1.0])

    def loss(chosen: torch.Tensor, rejected: torch.Tensor) -> float:
        return float(-torch.nn.functional.logsigmoid(chosen - rejected).mean())

    changed = {
        "Adding 10 to every score": loss(chosen + 10, rejected + 10),
        "Multiplying every score by 10": loss(10 * chosen, 10 * rejected),
        "Replacing the scores by 1 for chosen and 0 for rejected": loss(chosen * 0 + 1, rejected * 0),
        "Exchanging the two scores of every pair": loss(rejected, chosen),
    }
    assert set(changed) == set(option_texts(question(3, 1)))
    same = [text for text, value in changed.items() if value == pytest.approx(loss(chosen, rejected), abs=1e-5)]
    assert same == [right_text(3, 1)]


def test_a_calculator_mends_a_wrong_result_and_no_other_mistake() -> None:
    assert "3 * 16 = 42" in right_text(3, 4)
    assert reasoning.with_calculator("First 6 + 10 = 16. Then 3 * 16 = 42. The answer is 42.") == 48
    assert reasoning.with_calculator("There are 54 + 39 = 93. The answer is 93.") == 93
    assert reasoning.with_calculator("There are 45 - 39 = 6. The answer is 6.") == 6
    assert reasoning.with_calculator("The answer is 93.") is None


def test_a_draw_from_one_token_is_no_choice() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0]])
    assert (TopKLogitsWarper(top_k=1)(torch.tensor([[0]]), logits / 2.0).softmax(-1) > 0).sum() == 1
    assert (TopPLogitsWarper(top_p=0.9)(torch.tensor([[0]]), logits).softmax(-1) > 0).sum() > 1


def test_a_quiz_that_nobody_answered_names_the_questions(capsys: pytest.CaptureFixture[str]) -> None:
    quiz(1, [None] * 5)
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == "0 of 5 right; not answered yet: 1, 2, 3, 4, 5."
    assert lines == [f"{number}. Not answered yet." for number in range(1, 6)]


@pytest.mark.parametrize("week", WEEKS)
def test_right_answers_are_told_why(week: int, capsys: pytest.CaptureFixture[str]) -> None:
    quiz(week, [right_letter(each).upper() for each in quiz_questions()[week]])
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == "5 of 5 right."
    for number, (line, each) in enumerate(zip(lines, quiz_questions()[week], strict=True), start=1):
        (why,) = [option["why"] for option in each["options"] if "right" in option]
        assert line == f"{number}. Right: {why}"


@pytest.mark.parametrize(("week", "number"), QUESTIONS)
def test_each_wrong_answer_is_told_why_and_where_to_read(
    week: int, number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    found = question(week, number)
    for letter, option in zip(LETTERS, found["options"], strict=True):
        if "wrong" in option:
            answers: list[str | None] = [None] * 5
            answers[number - 1] = f"{letter})"
            quiz(week, answers)
            line = capsys.readouterr().out.splitlines()[number]
            assert line.startswith(f"{number}. Not yet, {letter} is wrong: {option['why']} Read again: Lab {week},")
            assert found["see"]["section"] in line


def test_solutions_are_told_when_asked_for_and_only_then(capsys: pytest.CaptureFixture[str]) -> None:
    quiz(2, [None] * 5)
    assert "right answer" not in capsys.readouterr().out
    quiz(2, [None] * 5, solutions=True)
    shown = capsys.readouterr().out
    for number, each in enumerate(quiz_questions()[2], start=1):
        assert f"{number}. The right answer is {right_letter(each)}." in shown
        assert all(option["why"] in shown for option in each["options"])


@pytest.mark.parametrize("odd", ["e", "ab", "", 3, True, 0.5, ["a"], {"a"}, b"a"])
def test_an_odd_answer_is_said_in_its_line_and_the_others_count(odd: Any, capsys: pytest.CaptureFixture[str]) -> None:
    quiz(1, [right_letter(question(1, 1)), odd, ..., None, None])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("1 of 5 right; not answered yet: 3, 4, 5")
    assert lines[2].startswith("2. Not yet: ")
    assert "none of the letters" in lines[2]


@pytest.mark.parametrize("odd", [None, "abcda", [], ["a"] * 6, 5, {"1": "a"}])
def test_answers_of_another_form_are_told_the_form(odd: Any, capsys: pytest.CaptureFixture[str]) -> None:
    quiz(1, odd)
    assert capsys.readouterr().out.startswith("Not yet: a list of 5 answers is needed")


@pytest.mark.parametrize("week", [0, 4, "1", True, None])
def test_another_week_is_refused_in_words(week: Any) -> None:
    with pytest.raises(LabError, match="there are weeks 1, 2 and 3"):
        quiz(week, [None] * 5)


def test_damaged_quizzes_are_told_in_words(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("1: [", "just words", "- a"):
        (tmp_path / "quizzes.yaml").write_text(text, encoding="utf-8")
        monkeypatch.setattr(quizzes, "FILE", tmp_path / "quizzes.yaml")
        quizzes.quiz_questions.cache_clear()
        with pytest.raises(LabError, match="git checkout -- data/quizzes"):
            quizzes.quiz_questions()
    monkeypatch.undo()
    quizzes.quiz_questions.cache_clear()
    assert quizzes.quiz_questions()


def quiz_text(week: int) -> str:
    """The questions of a week with their options, as a notebook shows them."""
    parts = []
    for number, question in enumerate(quiz_questions()[week], start=1):
        options = [f"- **{letter})** {text}" for letter, text in zip(LETTERS, option_texts(question), strict=True)]
        parts.append("\n".join([f"**Question {number}.** {question['asks']}", "", *options]))
    return "\n\n".join(parts)


@pytest.mark.parametrize("week", WEEKS)
def test_a_notebook_asks_what_the_file_asks(week: int) -> None:
    """Where a notebook has the quiz, its text is the file's, and nothing is answered in it."""
    cells = {cell.id: cell for cell in nbformat.read(NOTEBOOKS / LAB_NOTEBOOKS[week], as_version=4).cells}
    if (name := f"lab{week}-quiz") not in cells:
        pytest.skip("the notebook has no quiz yet")
    assert cells[name].source.endswith(quiz_text(week))
    assert "my_answers = [None] * 5" in cells[f"{name}-code"].source
    assert f"quiz({week}, my_answers)" in cells[f"{name}-code"].source
