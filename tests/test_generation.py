"""Generation: order, batches that change nothing, reproducible samples, and models that cannot be loaded."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase, T5Config

from genai_labs.errors import LabError
from genai_labs.loading import checksums, data, models, sources
from genai_labs.loading.profiles import PROFILES, load_profile
from genai_labs.prompting import encoding, generation, prompts
from genai_labs.show.scoreboard import BEST_BASELINE, Scoreboard
from tests.variants import Variant, assert_noticed

Loaded = tuple[PreTrainedModel, PreTrainedTokenizerBase]


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    return models.load_model(load_profile("mini"))


@pytest.fixture(scope="module")
def rows() -> list[data.Row]:
    return data.load_split(load_profile("mini").dataset, "validation")[:24]


def test_greedy_text_does_not_depend_on_the_batch_size_or_the_order(loaded: Loaded, rows: list[data.Row]) -> None:
    asked = [prompts.zero_shot(row.dialogue) for row in rows]
    one_by_one = generation.generate(*loaded, asked, batch_size=1)
    for size in (3, 8, 24):
        assert generation.generate(*loaded, asked, batch_size=size) == one_by_one
    assert generation.generate(*loaded, asked[::-1], batch_size=8) == one_by_one[::-1]
    assert len(set(one_by_one)) > 20


def test_samples_depend_on_the_seed_alone(loaded: Loaded, rows: list[data.Row]) -> None:
    asked = [prompts.zero_shot(row.dialogue) for row in rows[:6]]
    config = GenerationConfig(do_sample=True, temperature=1.0, top_k=0, max_new_tokens=20)
    configs = {"hot": config, "greedy": GenerationConfig(max_new_tokens=20)}
    first = generation.sample(*loaded, asked, configs, 3, seed=1)
    assert [len(group) for group in first["hot"]] == [3] * 6
    assert [len(group) for group in first["greedy"]] == [1] * 6
    assert first == generation.sample(*loaded, asked, configs, 3, seed=1)
    assert first["hot"] == generation.sample(*loaded, asked, {"hot": config}, 3, seed=1)["hot"]
    assert first["hot"] != generation.sample(*loaded, asked, configs, 3, seed=2)["hot"]


def test_generation_leaves_the_model_as_it_was(loaded: Loaded) -> None:
    model, tokenizer = loaded
    before = {name: p.clone() for name, p in model.named_parameters()}
    model.train()
    generation.generate(model, tokenizer, ["#Person1#: Hello."])
    assert model.training
    model.eval()
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


def test_prompts_over_the_window_are_noted(loaded: Loaded, capsys: pytest.CaptureFixture[str]) -> None:
    long = "#Person1#: " + "word " * 60
    generation.generate(*loaded, [long, "#Person1#: Hi."], max_length=40)
    assert "1 of 2 prompts are longer than the window of 40 tokens" in capsys.readouterr().out


def test_next_token_probabilities_are_a_distribution(loaded: Loaded, rows: list[data.Row]) -> None:
    model, tokenizer = loaded
    prompt = prompts.zero_shot(rows[0].dialogue)
    options = generation.next_token_probabilities(model, tokenizer, prompt)
    values = [p for _, p in options]
    assert sum(values) == pytest.approx(1, abs=1e-4)
    assert values == sorted(values, reverse=True)
    greedy = generation.generate(model, tokenizer, [prompt])[0]
    first = tokenizer.convert_ids_to_tokens(tokenizer(greedy)["input_ids"])[0]
    assert options[0][0] == first
    sharper = generation.next_token_probabilities(model, tokenizer, prompt, temperature=0.5)
    assert sharper[0][1] >= options[0][1]


def test_attention_to_the_prompt_is_a_distribution(loaded: Loaded, rows: list[data.Row]) -> None:
    model, tokenizer = loaded
    prompt = prompts.zero_shot(rows[0].dialogue)
    looked = generation.attention_to_prompt(model, tokenizer, prompt, "In short,", most=5000)
    assert looked != generation.attention_to_prompt(model, tokenizer, prompt, "In short,", layer=0, most=5000)
    assert sum(weight for _, weight in looked) == pytest.approx(1, abs=1e-4)
    assert len(looked) == len(tokenizer(prompt)["input_ids"])
    assert [weight for _, weight in looked] == sorted((weight for _, weight in looked), reverse=True)


def test_what_is_looked_into_is_the_prompt_that_is_written_to(loaded: Loaded) -> None:
    typed, read = (f"#Person1#: {said}\n#Person2#: Yes.\n\nSummary:" for said in ("Zoë’s café?", "Zoe's cafe?"))
    for look in (generation.next_token_probabilities, partial(generation.attention_to_prompt, so_far="Zoe")):
        assert look(*loaded, typed) == look(*loaded, read)
    before = [generation.next_token_probabilities(*loaded, read, so_far) for so_far in ("Zoë", "Zoe")]
    assert before[0] == before[1]


def test_long_prompts_are_read_in_smaller_groups() -> None:
    assert list(encoding._groups([3, 3, 4, 9, 20], tokens=12)) == [slice(0, 3), slice(3, 4), slice(4, 5)]


def test_the_tokenizer_keeps_to_t5s_conventions(loaded: Loaded) -> None:
    _, tokenizer = loaded
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id) == (0, 1, 2)
    assert tokenizer.convert_tokens_to_ids("<extra_id_0>") == len(tokenizer) - 1
    assert tokenizer.convert_tokens_to_ids("<extra_id_99>") == len(tokenizer) - 100
    text = "#Person1#: Half past six on May 4, for $45?"
    ids = tokenizer(text)["input_ids"]
    assert ids[-1] == 1
    assert tokenizer.decode(ids, skip_special_tokens=True) == text
    assert set(tokenizer(text)) == {"input_ids", "attention_mask"}


def test_the_embedded_model_is_small_safe_and_t5(loaded: Loaded) -> None:
    model, _ = loaded
    assert 3e6 <= models.count_parameters(model) <= 8e6
    assert model.config.model_type == "t5"
    assert model.config.feed_forward_proj == "gated-gelu"
    files = {path.name: path.stat().st_size for path in Path(load_profile("mini").model).iterdir()}
    assert files["model.safetensors"] <= 14e6
    assert not [name for name in files if Path(name).suffix in {".bin", ".pt", ".pth", ".pkl", ".py"}]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "model.safetensors").unlink(), r"model\.safetensors .* is missing"),
        (lambda folder: (folder / "config.json").write_text(""), r"config\.json .* is empty"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"\x10" * 500), "damaged or cut off"),
        (lambda folder: (folder / "tokenizer.json").write_text("{"), "damaged or cut off"),
    ],
)
def test_a_damaged_model_is_answered_in_words(
    damage: object, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "t5-reader"
    shutil.copytree(load_profile("mini").model, folder, ignore=shutil.ignore_patterns(checksums.SUMS))
    assert callable(damage)
    damage(folder)
    with pytest.raises(LabError, match=words) as caught:
        models.load_model(replace(load_profile("mini"), model=str(folder)))
    assert "Fetch it again" in str(caught.value)
    monkeypatch.setattr(sources, "MODELS", tmp_path)  # as if it lay where the embedded models do
    shutil.copy(Path(load_profile("mini").model) / checksums.SUMS, folder)
    with pytest.raises(LabError, match="git checkout -- data/models/t5-reader"):
        models.load_model(replace(load_profile("mini"), model=str(folder)))


def test_an_unknown_profile_lists_the_known_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LabError, match="There are: mini"):
        load_profile("maxi")
    monkeypatch.setenv("GENAI_LABS_PROFILE", "huge")
    with pytest.raises(LabError, match="'huge'"):
        load_profile()
    assert set(PROFILES) == {"mini", "flan-t5-small", "flan-t5-base", "flan-t5-large", "flan-t5-xl"}


def test_the_scoreboard_always_shows_the_baselines(rows: list[data.Row]) -> None:
    board = Scoreboard(rows, data.load_split(load_profile("mini").dataset, "train")[:300])
    board.add("perfect", [row.summary for row in rows])
    assert board["perfect"].tolist() == board.content("perfect").tolist() == [1.0] * len(rows)
    text = repr(board.table("perfect"))
    assert all(name in text for name in (BEST_BASELINE, board.strongest(), board.strongest("content"), "perfect"))
    assert all(name in repr(board.table()) for name in board.baselines)
    assert 0 < board["another summary"].mean() < 0.6
    assert 0 < board.content("another summary").mean() < 0.3


def test_wider_models_write_about_fewer_prompts_at_a_time(loaded: Loaded) -> None:
    model, _ = loaded
    assert generation.comfortable(model) == 200
    base = T5Config(num_decoder_layers=12, num_heads=12, d_kv=64)  # FLAN-T5-base's decoder
    wide = SimpleNamespace(config=base)
    assert generation.comfortable(wide) == 26
    assert generation.comfortable(wide, tokens=4096) == 4


def test_nothing_asked_is_nothing_made(loaded: Loaded) -> None:
    assert generation.generate(*loaded, []) == []
    assert generation.sample(*loaded, [], {"greedy": generation.GREEDY}, 1, seed=0) == {"greedy": []}


def test_typographic_characters_are_read_as_their_plain_ones(loaded: Loaded) -> None:
    plain, curly = ("#Person1#: Let's meet at Zoe's - it's 5 euros." for _ in range(2))
    curly = curly.replace("'", "’").replace("-", "—").replace("5 euros", "€5").replace("Zoe", "Zoë")
    assert generation.generate(*loaded, [curly]) == generation.generate(*loaded, [plain])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"prompts": "text"}, r"Put it into a list: \[text\]"),
        ({"prompts": [data.Row("1", "d", ("s",), "t")]}, "type Row at place 0"),
        ({"batch_size": 0}, "batch_size is 0, and has to be a whole number of at least 1"),
        ({"batch_size": -1}, "batch_size is -1"),
        ({"max_length": 0}, "max_length is 0"),
    ],
)
def test_slips_are_met_in_words(changes: dict[str, object], words: str, loaded: Loaded) -> None:
    with pytest.raises(LabError, match=words):
        generation.generate(*loaded, **{"prompts": ["#Person1#: Hi."], **changes})  # type: ignore[arg-type]
    with pytest.raises(LabError, match="in this order"):
        generation.generate(*loaded[::-1], ["#Person1#: Hi."])
    with pytest.raises(LabError, match="count is 0"):
        generation.sample(*loaded, ["#Person1#: Hi."], {"greedy": generation.GREEDY}, 0, seed=0)


# Checks, and wrong variants that they must notice.


def check_a_text_is_the_likeliest_one_and_that_of_its_prompt(loaded: Loaded, rows: list[data.Row]) -> None:
    model, tokenizer = loaded
    asked = [prompts.zero_shot(row.dialogue) for row in rows[:6]]
    for config, tokens in ((None, 60), (generation.greedy(12), 12)):
        made = generation.generate(model, tokenizer, asked, config, batch_size=4)
        for prompt, text in zip(asked, made, strict=True):
            ids = model.generate(**tokenizer(prompt, return_tensors="pt"), max_new_tokens=tokens, do_sample=False)
            assert text == tokenizer.decode(ids[0], skip_special_tokens=True).strip()


def check_samples_differ_by_seed_and_from_each_other(loaded: Loaded, rows: list[data.Row]) -> None:
    config = GenerationConfig(do_sample=True, temperature=1.0, top_k=0, max_new_tokens=30)
    asked = [prompts.zero_shot(row.dialogue) for row in rows[:4]]
    made = {seed: generation.sample(*loaded, asked, {"": config}, 5, seed)[""] for seed in (1, 2)}
    assert made[1] == generation.sample(*loaded, asked, {"": config}, 5, seed=1)[""] != made[2]
    assert all(len(set(texts)) > 1 for texts in made[1])
    texts = [generation.generate(*loaded, asked, config, seed=seed) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def check_probabilities_are_raised_to_one_over_the_temperature(loaded: Loaded, rows: list[data.Row]) -> None:
    prompt = prompts.zero_shot(rows[0].dialogue)
    plain, cold = (dict(generation.next_token_probabilities(*loaded, prompt, "The", temperature=t)) for t in (1.0, 0.5))
    total = sum(value**2 for value in plain.values())
    for token, value in list(plain.items())[:20]:
        assert cold[token] == pytest.approx(value**2 / total, abs=1e-5)
    first = dict(generation.next_token_probabilities(*loaded, prompt))
    assert first != pytest.approx(plain, abs=1e-3)


def in_order_of_length(model: Any, tokenizer: Any, asked: list[str], *more: Any, **options: Any) -> list[str]:
    return GENERATE(model, tokenizer, sorted(asked, key=len), *more, **options)


def the_first_again_and_again(*given: Any, **options: Any) -> dict[str, list[list[str]]]:
    made = SAMPLE(*given, **options)
    return {name: [[texts[0]] * len(texts) for texts in several] for name, several in made.items()}


def likeliest(model: Any, tokenizer: Any, asked: list[str], config: Any = None, **options: Any) -> list[str]:
    return GENERATE(model, tokenizer, asked, **options)


GENERATE, SAMPLE, COMPLETE = generation.generate, generation.sample, generation.complete
NEXT = generation.next_token_probabilities
WRONG: dict[str, tuple[str, Any, Callable[[Loaded, list[data.Row]], None]]] = {
    "texts in order of length": (
        "generate",
        in_order_of_length,
        check_a_text_is_the_likeliest_one_and_that_of_its_prompt,
    ),
    "as many tokens as ever": ("generate", likeliest, check_a_text_is_the_likeliest_one_and_that_of_its_prompt),
    "prompts cut to 64 tokens": (
        "generate",
        partial(GENERATE, max_length=64),
        check_a_text_is_the_likeliest_one_and_that_of_its_prompt,
    ),
    "sampled in place of the likeliest": (
        "complete",
        lambda config, model: COMPLETE(config, model, do_sample=True, top_k=0),
        check_a_text_is_the_likeliest_one_and_that_of_its_prompt,
    ),
    "the likeliest in place of a sample": (
        "generate",
        likeliest,
        check_samples_differ_by_seed_and_from_each_other,
    ),
    "the same samples with every seed": (
        "sample",
        lambda model, tokenizer, asked, configs, count, seed: SAMPLE(model, tokenizer, asked, configs, count, 0),
        check_samples_differ_by_seed_and_from_each_other,
    ),
    "the same sample several times": (
        "sample",
        the_first_again_and_again,
        check_samples_differ_by_seed_and_from_each_other,
    ),
    "the temperature is ignored": (
        "next_token_probabilities",
        lambda model, tokenizer, prompt, so_far="", temperature=1.0: NEXT(model, tokenizer, prompt, so_far),
        check_probabilities_are_raised_to_one_over_the_temperature,
    ),
    "what is written so far is ignored": (
        "next_token_probabilities",
        lambda model, tokenizer, prompt, so_far="", temperature=1.0: NEXT(model, tokenizer, prompt, "", temperature),
        check_probabilities_are_raised_to_one_over_the_temperature,
    ),
}


@pytest.mark.filterwarnings("ignore")  # of settings that a wrong variant leaves behind
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_variant_is_noticed(
    name: str, loaded: Loaded, rows: list[data.Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    function, wrong, check = WRONG[name]
    assert_noticed(Variant(generation, function, wrong, partial(check, loaded, rows)), monkeypatch)
