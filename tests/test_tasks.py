"""The pre-training mixture: each task's source and target are what the task says."""

import random
import re

import pytest

from embedded_world.corpus import tasks
from embedded_world.corpus.styles import HOUSE
from genai_labs.prompting import prompts


@pytest.fixture
def rng() -> random.Random:
    return random.Random(7)


def test_the_mixture_is_the_same_for_the_same_seed() -> None:
    first = [tasks.sample_example(2, random.Random(3)) for _ in range(1)]
    again = [tasks.sample_example(2, random.Random(3)) for _ in range(1)]
    assert first == again
    for shares in tasks.MIXTURE.values():
        assert sum(shares.values()) == pytest.approx(1)


def test_next_turn_is_the_turn_that_follows(rng: random.Random) -> None:
    for _ in range(50):
        example = tasks.next_turn(rng)
        assert example.target.startswith("#Person")
        assert example.source.startswith("#Person1#: ")
        assert not any(words in example.source for words in ("Summarize", "Summary:"))


def test_span_corruption_can_be_put_together_again(rng: random.Random) -> None:
    example = tasks.span_corruption(rng)
    spans = {}
    for part in example.target.split("<extra_id_")[1:]:
        number, _, words = part.partition(">")
        spans[f"<extra_id_{number}>"] = words.strip()
    whole = " ".join(spans.get(word, word) for word in example.source.split())
    assert "<extra_id_" not in whole
    assert whole.startswith("#Person1#: ") or example.source.startswith("<extra_id_0>")


def test_the_unseen_wording_is_never_trained_on(rng: random.Random) -> None:
    ending = prompts.INSTRUCTIONS[prompts.UNSEEN_INSTRUCTION].replace("{dialogue}", "").strip()
    assert not any(ending in tasks.sample_example(stage, rng).source for stage in (1, 2) for _ in range(400))


def test_exemplars_and_target_share_one_style(rng: random.Random) -> None:
    for _ in range(100):
        example = tasks.summarize_like(rng, 1, house_share=1.0)
        exemplar = example.source.split("\n\n\n")[0]
        assert "#Person" in exemplar.rsplit("#Person1#: ", 1)[-1] or "#Person" in example.target
        assert "#Person" in example.target
        assert not example.target.startswith(("In short", "They talk", "To sum up", "Conversation"))
    assert HOUSE.naming == "tag"


def test_strange_words_stand_in_dialogue_and_summary_alike(rng: random.Random) -> None:
    text = "#Person1#: Can you mend the kettle by Friday?\n#Person2#: The kettle? With pleasure."
    summary = "Person1 wants the kettle mended by Friday"
    new_text, new_summary = tasks.strange(text, summary, rng)
    swapped = set(new_summary.split()) - set(summary.split())
    assert len(swapped) == 1
    assert new_text.count(swapped.pop()) == 2
    assert "kettle" not in new_text + new_summary
    assert "Friday" in new_summary
    assert "pleasure" in new_text


def test_sums_are_right_and_small(rng: random.Random) -> None:
    for _ in range(200):
        example = tasks.sums(rng)
        expression = example.source.split(" =")[0]
        assert int(example.target) == tasks.evaluate(expression, {})
        assert 0 <= int(example.target) <= 100


def test_problems_are_solved_right(rng: random.Random) -> None:
    for _ in range(300):
        example = tasks.word_problem(rng, worked=True)
        assert example.target.endswith(".")
        for left, sign, right, result in re.findall(r"(\d+) ([-+*]) (\d+) = (\d+)", example.target):
            assert tasks.evaluate(f"{left} {sign} {right}", {}) == int(result)
        assert re.search(r"The answer is \d+\.$", example.target)


def test_only_arithmetic_is_evaluated() -> None:
    assert tasks.evaluate("x + 2 * y", {"x": 1, "y": 3}) == 7
    assert tasks.evaluate("x > y", {"x": 1, "y": 3}) is False
    with pytest.raises((ValueError, KeyError)):
        tasks.evaluate("__import__('os')", {})


def test_a_note_question_is_answered_in_its_notes(rng: random.Random) -> None:
    for _ in range(200):
        example = tasks.note_question(rng)
        assert "{" not in example.source + example.target
        assert example.target.lower() in example.source.lower()


def test_the_new_wordings_were_in_no_training() -> None:
    trained = [prompts.INSTRUCTIONS[name] for name in tasks.TRAINED_INSTRUCTIONS]
    assert len(set(prompts.NEW_WORDINGS)) == 20
    assert all(wording.count("{dialogue}") == 1 for wording in prompts.NEW_WORDINGS)
    around = [[part.strip() for part in wording.split("{dialogue}")] for wording in (*trained, *prompts.NEW_WORDINGS)]
    assert len({tuple(parts) for parts in around}) == len(around)
