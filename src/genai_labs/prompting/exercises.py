"""Checks of Lab 1's exercises: each takes what the learner wrote, prints one line, and names the usual mistakes.

Those on texts and on the model are here; those whose answer is a number come from :mod:`.number_exercises`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.modeling_outputs import BaseModelOutput

from genai_labs.loading import data
from genai_labs.prompting import generation, prompts
from genai_labs.prompting.number_exercises import check_interval as check_interval
from genai_labs.prompting.number_exercises import check_rouge1 as check_rouge1
from genai_labs.prompting.number_exercises import check_temperature as check_temperature
from genai_labs.prompting.number_exercises import check_top_p as check_top_p
from genai_labs.prompting.number_exercises import check_training_bytes as check_training_bytes
from genai_labs.scoring import baselines, metrics
from genai_labs.show.checking import Unanswered, answered, numbers, tell, wrong

PLAIN, GOING_ON = prompts.INSTRUCTIONS["plain"], prompts.INSTRUCTIONS["flan-going-on"]
BRACES = 'Answer as {"summary": "..."}.\n\n{dialogue}\n\nAnswer:'
TALK = "#Person1#: Is the kettle still under guarantee?\n#Person2#: Until May. Bring it in.\n#Person1#: I will, today."
SHOWN = [
    prompts.Exemplar("#Person1#: Are you coming?\n#Person2#: At six.", "#Person2# will come at six."),
    prompts.Exemplar("#Person1#: My bike is gone.\n#Person2#: Call the police.", "#Person1# misses a bike."),
    prompts.Exemplar("#Person1#: Tea?\n#Person2#: No, thank you.", "#Person2# declines tea."),
]
MOST_TOKENS = 20
TRAIN, VALIDATION = 1000, 200  # rows that a fixed string is made from, and scored on
WORDS_OF_THE_BAR, SHARE_OF_THE_BAR = 20, 0.95  # what so many of the most frequent words reach, or nearly so much
MADE_UP = ["zanzibar quince lantern", "zanzibar quince", "quince zanzibar zanzibar"]


def _written(value: Any) -> str:
    if not isinstance(value, str):
        hint = "Join its parts to one." if isinstance(value, (list, tuple)) else "Look at what your function returns."
        wrong(f"one text is needed, and a {type(value).__name__} came. {hint}")
    return value


@tell("a zero-shot prompt", "Print the template: what has to stand in the place of {dialogue}?")
def check_zero_shot_prompt(answer: Any) -> str:
    """answer(dialogue, template): the template with the dialogue in the place of {dialogue}."""
    for dialogue, template in ((TALK, PLAIN), (TALK, GOING_ON), (f" {TALK}\n", PLAIN), (TALK, f"{PLAIN}\n")):
        got, want = _written(answered(answer, dialogue, template)), template.replace("{dialogue}", dialogue)
        if got != want:
            _say_zero_shot(got, want, template)
    odd = r"#Person1#: I typed {name} in C:\new."
    for dialogue, template in ((odd, PLAIN), (TALK, BRACES)):
        _check_braces(template.replace("{dialogue}", dialogue), answer, dialogue, template)
    return "6 prompts from 4 templates, with braces in a dialogue and in a template, and with blanks at the ends"


def _check_braces(want: str, answer: Any, *case: Any) -> None:
    try:
        got = _written(answered(answer, *case))
    except Unanswered as why:
        wrong(f"{why} These texts hold braces of their own, and str.format reads all braces.")
    if got != want:
        wrong(
            "only {dialogue} is to be replaced; other braces, and backslashes, stay. As Python writes texts, yours is "
            f"{got!r}, and {want!r} is right."
        )


def _say_zero_shot(got: str, want: str, template: str) -> None:
    behind = template.split("{dialogue}")[1]
    if "{dialogue}" in got:
        there = "the dialogue stands elsewhere" if TALK in got else "the model would not see the dialogue"
        wrong(f"{{dialogue}} still stands in the prompt, and {there}. What has to take its place?")
    if TALK not in got:
        lost = sum(line not in got for line in TALK.splitlines())
        changed = (
            f"{lost} of its 3 turns are missing or changed" if lost else "its 3 turns are not on lines of their own"
        )
        wrong(f"the dialogue is not in the prompt as it is: {changed}.")
    if got.strip() == TALK:
        wrong("the instruction is missing: this is the bare dialogue, and the model would go on talking.")
    if template == GOING_ON and got == PLAIN.replace("{dialogue}", TALK):
        wrong("the wording is fixed: a second template gives the prompt of the first. Use what `template` holds.")
    if got.split() == want.split():
        wrong(
            f"the words are right, the blanks are not (those at the ends stay): {len(got)} characters, not {len(want)}."
        )
    if not got.rstrip().endswith(behind.strip()):
        wrong(f"your prompt ends in {got[-20:]!r}, and the template in {behind!r}: that is the cue to write a summary.")
    wrong(
        f"the dialogue is there, but what stands around it is not the template: {len(got)} characters, not {len(want)}."
    )


@tell("a few-shot prompt", "Make the part of one exemplar first: its dialogue in the template, then its summary.")
def check_few_shot_prompt(answer: Any) -> str:
    """answer(dialogue, exemplars, template): the prompt that :func:`prompts.few_shot` makes of them."""
    for count, template in ((3, PLAIN), (1, GOING_ON), (0, PLAIN), (2, GOING_ON)):
        got = _written(answered(answer, TALK, SHOWN[:count], template))
        want = prompts.few_shot(TALK, SHOWN[:count], template)
        if got != want:
            _say_missing(got, SHOWN[:count])
            _say_order(got, SHOWN[:count])
            _say_frame(got, want, count + 1, template)
    _check_braces(prompts.few_shot(TALK, SHOWN[:1], BRACES), answer, TALK, SHOWN[:1], BRACES)
    return "5 prompts with 3, 1, 0, 2 and 1 exemplars and three templates, one with braces of its own"


def _say_missing(got: str, shown: Sequence[prompts.Exemplar]) -> None:
    unsolved = sum(each.summary not in got for each in shown)
    unshown = sum(each.dialogue not in got for each in shown)
    if "{dialogue}" in got:
        wrong(f"{{dialogue}} still stands in the prompt, {got.count('{dialogue}')} time(s). What belongs there?")
    if TALK not in got:
        wrong("the dialogue to be summarized is not in the prompt: nothing is asked.")
    if got.count(TALK) > 1:
        wrong(
            f"the dialogue to be summarized stands in it {got.count(TALK)} times. Whose dialogue does an exemplar show?"
        )
    if unsolved:
        wrong(f"the summaries of {unsolved} of {len(shown)} exemplars are missing, so they are not solved examples.")
    if unshown:
        wrong(
            f"the dialogues of {unshown} of {len(shown)} exemplars are missing: what is it that their summaries sum up?"
        )


def _say_order(got: str, shown: Sequence[prompts.Exemplar]) -> None:
    places = [(got.index(each.dialogue), got.index(each.summary)) for each in shown]
    if any(got.index(TALK) < dialogue for dialogue, _ in places):
        wrong("the dialogue to be summarized stands before an exemplar. What should the model have read last?")
    if any(summary < dialogue for dialogue, summary in places):
        wrong("a summary stands before its dialogue. Which of the two is the model to write?")
    if places != sorted(places):
        wrong("the exemplars are in another order than in the list.")


def _say_frame(got: str, want: str, needed: int, template: str) -> None:
    """What stands around the texts, all of which are there and in order; the template is needed so many times."""
    before, behind = (part.strip() for part in template.split("{dialogue}"))
    if not got.rstrip().endswith(behind):
        wrong(
            f"the prompt ends in {got[-20:]!r}: {behind!r}, the cue for the summary that is asked for, is not the end."
        )
    for part in (before, behind):
        if got.count(part) != needed:
            wrong(f"{part!r} stands in it {got.count(part)} time(s); exemplars and question need it {needed} times.")
    if "".join(got.split()) == "".join(want.split()):
        place = next((i for i, (one, other) in enumerate(zip(got, want, strict=False)) if one != other), len(want))
        wrong(f"the words are right, the blanks are not: look at {got[max(place - 15, 0) : place + 5]!r}.")
    wrong(f"all texts are there, and others too: the prompt has {len(got.split())} words, not {len(want.split())}.")


@tell("a fixed string", "Count the words of all summaries with a Counter.")
def check_fixed_string(answer: Any, dataset: str) -> str:
    """answer(summaries): one text that is said of every dialogue; dataset: whose splits it is made and scored with."""
    foreign = {*_plain_words(_written(answered(answer, list(MADE_UP))))} - {*_plain_words(" ".join(MADE_UP))}
    if foreign:
        wrong(
            f"given {len(MADE_UP)} made-up summaries, your function says words that are not in them, such as "
            f"{min(foreign)!r}. It may look at `summaries` alone, and least of all at the test split."
        )
    text = _written(answered(answer, _training_summaries(dataset)))
    bar, packaged, usual = fixed_scores(dataset)
    said, score = len(_plain_words(text)), _scored(text, dataset)
    if not said:
        wrong("the text is empty: without a word nothing is shared, and ROUGE-1 is 0.")
    if score < bar:
        cause = "too long" if said > 2 * usual else "too short" if said < usual / 2 else "not made of the right words"
        cause = f"{'too long or ' if 0.9 * usual < said <= 2 * usual else ''}{cause}"
        look = "Which words do summaries share most, and what do words cost that a reference lacks?"
        wrong(
            f"ROUGE-1 is {score:.3f}, and {bar:.3f} can be had: with {said} words (a summary has {usual:.0f}) your "
            f"text is {cause}. {look}"
        )
    return (
        f"{said} words get ROUGE-1 {score:.3f} on {VALIDATION} validation dialogues ({bar:.3f} was asked for) without "
        f"a look at them; the package's string, which says the most frequent words several times, gets {packaged:.3f}"
    )


def _training_summaries(dataset: str) -> list[str]:
    return [row.summary for row in data.load_split(dataset, "train")[:TRAIN]]


def _plain_words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


def _scored(text: str, dataset: str) -> float:
    rows = data.load_split(dataset, "validation")[:VALIDATION]
    return float(metrics.rouge_scores([text] * len(rows), [list(row.references) for row in rows]).mean())


@cache
def fixed_scores(dataset: str) -> tuple[float, float, float]:
    """ROUGE-1 that is asked for, that of the package's own string, and the mean number of words of a summary."""
    summaries = _training_summaries(dataset)
    words = [word for text in summaries for word in _plain_words(text)]
    frequent = " ".join(word for word, _ in Counter(words).most_common(WORDS_OF_THE_BAR))
    own = _scored(baselines.fixed_string(summaries), dataset)
    return SHARE_OF_THE_BAR * _scored(frequent, dataset), own, len(words) / len(summaries)


@tell("greedy decoding", "Give the model the prompt and the start token: which token has the largest logit?")
@torch.no_grad()
def check_greedy(answer: Any, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> str:
    """answer(model, ids, most): at most so many token ids, written greedily about a prompt's ids [1, length]."""
    count, same = 0, 0
    for talk, most in ((SHOWN[0].dialogue, MOST_TOKENS), (SHOWN[2].dialogue, MOST_TOKENS), (TALK, 5)):
        prompt = prompts.zero_shot(talk)
        ids = tokenizer(prompt, return_tensors="pt")["input_ids"].to(model.device)
        try:
            got = _token_ids(answered(answer, model, ids, most), model)
        except Unanswered as why:
            if "IndexError: index out of range in self" in str(why):
                wrong(f"{why} A number was no token's: at which place, and over which dimension, is the argmax taken?")
            raise
        config = generation.complete(generation.greedy(most), model)
        written = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=config)
        want = written[0].tolist()[1:]
        if got not in (want, _unended(want, model)):
            again = _token_ids(answered(answer, model, ids, most), model)
            _say_tokens(got, again, _unended(want, model), most, model)
            _say_loop(got, want, ids, model)
        count += len(want)
        ours = generation.generate(model, tokenizer, [prompt], generation.greedy(most), progress=False)
        same += ours == [tokenizer.decode(want, skip_special_tokens=True).strip()]
    right = f"{count} tokens about 3 prompts are those that model.generate writes, and {same} of 3 texts the package's"
    lent = "generate" in getattr(getattr(answer, "__code__", None), "co_names", ())
    return f"{right}; but your function calls generate, and the loop is what was asked for" if lent else right


def _token_ids(value: Any, model: PreTrainedModel) -> list[int]:
    """The ids without a start token; those of a batch of one, too."""
    ids = [int(number) for number in numbers(value, what="the token ids").reshape(-1)]
    return ids[1:] if ids[:1] == [model.generation_config.decoder_start_token_id] else ids


def _unended(ids: list[int], model: PreTrainedModel) -> list[int]:
    end = model.generation_config.eos_token_id
    return ids[: ids.index(end)] if end in ids else ids


def _say_tokens(got: list[int], again: list[int], want: list[int], most: int, model: PreTrainedModel) -> None:
    end = model.generation_config.eos_token_id
    behind = len(got) - got.index(end) - 1 if end in got else 0
    if again != got:
        wrong("two calls about one prompt wrote different tokens: that is sampling. Greedy takes the largest logit.")
    if behind:
        wrong(f"your loop goes on after </s>: {behind} of its {len(got)} tokens stand behind it. When does a text end?")
    if len(got) > most:
        wrong(f"{len(got)} tokens came, and at most {most} were asked for.")
    if got == want[: len(got)]:
        wrong(f"the first {len(got)} tokens are right, and {len(want)} are needed. When does your loop end?")


def _say_loop(got: list[int], want: list[int], ids: Tensor, model: PreTrainedModel) -> None:
    """Which loop writes these tokens, if a usual wrong one does."""
    start, end = model.generation_config.decoder_start_token_id, model.generation_config.eos_token_id
    which = "Which position says what comes next?"
    missing = "the start token is missing. What does your decoder begin with? Look at decoder_start_token_id."
    loops: list[tuple[str, dict[str, Any]]] = [
        (f"you take the logits of the last position but one. {which}", {"position": -2}),
        (f"you take the logits of the first position every time. {which}", {"position": 0}),
        ("the decoder sees its last token alone. What has to be given to it in each step?", {"window": 1}),
        (missing, {"begin": [end]}),
        (missing, {"begin": ids[0].tolist()}),
    ]
    for sentence, wrongly in loops:
        if got == _loop(model, ids, len(got), **({"begin": [start]} | wrongly)):
            wrong(sentence)
    same = next((i for i, (one, other) in enumerate(zip(got, want, strict=False)) if one != other), 0)
    wrong(
        f"the first {same} tokens are right, then comes {got[same : same + 1]}, and not {want[same : same + 1]}. Begin "
        "with the start token, and look at the logits of the last position."
    )


def _loop(model: Any, ids: Tensor, most: int, begin: list[int], position: int = -1, window: int = 0) -> list[int]:
    """Greedy decoding that may begin with other tokens, look at another position, or see only the last tokens."""
    read = BaseModelOutput(last_hidden_state=model.get_encoder()(ids).last_hidden_state)
    written: list[int] = []
    while len(written) < most and written[-1:] != [model.generation_config.eos_token_id]:
        seen = torch.tensor([[*begin, *written][-window:]], device=ids.device)
        logits = model(encoder_outputs=read, decoder_input_ids=seen).logits[0]
        written.append(int(logits[max(position, -len(logits))].argmax()))
    return written
