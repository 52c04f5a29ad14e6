"""What the labs read beside dialogues and models: rebuilt byte for byte, drawn by seed, refused in words if damaged."""

import random
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from embedded_world.corpus import lab_files
from genai_labs.errors import LabError
from genai_labs.finetuning import forgetting
from genai_labs.loading import lab_data, profiles
from genai_labs.paths import DATA
from genai_labs.prompting import reasoning, retrieval
from genai_labs.reasoning import acting, problems, town
from genai_labs.rlhf import conflict, dialogues, preferences
from tests.variants import Variant, assert_noticed

ROWS = [{"seed": seed, "text": text} for seed, text in zip("00011", "abcde", strict=True)]


def texts(count: int, seed: int) -> str:
    return "".join(row["text"] for row in lab_data.draw(ROWS, count, seed, "letters"))


def test_the_committed_files_and_cards_are_what_the_generator_makes(tmp_path: Path) -> None:
    lab_files.write_files(tmp_path)
    made = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.*"))
    assert len(made) == sum(len(files) + 1 for files in lab_files.FILES.values())
    assert [str(path) for path in made if (tmp_path / path).read_bytes() != (DATA / path).read_bytes()] == []


def test_a_seed_has_its_own_rows_first_and_then_all_others() -> None:
    assert texts(3, 0) == "abc"
    assert texts(2, 1) == "de"
    assert sorted(texts(5, 1)[2:]) == list("abc")
    assert sorted(texts(5, 7)) == list("abcde")
    assert texts(5, 7) == texts(5, 7) != texts(5, 8)
    assert texts(0, 0) == ""


def test_more_rows_than_there_are_and_odd_seeds_are_refused_in_words() -> None:
    with pytest.raises(LabError, match="6 letters are needed, and there are 5"):
        texts(6, 0)
    for count, seed in ((-1, 0), (1, "0"), (1.5, 0)):
        with pytest.raises(LabError, match="^The (number of letters|seed) is .*has to be a whole number"):
            texts(count, seed)  # type: ignore[arg-type]


def test_files_are_those_of_the_profile_and_damage_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = profiles.replace(profiles.PROFILES["mini"], lab_data=str(tmp_path))
    monkeypatch.setitem(profiles.PROFILES, "elsewhere", other)
    monkeypatch.setattr(lab_data, "loaded_profile", lambda: "elsewhere")
    with pytest.raises(LabError, match=r"words\.csv is missing\. .* git checkout -- data"):
        lab_data.read("words.csv", "word")
    (tmp_path / "words.csv").write_text("word\ngoat\n", encoding="utf-8")
    with pytest.raises(LabError, match=r"words\.csv lacks the column label\. Restore it with"):
        lab_data.read("words.csv", "word", "label")
    assert lab_data.read("words.csv", "word") == ({"word": "goat"},)
    with pytest.raises(LabError, match=r"words\.csv lacks the columns label, kind\. "):
        lab_data.read("words.csv", "word", "label", "kind")
    monkeypatch.setattr(lab_data, "loaded_profile", lambda: "one that nobody knows")
    assert len(lab_data.read("toxicity/hostile_words.csv", "word")) > 1, "those of the embedded world"


READERS: dict[str, tuple[Callable[[], object], set[str]]] = {  # a file, who reads it, and what nobody reads of it
    "rlhf/cases.csv": (dialogues.evaluation_cases, set()),
    "rlhf/validation_cases.csv": (dialogues.validation_cases, set()),
    "rlhf/harsh_summaries.csv": (dialogues.harsh_rows, set()),
    "rlhf/ppo_dialogues.csv": (lambda: dialogues.ppo_dialogues(1), set()),
    "rlhf/neutral_summaries.csv": (lambda: dialogues.neutral_summaries(1), set()),
    "rlhf/insults.csv": (conflict.insults, {"category"}),
    "rlhf/neutral_reports.csv": (lambda: conflict.reports("They talk."), set()),
    "rlhf/silence_pairs.csv": (preferences.silence_pairs, set()),
    "toxicity/preferences.csv": (preferences.read_preferences, {"id", "votes"}),
    "tasks/other_tasks.csv": (lambda: forgetting.other_tasks(1), set()),
    "tasks/replay.csv": (lambda: forgetting.replay([], 0.2, None), {"task"}),
    "reasoning/word_problems.csv": (reasoning.problems, set()),
    "reasoning/kinds.csv": (lambda: problems.of_kind("new story"), set()),
    "reasoning/practice.csv": (problems.to_practise, set()),
    "reasoning/tools.csv": (acting.tasks_for_tools, set()),
    "retrieval/notes.csv": (retrieval.library, set()),
    "retrieval/town.csv": (town.read_town, set()),
}


@pytest.mark.parametrize("name", READERS)
def test_every_column_that_is_read_is_asked_for(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, unread = READERS[name]
    monkeypatch.setitem(
        profiles.PROFILES, "elsewhere", profiles.replace(profiles.PROFILES["mini"], lab_data=str(tmp_path))
    )
    table = pd.read_csv(DATA / name, dtype=str, keep_default_na=False).head(20)
    (tmp_path / name).parent.mkdir()
    for column in set(table.columns) - unread:
        table.drop(columns=column).to_csv(tmp_path / name, index=False)
        with monkeypatch.context() as patch:
            patch.setattr(lab_data, "loaded_profile", lambda: "elsewhere")
            for cached in (lab_data._rows, conflict.insults, conflict._patterns):
                cached.cache_clear()
            with pytest.raises(LabError, match=rf"{Path(name).name} lacks the column {column}\."):
                read()
    for cached in (lab_data._rows, conflict.insults, conflict._patterns):
        cached.cache_clear()


# Wrong variants that a test must notice.


def of_any_seed(rows: list[lab_data.Record], count: int, seed: int, what: str) -> list[lab_data.Record]:
    return random.Random(seed).sample(rows, count)


DRAW = lab_data.draw
WRONG = {
    "the seed is ignored": lambda rows, count, seed, what: DRAW(rows, count, 0, what),
    "rows of any seed": of_any_seed,
    "rows as they stand in the file": lambda rows, count, seed, what: rows[:count],
    "own rows again where there are too few": lambda rows, count, seed, what: (DRAW(rows, 2, seed, what) * 5)[:count],
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_variant_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check = test_a_seed_has_its_own_rows_first_and_then_all_others
    assert_noticed(Variant(lab_data, "draw", WRONG[name], check), monkeypatch)
