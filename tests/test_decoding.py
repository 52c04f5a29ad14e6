"""The loop that writes: texts of transformers' ``generate``, samples from the right distribution, ended rows left."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel, T5Config, T5ForConditionalGeneration
from transformers.generation.logits_process import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper
from transformers.modeling_outputs import BaseModelOutput

from genai_labs.finetuning import lora
from genai_labs.loading import data, models
from genai_labs.loading.profiles import load_profile
from genai_labs.prompting import decoding, encoding, generation, prompts
from tests.variants import Variant, assert_noticed

PROMPTS = 500


@cache
def mini() -> tuple[Any, Any]:
    return models.load_model(load_profile("mini"))


@cache
def flan(tied: bool = False) -> PreTrainedModel:
    """A small random model of FLAN-T5's shape: gated layers and a head of its own, which says what comes to an end."""
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=97,
        d_model=32,
        d_kv=8,
        d_ff=48,
        num_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
        decoder_start_token_id=0,
        tie_word_embeddings=tied,
    )
    model = T5ForConditionalGeneration(config).eval()
    with torch.no_grad():
        model.get_output_embeddings().weight.normal_(std=1.0 if tied else 0.2)
        for name, weight in model.named_parameters():
            if "Attention" in name:
                weight.mul_(4)  # random weights look at nothing: every text would be the same
    return model


def read(model: PreTrainedModel, lengths: list[int], seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random prompts of these lengths, as the encoder reads them."""
    drawn = torch.Generator().manual_seed(seed)
    ids = torch.randint(2, model.config.vocab_size, (len(lengths), max(lengths)), generator=drawn)
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    with torch.inference_mode():
        return model.get_encoder()(input_ids=ids * mask, attention_mask=mask).last_hidden_state, mask


def dialogues(count: int) -> tuple[Tensor, Tensor]:
    """Dialogues as the embedded model's encoder reads them."""
    model, tokenizer = mini()
    rows = data.load_split(load_profile("mini").dataset, "train")[:count]
    asked = prompts.fit_all(prompts.zero_shot, [row.dialogue for row in rows], tokenizer)
    ids = sorted(tokenizer(asked)["input_ids"], key=len)
    with torch.inference_mode():
        return encoding.read_prompts(model, tokenizer.pad_token_id, ids, lambda _: None)


def settings(model: PreTrainedModel, **options: Any) -> GenerationConfig:
    return generation.complete(GenerationConfig(**{"max_new_tokens": 30, **options}), model)


def theirs(model: PreTrainedModel, states: Tensor, mask: Tensor, config: GenerationConfig) -> Tensor:
    """What transformers writes, without the token that the decoder starts from."""
    read = BaseModelOutput(last_hidden_state=states)
    return model.generate(encoder_outputs=read, attention_mask=mask, generation_config=config)[:, 1:]


def check_greedy_texts(model: PreTrainedModel, states: Tensor, mask: Tensor, **options: Any) -> None:
    config = settings(model, do_sample=False, **options)
    written = decoding.write_tokens(model, states, mask, config)
    assert written.logprobs is None
    assert torch.equal(written.tokens, theirs(model, states, mask, config))


def test_greedy_texts_of_the_embedded_model_are_those_of_generate() -> None:
    states, mask = dialogues(PROMPTS)
    for start in range(0, PROMPTS, 100):
        check_greedy_texts(mini()[0], states[start : start + 100], mask[start : start + 100])


@pytest.mark.parametrize("tied", [False, True])
def test_greedy_texts_of_another_shape_are_those_of_generate(tied: bool) -> None:
    model = flan(tied)
    states, mask = read(model, [1 + number % 23 for number in range(PROMPTS)])
    check_greedy_texts(model, states, mask)
    lengths = (theirs(model, states, mask, settings(model)) != 0).sum(1)
    assert len(lengths.unique()) > 5, "texts of many lengths are wanted here"
    check_greedy_texts(model, states[:50], mask[:50], max_new_tokens=1)
    check_greedy_texts(model, states[:50], mask[:50], min_new_tokens=12)


def test_an_adapter_and_narrow_weights_are_used() -> None:
    base = flan()
    states, mask = read(base, [9, 4, 7, 12] * 10)
    adapted: Any = lora.attach(base, lora.lora_config(4, 4, ("q", "v"), within="decoder"))
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            weight.normal_(std=0.3) if "lora_" in name else None
    config = settings(base)
    check_greedy_texts(adapted, states, mask)
    assert not torch.equal(
        decoding.write_tokens(adapted, states, mask, config).tokens, theirs(base, states, mask, config)
    )
    narrow = T5ForConditionalGeneration(base.config).eval()
    narrow.load_state_dict(base.state_dict())
    narrow.to(torch.bfloat16)
    states = states.to(torch.bfloat16)
    same = decoding.write_tokens(narrow, states, mask, settings(base, max_new_tokens=3)).tokens[:, 0]
    assert (same == theirs(narrow, states, mask, settings(base, max_new_tokens=3))[:, 0]).float().mean() > 0.9


def check_a_row_that_has_ended_is_left_alone() -> None:
    model = flan()
    states, mask = read(model, [1 + number % 23 for number in range(60)])
    heard: list[tuple[float, int]] = []
    sizes: list[int] = []
    decoder_reads = decoding.Decoder.read

    def spied(decoder: decoding.Decoder, tokens: Tensor) -> Tensor:
        sizes.append(len(tokens))
        return decoder_reads(decoder, tokens)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding.Decoder, "read", spied)
        made = decoding.write_tokens(model, states, mask, settings(model), told=lambda *now: heard.append(now)).tokens
    ended = (made == model.config.eos_token_id).cumsum(1) > 0  # [rows, time]
    assert sizes == [60, *(60 - ended.sum(0)).tolist()][: len(sizes)]
    assert 0 < sizes[-1] < 60
    assert (made[:, 1:][ended[:, :-1]] == model.config.pad_token_id).all()
    assert [tokens for _, tokens in heard] == list(range(1, made.shape[1] + 1))
    assert [share for share, _ in heard] == pytest.approx(ended.float().mean(0).tolist())


def expected_chances(logits: Tensor, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> Tensor:
    """By transformers' own processors, [vocabulary]."""
    ids: Any = None
    scores = TemperatureLogitsWarper(float(temperature))(ids, logits[None])
    scores = TopKLogitsWarper(top_k)(ids, scores) if top_k else scores
    scores = TopPLogitsWarper(top_p)(ids, scores) if top_p < 1 else scores
    return scores.softmax(-1)[0]


CUTS: tuple[dict[str, Any], ...] = (
    {"top_k": 0},
    {"top_k": 0, "temperature": 0.6},
    {"top_k": 0, "temperature": 1.7},
    {"top_k": 7},
    {"top_k": 0, "top_p": 0.8},
    {"temperature": 1.3, "top_k": 20, "top_p": 0.9},
    {},  # transformers cuts to 50 then
)


def check_samples_follow_their_distribution(count: int = 20_000) -> None:
    model = flan()
    states, mask = read(model, [9])
    with torch.inference_mode():
        begun = torch.tensor([[0]])
        logits = model(
            encoder_outputs=BaseModelOutput(last_hidden_state=states), attention_mask=mask, decoder_input_ids=begun
        ).logits[0, -1]
    for number, options in enumerate(CUTS):
        config = settings(model, do_sample=True, max_new_tokens=1, num_return_sequences=count, **options)
        torch.manual_seed(number)
        written = decoding.write_tokens(model, states, mask, config)
        chances = expected_chances(logits, **{"top_k": 50, **options})
        seen = torch.bincount(written.tokens[:, 0], minlength=len(chances))
        assert (seen[chances == 0] == 0).all(), f"{options}: a token that was cut off was drawn"
        assert written.logprobs is not None
        torch.testing.assert_close(written.logprobs[:, 0], chances.log()[written.tokens[:, 0]], atol=1e-5, rtol=1e-5)
        often = chances * count >= 5  # tokens for which the distribution of chi-square holds
        expected = (chances * count)[often]
        freedom = int(often.sum()) - 1
        assert freedom > 2
        chi_square = float(((seen[often] - expected) ** 2 / expected).sum())
        # One in a million: Wilson and Hilferty 1931 on the distribution of chi-square.
        limit = freedom * (1 - 2 / (9 * freedom) + 4.75 * (2 / (9 * freedom)) ** 0.5) ** 3
        assert chi_square < limit, options


def check_log_probabilities_are_those_of_a_teacher_forced_pass() -> None:
    """In double precision, since the two passes add up in another order."""
    for single, (states, mask) in ((flan(), read(flan(), [3, 11, 7, 9] * 5)), (mini()[0], dialogues(20))):
        torch.manual_seed(1)
        model, states = copy.deepcopy(single).double(), states.double()
        made = decoding.write_tokens(model, states, mask, settings(model, do_sample=True, top_k=0, max_new_tokens=60))
        begun = torch.cat([torch.zeros_like(made.tokens[:, :1]), made.tokens[:, :-1]], 1)
        with torch.inference_mode():
            logits = model(
                encoder_outputs=BaseModelOutput(last_hidden_state=states), attention_mask=mask, decoder_input_ids=begun
            ).logits
        counts = (made.tokens == model.config.eos_token_id).cumsum(1) - (made.tokens == 1).int() == 0
        forced = logits.log_softmax(-1).gather(-1, made.tokens[..., None])[..., 0]
        assert counts.sum() < counts.numel(), "some texts end before others"
        assert made.logprobs is not None
        torch.testing.assert_close(made.logprobs, torch.where(counts, forced, 0), atol=1e-6, rtol=1e-6)


def test_the_ends_of_the_line_belong_to_tokens_that_can_be_drawn() -> None:
    chances = torch.tensor([[0.0, 0.3, 0.0, 0.7, 0.0]]).expand(4, -1)
    numbers = torch.tensor([0.0, 0.69, 0.71, 1 - 2**-24])
    assert decoding.draw_tokens(chances, numbers).tolist() == [3, 3, 1, 1]


def test_samples_do_not_depend_on_the_batch_size_and_greedy_texts_not_on_the_rows_beside_them() -> None:
    model, tokenizer = mini()
    rows = data.load_split(load_profile("mini").dataset, "validation")[:6]
    asked = [prompts.zero_shot(row.dialogue) for row in rows]
    config = GenerationConfig(do_sample=True, top_k=0, max_new_tokens=20)
    made = [generation.sample(model, tokenizer, asked, {"": config}, 2, 0, size)[""] for size in (1, 4, 6)]
    assert made[0] == made[1] == made[2]
    states, mask = read(flan(), [3, 11, 7, 9, 20])
    together = decoding.write_tokens(flan(), states, mask, settings(flan())).tokens
    for row in range(5):
        alone = decoding.write_tokens(flan(), states[row : row + 1], mask[row : row + 1], settings(flan())).tokens[0]
        assert torch.equal(together[row, : len(alone)], alone)


KNOWN = {
    *("max_length", "max_new_tokens", "min_new_tokens", "num_return_sequences", "do_sample", "temperature", "top_k"),
    *("top_p", "decoder_start_token_id", "eos_token_id", "pad_token_id", "bos_token_id", "transformers_version"),
    "_from_model_config",
}


def check_what_is_not_ours_is_left_to_generate() -> None:
    model = flan()
    for name in GenerationConfig().to_dict().keys() - KNOWN:
        config = settings(model)
        setattr(config, name, 2)
        assert not decoding.fits(model, config), name
    for options in (
        {"do_sample": False, "num_return_sequences": 2},
        {"do_sample": True, "temperature": 0.0},
        {"do_sample": True, "top_p": 1.5},
        {"do_sample": True, "top_k": -1},
        {"min_new_tokens": 40},
        {"max_new_tokens": None, "max_length": 7},
    ):
        config = settings(model)
        for name, value in options.items():
            setattr(config, name, value)
        assert not decoding.fits(model, config), options
    for options in ({"num_beams": 1}, {"do_sample": True, "top_p": 0.5, "num_return_sequences": 3}):
        assert decoding.fits(model, settings(model, **options)), options
    other: Any = SimpleNamespace(config=SimpleNamespace(model_type="bart"))
    assert not decoding.fits(other, settings(model))


def check_beams_and_penalties_are_those_of_transformers() -> None:
    model, tokenizer = mini()
    asked = ["#Person1#: Hi, can we meet on Monday? #Person2#: Monday at nine is fine, see you then."]
    ids = tokenizer(asked, return_tensors="pt")
    for options in ({"num_beams": 3}, {"repetition_penalty": 3.0}, {"no_repeat_ngram_size": 1}):
        config = GenerationConfig(max_new_tokens=25, do_sample=False, **options)
        expected = tokenizer.batch_decode(model.generate(**ids, generation_config=config), skip_special_tokens=True)
        assert generation.generate(model, tokenizer, asked, config) == [text.strip() for text in expected], options
    was = model.generation_config
    try:
        model.generation_config = generation.complete(GenerationConfig(repetition_penalty=3.0), model)
        asked = ["Repeat this: bread, milk, bread, milk, bread, milk"]
        assert generation.generate(model, tokenizer, asked, generation.greedy(25)) != [
            tokenizer.decode(
                decoding.write_tokens(model, *read_of(asked), settings(model, max_new_tokens=25)).tokens[0], True
            )
        ]
    finally:
        model.generation_config = was


def read_of(asked: list[str]) -> tuple[Tensor, Tensor]:
    model, tokenizer = mini()
    with torch.inference_mode():
        return encoding.read_prompts(model, 0, tokenizer(asked)["input_ids"], lambda _: None)


CHECKS: tuple[Callable[[], None], ...] = (
    check_a_row_that_has_ended_is_left_alone,
    check_samples_follow_their_distribution,
    check_log_probabilities_are_those_of_a_teacher_forced_pass,
    check_what_is_not_ours_is_left_to_generate,
    check_beams_and_penalties_are_those_of_transformers,
)


def check_short_greedy_texts() -> None:
    check_greedy_texts(flan(), *read(flan(), [1 + number % 23 for number in range(60)]))


def drop_without_moving(decoder: decoding.Decoder, ended: Tensor) -> Tensor:
    decoder.rows = int((~ended).sum())
    return (~ended).nonzero()[:, 0]


def without(name: str) -> Callable[[Tensor, GenerationConfig], Tensor]:
    """Settings of sampling of which one is forgotten."""

    def forgetful(logits: Tensor, config: GenerationConfig) -> Tensor:
        rest = {each: getattr(config, each) for each in ("temperature", "top_k", "top_p")} | {name: None}
        return CUT(logits, GenerationConfig(**{"top_k": 0} | rest if name != "top_k" else rest | {"top_k": 0}))

    return forgetful


CUT, DRAW, WRITE = decoding.cut, decoding.draw_tokens, decoding.write_tokens


def logprobs_uncut(*given: Any, **options: Any) -> decoding.Written:
    made = WRITE(*given, **options)
    return made if made.logprobs is None else decoding.Written(made.tokens, made.logprobs * 1.001)


DISTRIBUTION = check_samples_follow_their_distribution
WRONG: dict[str, Variant] = {
    "ended rows leave gaps": Variant(decoding.Decoder, "drop", drop_without_moving, check_short_greedy_texts),
    "ended rows go on": Variant(
        decoding.Decoder,
        "drop",
        lambda decoder, ended: torch.arange(decoder.rows),
        check_a_row_that_has_ended_is_left_alone,
    ),
    "the temperature is forgotten": Variant(decoding, "cut", without("temperature"), DISTRIBUTION),
    "top-k is forgotten": Variant(decoding, "cut", without("top_k"), DISTRIBUTION),
    "top-p is forgotten": Variant(decoding, "cut", without("top_p"), DISTRIBUTION),
    "no cut where none is named": Variant(decoding, "TOP_K", 0, DISTRIBUTION),
    "the likeliest is drawn": Variant(decoding, "draw_tokens", lambda chances, _: chances.argmax(-1), DISTRIBUTION),
    "some are drawn too often": Variant(
        decoding, "draw_tokens", lambda chances, evenly: DRAW(chances, 0.97 * evenly), DISTRIBUTION
    ),
    "log-probabilities a little off": Variant(
        decoding, "write_tokens", logprobs_uncut, check_log_probabilities_are_those_of_a_teacher_forced_pass
    ),
    "everything is taken": Variant(
        decoding, "fits", lambda *_: True, check_beams_and_penalties_are_those_of_transformers
    ),
    "other settings are overlooked": Variant(
        decoding, "OURS", {*decoding.OURS, "repetition_penalty"}, check_what_is_not_ours_is_left_to_generate
    ),
}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_loop(check: Callable[[], None]) -> None:
    check()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_variant_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_noticed(WRONG[name], monkeypatch)
