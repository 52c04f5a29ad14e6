"""Batched generation: sorted by length, in order, the same greedy text whatever the batch size."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Integral, Real
from typing import Any

import torch
from transformers import (
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteria,
    StoppingCriteriaList,
)
from transformers.modeling_outputs import BaseModelOutput

from genai_labs.errors import LabError
from genai_labs.inputs import text
from genai_labs.inputs.arguments import as_text, as_whole_number, counted
from genai_labs.inputs.batches import by_length
from genai_labs.loading import shortage
from genai_labs.prompting import decoding
from genai_labs.prompting.encoding import read_prompts
from genai_labs.system import devices
from genai_labs.system.progress import bar


def greedy(tokens: int) -> GenerationConfig:
    """Greedy decoding of at most so many tokens."""
    return GenerationConfig(max_new_tokens=tokens, do_sample=False)


def sampling(tokens: int) -> GenerationConfig:
    """The model's own distribution, temperature 1 and nothing cut off, at most so many tokens.

    With any other setting PPO's tokens would come from a distribution whose probabilities nobody computes.
    """
    return GenerationConfig(do_sample=True, temperature=1.0, top_k=0, top_p=1.0, num_beams=1, max_new_tokens=tokens)


GREEDY = greedy(60)
MANY = 150  # texts whose keys and values took so much memory that it is given back at once


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    config: GenerationConfig | None = None,
    batch_size: int | None = None,
    seed: int | None = None,
    progress: bool = True,
    max_length: int | None = None,
) -> list[str]:
    """One text for each prompt, in the order of the prompts.

    Prompts are sorted by length before they are cut into batches: little padding, little waste. Prompts longer than
    the window lose their end, which a printed note says (:func:`prompts.fit_all` cuts dialogues instead).
    Characters that the tokenizer does not know are replaced (:mod:`genai_labs.inputs.text`).
    ``config`` defaults to greedy decoding of at most 60 tokens, ``batch_size`` to :func:`comfortable`. Sampling is
    reproducible by ``seed``, whatever the batch size (but for beams that are sampled).
    Raises LabError where memory runs out, and where arguments are not what is written here.
    """
    _check_arguments(model, tokenizer, batch_size=batch_size, max_length=max_length)
    _check_settings({"config": GREEDY if config is None else config}, seed)
    with _settings_in_words():
        config = complete(GREEDY if config is None else config, model)
    ids = _encode_texts(tokenizer, prompts, max_length or tokenizer.model_max_length)
    if seed is not None:
        torch.manual_seed(seed)
    what = f"writing {counted(len(ids), 'text')}"
    texts = _write_all(model, tokenizer, ids, {"": config}, batch_size, what, progress)[""]
    return [made[0] for made in texts]


def comfortable(model: PreTrainedModel, tokens: int = 512) -> int:
    """How many prompts of so many ``tokens`` to write about at a time, from 4 to 200.

    As many as the decoder's keys and values of fit into 1 GB, on a GPU into a quarter of what is free: 200 for the
    embedded model, 26 for FLAN-T5-base on a processor.
    """
    room = devices.memory_free() * 1e9 / 4 if torch.cuda.is_available() else 1e9  # bytes
    config = model.config
    one = tokens * 2 * config.num_decoder_layers * config.num_heads * config.d_kv * 4
    return int(min(200, max(4, room // one)))


@contextmanager
def evaluating(model: PreTrainedModel) -> Iterator[None]:
    """No gradients and no dropout inside; afterwards the model is in the mode it was in."""
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(was_training)


def sample(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    configs: Mapping[str, GenerationConfig],
    count: int,
    seed: int,
    batch_size: int | None = None,
    progress: bool = True,
) -> dict[str, list[list[str]]]:
    """For each setting, ``count`` texts for each prompt (one where nothing is sampled); shape [prompts][count].

    A batch is read once and written about with every setting, each of which starts from the same seed, so that a
    setting gives the same texts whichever others stand beside it.
    """
    _check_arguments(model, tokenizer, batch_size=batch_size, count=count)
    _check_settings(configs, seed)
    with _settings_in_words():
        each = {
            name: complete(config, model, num_return_sequences=count if config.do_sample else 1)
            for name, config in configs.items()
        }
    ids = _encode_texts(tokenizer, prompts, tokenizer.model_max_length)
    more = f" with each of {len(configs)} settings" if len(configs) > 1 else ""
    return _write_all(
        model, tokenizer, ids, each, batch_size, f"writing {counted(count * len(ids), 'text')}{more}", progress, seed
    )


def _write_all(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    ids: Sequence[Sequence[int]],
    configs: Mapping[str, GenerationConfig],
    batch_size: int | None,
    what: str,
    progress: bool,
    seed: int | None = None,
) -> dict[str, list[list[str]]]:
    """For each setting the texts of each prompt, which are read in batches and written about with every setting.

    seed: set for each setting anew; where transformers draws, the number of prompts before a batch is added to it.
    """
    batch_size = batch_size or comfortable(model)
    fewer = f"Write about fewer at a time: batch_size={batch_size // 2} (it is {batch_size})." if batch_size > 1 else ""
    texts: dict[str, list[list[str]]] = {name: [[] for _ in ids] for name in configs}
    moved = bar(len(ids) * (1 + len(configs)), what, shown=progress)  # each prompt is read, each text written
    with evaluating(model), shortage.in_words("generating", fewer), _settings_in_words(), moved:
        drawn = {name: _draws(model, config, len(ids), seed) for name, config in configs.items()}
        for number, places in enumerate(by_length(ids, batch_size)):
            read = read_prompts(model, tokenizer.pad_token_id, [ids[place] for place in places], moved.update)
            for name, config in configs.items():
                if seed is not None:
                    torch.manual_seed(seed + number * batch_size)
                numbers = drawn[name]
                evenly = None if numbers is None else numbers[places].flatten(0, 1)
                written = _write(model, tokenizer, read, config, moved.update, evenly)
                for place, made in zip(places, written, strict=True):
                    texts[name][place] = made
    if len(ids) >= MANY:
        devices.release(collect=False)
    return texts


def _encode_texts(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], window: int) -> list[list[int]]:
    """Token ids of each prompt; what is longer than the window loses its end, but not the mark that ends it."""
    whole = text.encode(prompts, tokenizer, truncation=False, verbose=False)["input_ids"]
    if over := [len(row) - window for row in whole if len(row) > window]:
        print(
            f"{len(over)} of {len(whole)} prompts are longer than the window of {window} tokens, "
            f"by up to {max(over)}: their ends are cut off."
        )
    return [row if len(row) <= window else [*row[: window - 1], row[-1]] for row in whole]


def _check_arguments(model: Any, tokenizer: Any, **numbers: int | None) -> None:
    """Raise LabError where model and tokenizer are not that, or a number that is given is below 1."""
    if not hasattr(model, "generate") or not hasattr(tokenizer, "batch_decode"):
        raise LabError(
            "A model and its tokenizer are wanted, in this order, and these were given: "
            f"{type(model).__name__}, {type(tokenizer).__name__}. Call it as generate(model, tokenizer, prompts)."
        )
    for name, number in numbers.items():
        if number is not None:
            as_whole_number(number, name, 1)


def _check_settings(configs: Any, seed: Any) -> None:
    """Raise LabError where settings by name are not that, or the seed is none that torch takes."""
    odd = [] if isinstance(configs, Mapping) else [configs]
    odd += [each for each in ({} if odd else configs).values() if not isinstance(each, GenerationConfig)]
    if odd:
        raise LabError(
            f"Settings of writing were given as a {type(odd[0]).__name__}, and a GenerationConfig is needed, such as "
            "greedy(60) or GenerationConfig(do_sample=True, temperature=0.7); for several, each under its name."
        )
    for config in configs.values():
        if config.max_new_tokens is not None:  # not a number would mean: for ever
            as_whole_number(config.max_new_tokens, "max_new_tokens", 1)
    if seed is not None and (not isinstance(seed, Integral) or not -(2**63) <= int(seed) < 2**63):
        raise LabError(f"The seed is {str(seed)[:40]!r}, and has to be a whole number such as 0 or 1. Change it.")


@contextmanager
def _settings_in_words() -> Iterator[None]:
    """What transformers raises over settings that make no sense, as a LabError."""
    try:
        yield
    except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError, RuntimeError) as error:
        if shortage.is_out_of_memory(error):
            raise
        raise LabError(
            f"Nothing can be written with these settings: {' '.join(str(error).split())[:300]} Change the "
            "GenerationConfig: temperature above 0, top_p above 0 and at most 1, max_new_tokens and num_beams above 0."
        ) from error


def complete(config: GenerationConfig, model: PreTrainedModel, **changes: Any) -> GenerationConfig:
    """A copy of ``config`` with the model's special tokens, its own settings where none are given, and ``changes``."""
    own, given = model.generation_config.to_dict(), config.to_dict()
    special = {name: own[name] for name in ("decoder_start_token_id", "eos_token_id", "pad_token_id")}
    return GenerationConfig(
        **(own | {name: value for name, value in given.items() if value is not None} | special | changes)
    )


def _draws(model: PreTrainedModel, config: GenerationConfig, prompts: int, seed: int | None) -> torch.Tensor | None:
    """What samples are drawn by, [prompts, samples, tokens]; None where :mod:`decoding` draws none."""
    if not config.do_sample or not decoding.fits(model, config):
        return None
    if seed is not None:
        torch.manual_seed(seed)
    return torch.rand(prompts, config.num_return_sequences or 1, config.max_new_tokens)


def _write(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    read: tuple[torch.Tensor, torch.Tensor],
    config: GenerationConfig,
    moved: Callable[[float], object],
    evenly: torch.Tensor | None = None,
) -> list[list[str]]:
    """Texts for each prompt that was read, ``num_return_sequences`` of them; ``moved`` as in :func:`read_prompts`.

    Greedy texts and samples are written by :func:`decoding.write_tokens` (``evenly`` is explained there), everything
    else by transformers.
    """
    states, mask = read
    steps = Steps(len(states), config, moved)
    if decoding.fits(model, config):
        out = decoding.write_tokens(model, states, mask, config, evenly, steps.reach).tokens
    else:
        out = model.generate(
            encoder_outputs=BaseModelOutput(last_hidden_state=states),
            attention_mask=mask,
            generation_config=config,
            stopping_criteria=StoppingCriteriaList([steps]),
        )
    steps.reach(1.0, config.max_new_tokens)
    texts = [text.strip() for text in tokenizer.batch_decode(out, skip_special_tokens=True)]
    each = len(texts) // len(states)
    return [texts[i : i + each] for i in range(0, len(texts), each)]


class Steps(StoppingCriteria):
    """Stops nothing; tells ``moved`` after every token how much further ``texts`` texts have come together.

    A text that has ended counts 1, one that has not its share of the tokens that it may have.
    """

    def __init__(self, texts: int, config: GenerationConfig, moved: Callable[[float], object]) -> None:
        self.texts, self.most, self.end_token, self.moved = texts, config.max_new_tokens, config.eos_token_id, moved
        self.done = 0.0

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: Any) -> torch.Tensor:
        """input_ids: what is written so far, shape [rows, tokens], beams and samples of a text being rows, too."""
        ended = (input_ids[:, 1:] == self.end_token).any(1).float().mean()
        self.reach(float(ended), input_ids.shape[1] - 1)
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)

    def reach(self, ended: float, tokens: int) -> None:
        """This share of the texts has ended, and the others have so many tokens."""
        done = self.texts * (ended + (1 - ended) * tokens / self.most)
        if done > self.done:  # beams may take an end back
            self.moved(done - self.done)
            self.done = done


def next_token_probabilities(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompt: str,
    so_far: str = "",
    temperature: float = 1.0,
) -> list[tuple[str, float]]:
    """The likeliest next tokens after ``so_far``, with their probabilities (all of them, falling, summing to 1)."""
    _check_arguments(model, tokenizer)
    if not isinstance(temperature, Real) or not 0 < temperature < math.inf:
        raise LabError(f"The temperature is {temperature!r}, and has to be a number above 0, such as 0.7. Change it.")
    prompt, so_far = _as_read(prompt, so_far, tokenizer)
    encoded = tokenizer(prompt, return_tensors="pt", truncation=True, max_length=tokenizer.model_max_length)
    start = [model.generation_config.decoder_start_token_id]
    begun = start + (tokenizer(so_far, add_special_tokens=False)["input_ids"] if so_far else [])
    with torch.inference_mode():
        logits = model(
            input_ids=encoded["input_ids"].to(model.device),
            attention_mask=encoded["attention_mask"].to(model.device),
            decoder_input_ids=torch.tensor([begun], device=model.device),
        ).logits[0, -1]
    probabilities = torch.softmax(logits.float() / temperature, dim=-1)
    values, indices = probabilities.sort(descending=True)
    tokens = tokenizer.convert_ids_to_tokens(indices.tolist())
    return list(zip(tokens, values.tolist(), strict=True))


def attention_to_prompt(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompt: str, so_far: str, layer: int = -1, most: int = 8
) -> list[tuple[str, float]]:
    """Where the decoder looks in the prompt when it writes what follows ``so_far``: tokens and attention, falling.

    Attention is cross-attention of the last position in one ``layer`` (by default the last one), the mean over its
    heads; over the whole prompt it sums to 1. A token stands between its neighbours, such as "on [Friday] ,", because
    a prompt may hold it twice. The model needs to be loaded as :func:`models.load_model` does, with the
    decoder's attention written out ("eager"): the fused kernels do not keep the weights.
    """
    _check_arguments(model, tokenizer, most=most)
    prompt, so_far = _as_read(prompt, so_far, tokenizer)
    read = tokenizer(prompt, return_tensors="pt", truncation=True, max_length=tokenizer.model_max_length)
    written = tokenizer(so_far, add_special_tokens=False)["input_ids"]
    weights = cross_attention(model, read, written, layer)[:, -1].mean(0)
    ids = read["input_ids"][0].tolist()
    return [(_between(tokenizer, ids, i), float(weights[i])) for i in weights.argsort(descending=True)[:most].tolist()]


def cross_attention(model: PreTrainedModel, read: Any, written: Sequence[int], layer: int) -> torch.Tensor:
    """One layer's cross-attention before each of these tokens and behind the last, [heads, tokens + 1, of the prompt].

    read: one prompt as the tokenizer gives it, in tensors. Over its tokens attention sums to 1. Raises LabError where
    the decoder has no such layer.
    """
    layers = model.config.num_decoder_layers
    if not isinstance(layer, Integral) or not -layers <= layer < layers:
        raise LabError(f"The decoder has {layers} layers, 0 to {layers - 1}, and {layer!r:.40} is none. Change layer.")
    begun = [model.generation_config.decoder_start_token_id, *written]
    with torch.inference_mode():
        read = read.to(model.device)
        out = model(
            encoder_outputs=model.get_encoder()(**read),
            attention_mask=read["attention_mask"],
            decoder_input_ids=torch.tensor([begun], device=model.device),
            output_attentions=True,
        )
    return out.cross_attentions[layer][0]


def _as_read(prompt: str, so_far: str, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Both texts, in words that the tokenizer knows."""
    named = {"The prompt": prompt, "What is written so far": so_far}
    return [text.readable(as_text(given, what), tokenizer).text for what, given in named.items()]


def _between(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], place: int) -> str:
    before, token, after = (
        tokenizer.decode(ids[max(start, 0) : end]).strip()
        for start, end in ((place - 1, place), (place, place + 1), (place + 1, place + 2))
    )
    return f"{before} [{token}] {after}".strip()
