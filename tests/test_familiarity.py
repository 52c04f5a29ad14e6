"""How familiar a dialogue is to a model, and what a damaged scale is told."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from genai_labs.errors import LabError
from genai_labs.loading.models import load_model
from genai_labs.loading.profiles import load_profile
from genai_labs.prompting.familiarity import FILE, dialogue_losses, familiarity, known_losses

KNOWN = [1.0, 2.0, 3.0, 4.0]


def test_familiarity_is_the_share_of_known_dialogues_that_surprise_at_least_as_much() -> None:
    assert familiarity([0.5, 1.0, 2.5, 4.0, 4.1], KNOWN).tolist() == [1.0, 1.0, 0.5, 0.25, 0.0]
    assert np.isnan(familiarity([float("nan")], KNOWN)[0])


def test_without_known_dialogues_there_is_no_scale() -> None:
    with pytest.raises(LabError, match="none were given"):
        familiarity([1.0], [])


def test_a_model_without_a_scale_has_none_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    assert known_losses(tmp_path) is None
    (tmp_path / FILE).write_text('{"losses": ["x"]}', encoding="utf-8")
    with pytest.raises(LabError, match=rf"{FILE} beside the model cannot be read .* git checkout -- data/models"):
        known_losses(tmp_path)
    (tmp_path / FILE).write_text('{"losses": [1, 2]}', encoding="utf-8")
    assert known_losses(tmp_path) == [1.0, 2.0]


def test_a_loss_is_the_mean_over_the_tokens_of_all_turns_but_the_first_each_read_behind_those_before_it() -> None:
    model, tokenizer = load_model(load_profile("mini"))
    turns = ["#Person1#: Hello.", "#Person2#: Good morning, I am looking for a blue scarf.", "#Person1#: Here it is."]
    total, count = 0.0, 0
    for number in (1, 2):  # one at a time, so that nothing is padded
        read = tokenizer("\n".join(turns[:number]), return_tensors="pt")
        written = tokenizer(turns[number], return_tensors="pt").input_ids
        with torch.no_grad():
            total += float(model(**read, labels=written).loss) * written.shape[1]
        count += written.shape[1]
    found = dialogue_losses(model.train(), tokenizer, ["\n".join(turns)], progress=False)
    assert found.tolist() == pytest.approx([total / count], abs=1e-4)
    assert model.training, "it is left as it was"


def test_empty_lines_are_no_turns() -> None:
    model, tokenizer = load_model(load_profile("mini"))
    talk = "#Person1#: Hello.\n#Person2#: Good morning.\n#Person1#: Bye."
    close, wide = dialogue_losses(model, tokenizer, [talk, talk.replace("\n", "\n \n\n") + "\n\n"], progress=False)
    assert wide == pytest.approx(close, rel=1e-5)


def test_of_what_is_longer_than_the_window_the_end_is_read() -> None:
    model, tokenizer = load_model(load_profile("mini"))
    first, last = "#Person1#: " + "Well, I say it once more. " * 150, "#Person2#: Good."
    window = tokenizer.model_max_length
    read = tokenizer(first, return_tensors="pt").input_ids
    assert read.shape[1] > window, "else this test shows nothing"
    with torch.no_grad():
        loss = float(model(input_ids=read[:, -window:], labels=tokenizer(last, return_tensors="pt").input_ids).loss)
    assert dialogue_losses(model, tokenizer, [f"{first}\n{last}"]).tolist() == pytest.approx([loss], abs=1e-4)


def test_of_a_turn_that_is_longer_than_the_window_the_beginning_is_predicted() -> None:
    model, tokenizer = load_model(load_profile("mini"))
    first, last = "#Person1#: Hello.", "#Person2#: " + "Well, I say it once more. " * 150
    written = tokenizer(last, return_tensors="pt", truncation=True).input_ids
    with torch.no_grad():
        loss = float(model(**tokenizer(first, return_tensors="pt"), labels=written).loss)
    assert dialogue_losses(model, tokenizer, [f"{first}\n{last}"]).tolist() == pytest.approx([loss], abs=1e-4)


def test_a_long_dialogue_is_read_in_slices_and_its_loss_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer = load_model(load_profile("mini"))
    talk = "\n".join(f"#Person{1 + i % 2}#: " + "It is " * (i % 3) + f"day {i}." for i in range(26))
    rows: list[int] = []
    model.register_forward_pre_hook(lambda _, __, named: rows.append(len(named["input_ids"])), with_kwargs=True)
    sliced = dialogue_losses(model, tokenizer, [talk, "\n".join(talk.splitlines()[:24])], progress=False)
    assert rows == [8, 8, 8, 1, 23], "of few turns all are read at once, as the stored losses were"
    monkeypatch.setattr("genai_labs.prompting.familiarity.ONE_BATCH", 30)
    assert dialogue_losses(model, tokenizer, [talk], progress=False) == pytest.approx(sliced[:1], rel=1e-5)


class Bar:
    """Notes how far it was moved."""

    def __init__(self, total: float, what: str, shown: bool = True) -> None:
        self.made, self.moves = (total, what, shown), list[float]()

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *_: object) -> None: ...

    def update(self, n: float) -> None:
        self.moves.append(n)


@pytest.mark.parametrize("shown", [True, False])
def test_a_bar_moves_by_one_dialogue_and_is_shown_unless_told_otherwise(
    shown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    bars: list[Bar] = []

    def bar(*given: Any, **named: Any) -> Bar:
        bars.append(Bar(*given, **named))
        return bars[-1]

    monkeypatch.setattr("genai_labs.prompting.familiarity.bar", bar)
    model, tokenizer = load_model(load_profile("mini"))
    dialogues = ["#Person1#: Hello.\n#Person2#: Hello."] * 2
    dialogue_losses(model, tokenizer, dialogues, **{} if shown else {"progress": False})
    assert [(each.made, each.moves) for each in bars] == [((2, "Reading dialogues", shown), [1, 1])]


def test_what_are_no_texts_is_named() -> None:
    model, tokenizer = load_model(load_profile("mini"))
    with pytest.raises(LabError, match="One text was given as dialogues,"):
        dialogue_losses(model, tokenizer, "#Person1#: Hello.")


def test_scrambled_words_surprise_the_model_more_than_a_dialogue() -> None:
    model, tokenizer = load_model(load_profile("mini"))
    dialogue = (
        "#Person1#: Hello, can I help you?\n#Person2#: Yes, I am looking for a blue scarf.\n#Person1#: Here it is."
    )
    scrambled = "#Person1#: you Hello help can?\n#Person2#: scarf a am blue Yes for I looking.\n#Person1#: is Here it."
    losses = dialogue_losses(model, tokenizer, [dialogue, scrambled, "#Person1#: Hello."], progress=False)
    assert losses[0] < losses[1]
    assert np.isnan(losses[2])
