"""The playground: what it shows of a summary, that its knobs do what they say, and what it answers to wrong ones."""

from typing import Any

import pytest
from transformers import GenerationConfig

from genai_labs.errors import LabError
from genai_labs.loading import data, models
from genai_labs.loading.profiles import load_profile
from genai_labs.prompting import generation, playground, prompts

ROWS = data.load_split(load_profile("mini").dataset, "validation")[:3]
OWN = "Anna: Could you lend me your ladder?\nBen: Not before Monday, I'm afraid."


@pytest.fixture(scope="module")
def reader() -> tuple[Any, Any]:
    return models.load_model(load_profile("mini"))


def test_it_writes_what_the_lab_writes(reader: tuple[Any, Any]) -> None:
    (summary,) = generation.generate(*reader, [prompts.zero_shot(ROWS[1].dialogue)], generation.greedy(40))
    card = playground.try_out(*reader, ROWS, dialogue=1, tokens=40)
    assert f"Written: {summary}" in card.text.replace("*", "")
    assert ROWS[1].dialogue in card.text
    assert ROWS[1].references[0] in card.text
    assert "greedy decoding" in card.text
    assert "ROUGE-1 " in card.text


def test_exemplars_template_and_beginning_reach_the_model(reader: tuple[Any, Any]) -> None:
    plain = playground.try_out(*reader, ROWS, tokens=20)
    shown = playground.try_out(*reader, ROWS, tokens=20, exemplars=[prompts.Exemplar("A: Hi.\nB: Bye.", "They part.")])
    other = playground.try_out(*reader, ROWS, tokens=20, template="{dialogue}", begun="#Person1#")
    lengths = [int(card.text.split("Prompt: ")[1].split(" of ")[0]) for card in (plain, shown, other)]
    assert lengths[1] > lengths[0] > lengths[2]
    assert "next token after '#Person1#'" in other.text


def test_own_dialogues_keep_their_names_and_have_no_scores(reader: tuple[Any, Any]) -> None:
    solved = prompts.choose_exemplars(data.load_split(load_profile("mini").dataset, "train"), 1, 0)
    card = playground.try_out(*reader, ROWS, dialogue=OWN, exemplars=solved)
    assert "Anna" in card.text.split("Written:")[1].split("\n")[0]
    assert "There is no reference" in card.text
    assert "ROUGE" not in card.text
    assert "Anna" in card._repr_html_()


def test_a_seed_repeats_a_sample_and_temperature_changes_it(reader: tuple[Any, Any]) -> None:
    one, again, another = (
        playground.try_out(*reader, ROWS, seed=seed, temperature=1.5, tokens=30).text for seed in (1, 1, 2)
    )
    assert one == again
    assert one.split("Written:")[1].split("\n")[0] != another.split("Written:")[1].split("\n")[0]
    assert "temperature 1.5, top-k off, top-p 1, seed 1" in one


def test_top_k_and_top_p_keep_the_likeliest_and_share_out_what_is_left() -> None:
    candidates = [("a", 0.5), ("b", 0.3), ("c", 0.15), ("d", 0.05)]

    def kept(top_k: int = 0, top_p: float = 1.0) -> dict[str, float]:
        config = GenerationConfig(do_sample=True, top_k=top_k, top_p=top_p)
        return dict(playground.kept_candidates(candidates, config))

    assert kept() == pytest.approx(dict(candidates))
    assert kept(top_k=2) == pytest.approx({"a": 0.625, "b": 0.375})
    assert kept(top_p=0.6) == pytest.approx({"a": 0.625, "b": 0.375})
    assert kept(top_p=0.4) == {"a": 1.0}
    assert list(kept(top_k=3, top_p=0.9)) == ["a", "b", "c"]


def test_words_are_marked_that_carry_content_and_do_not_stand_in_the_dialogue() -> None:
    pieces = playground.mark_ungrounded("#Person1# borrows the ladders, and the bucket.", "May I have the ladder?")
    assert [text.strip() for text, marked in pieces if marked] == ["borrows", "bucket."]
    assert "".join(text for text, _ in pieces) == "#Person1# borrows the ladders, and the bucket."


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"dialogue": 3}, "There is no dialogue 3: there are 3"),
        ({"dialogue": -1}, "whole number"),
        ({"dialogue": " "}, "The dialogue is empty"),
        ({"template": "Summarize."}, "{dialogue}"),
        ({"temperature": -0.1}, "temperature is -0.1"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"temperature": float("inf")}, "temperature=inf"),
        ({"temperature": "hot"}, "temperature is hot"),
        ({"top_p": 0}, "top_p=0"),
        ({"top_p": 1.5}, "top_p is 1.5"),
        ({"top_k": 2.5}, "top_k"),
        ({"tokens": 0}, "tokens is 0"),
        ({"exemplars": prompts.Exemplar("A: a", "b")}, "list"),
    ],
)
def test_a_knob_that_makes_no_sense_is_answered_in_words(
    knobs: dict[str, Any], words: str, reader: tuple[Any, Any]
) -> None:
    with pytest.raises(LabError) as caught:
        playground.try_out(*reader, ROWS, **knobs)
    assert words in str(caught.value)
