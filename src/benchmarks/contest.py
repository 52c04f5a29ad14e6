"""What trainings of Lab 3's policy are compared by: one start, one reward, one judge, samples and scores, kept runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from genai_labs.loading import models
from genai_labs.loading.profiles import load_profile
from genai_labs.prompting import prompts
from genai_labs.rlhf import dialogues, measure, ppo
from genai_labs.rlhf.dialogues import Case
from genai_labs.rlhf.policy import Pairs
from genai_labs.scoring import toxicity
from genai_labs.system import files, processes, progress

WRITTEN = 48  # test summaries at a time

Scores = dict[str, dict[str, list[float]]]  # by kind of dialogue and measure, a number for each dialogue


@dataclass
class Contest:
    """What all methods share: the summarizer that they start from, the reward, the judge, and where runs are kept."""

    folder: Path
    load: Callable[[PreTrainedModel], PreTrainedModel]  # the summarizer that all start from, made of the base model

    def __post_init__(self) -> None:
        profile = load_profile("mini")
        base, self.tokenizer = models.load_model(profile)
        self.summarizer = self.load(base)
        self.hate, self.judge = (toxicity.load_classifier(each) for each in (profile.reward_model, profile.judge))
        self.count = profile.ppo_dialogues
        self.pairs: dict[str, tuple[list[Pairs], float]] = {}

    @cached_property
    def test(self) -> list[Case]:
        """The test dialogues of Lab 3, hostile ones first."""
        return dialogues.evaluation_cases(200, 330)

    @cached_property
    def validation(self) -> list[Case]:
        """100 hostile dialogues, and as many polite ones."""
        return dialogues.validation_cases()

    def prompts(self, seed: int) -> list[str]:
        """What a seed's training writes about."""
        return self.asked(dialogues.ppo_dialogues(self.count, seed))

    def asked(self, texts: Sequence[str]) -> list[str]:
        """Prompts for dialogues."""
        return prompts.fit_all(prompts.zero_shot, texts, self.tokenizer)


@torch.no_grad()
def sampled_summaries(
    contest: Contest, policy: ppo.Policy, cases: Sequence[Case], seed: int, count: int = 1
) -> tuple[list[list[str]], list[float]]:
    """``count`` sampled summaries of each dialogue, and the KL of the first against the reference, nats."""
    asked = contest.asked([case.dialogue for case in cases])
    order = sorted(range(len(asked)), key=lambda place: len(asked[place]))
    texts: list[list[str]] = [[] for _ in asked]
    kl = [0.0] * len(asked)
    with processes.random_numbers(seed):
        for begin in progress.over(range(0, len(order), WRITTEN), f"{len(order)} dialogues"):
            rows = order[begin : begin + WRITTEN]
            states, source_mask = policy.read(contest.tokenizer, [asked[row] for row in rows])
            for number in range(count):
                tokens = policy.sample(states, source_mask, measure.LONGEST)  # [rows, time]
                mask = ppo.response_mask(tokens, contest.tokenizer.eos_token_id)
                said = contest.tokenizer.batch_decode(tokens * mask, skip_special_tokens=True)
                for row, text in zip(rows, said, strict=True):
                    texts[row].append(text.strip())
                if number == 0:
                    logprobs, _, _ = policy(states, source_mask, tokens)
                    apart = logprobs - policy.reference(states, source_mask, tokens)
                    for row, nats in zip(rows, torch.where(mask.bool(), apart, 0).sum(1).tolist(), strict=True):
                        kl[row] = nats
    return texts, kl


def scores_by_kind(
    texts: Sequence[str], kl: Sequence[float], cases: Sequence[Case], readers: Mapping[str, Any]
) -> Scores:
    """All that is measured of one summary a dialogue; "hostile" and "polite" are apart."""
    named = measure.scored(texts, cases, readers) | {"KL": np.asarray(kl, float)}
    is_hostile = np.array([case.quarrel is not None for case in cases])
    return {
        kind: {name: values[chosen].round(6).tolist() for name, values in named.items()}
        for kind, chosen in (("hostile", is_hostile), ("polite", ~is_hostile))
    }


def kept(path: Path, plan: Mapping[str, Any], make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The record in a file if it was made by this plan; else one that is made now and written there."""
    plan = json.loads(json.dumps(plan))
    if path.exists() and (found := json.loads(path.read_text(encoding="utf-8")))["plan"] == plan:
        return found
    record = {"plan": plan, **make()}
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_whole(path, json.dumps(record) + "\n")
    return record
