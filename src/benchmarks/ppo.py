"""``python -m genai_labs bench ppo``: seconds per update of PPO, ours against the loop of the peers' labs.

Model, prompts, reward, mathematics, batch, epochs and minibatches are the same. The peers' loop, as trl 0.11.4 ran it,
generates one summary at a time, reads the prompts anew in every pass, keeps a full second copy as reference, and
computes in fp32. They are measured in turn on the same prompts; memory and operations in a process of its own each.
"""

from __future__ import annotations

import argparse
import copy
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm
from transformers import GenerationConfig, set_seed

from benchmarks import alone as bench_alone
from benchmarks import common as bench
from benchmarks.flops import peaks
from benchmarks.verdict import interval_in_words, judge, verdict
from genai_labs.finetuning import lora
from genai_labs.inputs.helptext import plain
from genai_labs.loading.models import count_parameters
from genai_labs.prompting import prompts
from genai_labs.prompting.generation import complete
from genai_labs.rlhf import ppo
from genai_labs.scoring import toxicity
from genai_labs.show.results import table
from genai_labs.system.devices import has_bf16

SETTINGS = ppo.Settings(batch_size=16, minibatch=4, epochs=4, max_new_tokens=60, rank=32, alpha=32, targets=("q", "v"))
PEERS, OURS = "peers", "ours"
BAR = 3.0  # how many times as fast ours is to be
ROWS = 400
PARTS = ("seconds", "rollout", "reward", "update", "peak_mb")


@dataclass(frozen=True)
class Split:
    """Seconds of one update: sampling and scoring by policy and reference, the reward, learning."""

    rollout: float
    reward: float
    update: float

    @property
    def total(self) -> float:
        return self.rollout + self.reward + self.update


class Ours:
    """The package's own roll_out and learn."""

    def __init__(self, base: Any, tokenizer: Any, reward: ppo.Reward) -> None:
        self.policy, self.tokenizer, self.reward = ppo.Policy(base, SETTINGS), tokenizer, reward
        self.optimizer = ppo.make_optimizer(self.policy, SETTINGS)

    def update(self, batch: Sequence[str]) -> Split:
        """One update on the prompts."""
        rollout = ppo.roll_out(self.policy, self.tokenizer, batch, self.reward, SETTINGS)
        start = time.perf_counter()
        ppo.learn(self.policy, self.optimizer, rollout, SETTINGS)
        return Split(*rollout.seconds, time.perf_counter() - start)


class Peers:
    """The loop of the peers' labs: one by one, encoder in every pass, two full models, fp32."""

    def __init__(self, base: Any, tokenizer: Any, reward: ppo.Reward) -> None:
        self.model = lora.attach(base, lora.lora_config(SETTINGS.rank, SETTINGS.alpha, SETTINGS.targets)).eval()
        self.reference = copy.deepcopy(base)
        self.head = torch.nn.Linear(base.config.d_model, 1)
        self.tokenizer, self.reward = tokenizer, reward
        self.parameters = [p for p in [*self.model.parameters(), *self.head.parameters()] if p.requires_grad]
        self.optimizer = torch.optim.Adam(self.parameters, lr=SETTINGS.learning_rate)

    def update(self, batch: Sequence[str]) -> Split:
        """One update on the prompts."""
        start = time.perf_counter()
        ids = self.tokenizer(list(batch), truncation=True, max_length=self.tokenizer.model_max_length)["input_ids"]
        responses = [self.generate(row) for row in ids]
        generated = time.perf_counter()
        texts = [self.tokenizer.decode(row, skip_special_tokens=True) for row in responses]
        scores = torch.as_tensor(self.reward(texts)).float()
        rewarded = time.perf_counter()
        parts = [slice(i, i + SETTINGS.minibatch) for i in range(0, len(ids), SETTINGS.minibatch)]
        seen = [self.pad(ids[part], responses[part]) for part in parts]
        with torch.no_grad():
            old = [self.score(self.model, *each[:3]) for each in seen]
            ref = [self.score(self.reference, *each[:3])[0] for each in seen]
        learned = []
        for each, (logprobs, values), ref_logprobs, part in zip(seen, old, ref, parts, strict=True):
            rewards = ppo.token_rewards(scores[part], logprobs, ref_logprobs, each[3], SETTINGS.kl_coef)
            advantages, returns = ppo.gae(rewards, values, each[3], SETTINGS.gamma, SETTINGS.lam)
            learned.append((logprobs, ppo.whiten(advantages, each[3]), values, returns))
        scored = time.perf_counter()
        for _ in range(SETTINGS.epochs):
            for place in random.sample(range(len(seen)), len(seen)):
                self.step(seen[place], learned[place])
        end = time.perf_counter()
        return Split(generated - start + scored - rewarded, rewarded - generated, end - scored)

    @torch.no_grad()
    def generate(self, ids: list[int]) -> Tensor:
        """One sampled response, token ids [time]."""
        config = GenerationConfig(
            do_sample=True, temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=SETTINGS.max_new_tokens
        )
        made = self.model.generate(input_ids=torch.tensor([ids]), generation_config=complete(config, self.model))
        return made[0, 1:]

    def pad(self, ids: Sequence[list[int]], responses: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Prompts with their attention mask, responses with the mask of what counts; each [minibatch, longest]."""
        pad = self.tokenizer.pad_token_id
        source = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in ids], True, pad)
        lengths = torch.tensor([len(row) for row in ids])
        source_mask = (torch.arange(source.shape[1]) < lengths[:, None]).long()
        tokens = torch.nn.utils.rnn.pad_sequence(list(responses), True, pad)
        mask = ppo.response_mask(tokens, self.tokenizer.eos_token_id)
        mask = mask * (torch.arange(tokens.shape[1]) < torch.tensor([len(row) for row in responses])[:, None]).int()
        return source, source_mask, tokens, mask

    def score(self, model: Any, source: Tensor, source_mask: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities of the tokens and values, by the whole model, encoder and all; [minibatch, time] each."""
        start = model.generation_config.decoder_start_token_id
        before = torch.cat([torch.full_like(tokens[:, :1], start), tokens[:, :-1]], dim=1)
        out = model(
            input_ids=source,
            attention_mask=source_mask,
            decoder_input_ids=before,
            output_hidden_states=True,
            use_cache=False,
        )
        logprobs = out.logits.log_softmax(-1).gather(-1, tokens[..., None])[..., 0]
        return logprobs, self.head(out.decoder_hidden_states[-1])[..., 0]

    def step(self, seen: tuple[Tensor, ...], learned: tuple[Tensor, ...]) -> None:
        """One step of the optimizer on one minibatch."""
        source, source_mask, tokens, mask = seen
        names = ("logprobs", "advantages", "values", "returns")
        old: Any = SimpleNamespace(mask=mask, **dict(zip(names, learned, strict=True)))
        logprobs, values = self.score(self.model, source, source_mask, tokens)
        loss, _ = ppo.ppo_loss(logprobs, values, old, SETTINGS)
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, SETTINGS.max_grad_norm)
        self.optimizer.step()


LOOPS: dict[str, Callable[[Any, Any, ppo.Reward], Ours | Peers]] = {PEERS: Peers, OURS: Ours}


def prepare_loops(name: str, shared: Path) -> tuple[Any, Any, list[str], ppo.Reward]:
    """Model, tokenizer, prompts and reward."""
    set_seed(bench.SEED)
    base, tokenizer, rows = bench.model_and_dialogues(name, shared)
    asked = prompts.fit_all(prompts.zero_shot, [row.dialogue for row in rows[:ROWS]], tokenizer)
    return base.eval(), tokenizer, asked, toxicity.load_classifier().rewards


def measure_loops(name: str, shared: Path, rounds: int) -> dict[str, Any]:
    """Both loops in turn on the same prompts, one update each to warm up; medians, ratio, and peak memory."""
    base, tokenizer, asked, reward = prepare_loops(name, shared)
    loops = {kind: make(base, tokenizer, reward) for kind, make in LOOPS.items()}
    done: dict[str, list[Split]] = {kind: [] for kind in LOOPS}
    with tqdm(total=(rounds + 1) * len(loops), desc=name, unit="update") as bar:
        for number in range(rounds + 1):
            batch = [asked[(number * SETTINGS.batch_size + i) % len(asked)] for i in range(SETTINGS.batch_size)]
            for kind, loop in loops.items():
                bar.set_postfix_str(kind)
                seconds = loop.update(batch)
                done[kind] += [seconds] * (number > 0)
                bar.update()
    ratios = [a.total / b.total for a, b in zip(done[PEERS], done[OURS], strict=True)]
    return {
        "model": name,
        "parameters": count_parameters(base),
        "loops": [summarize_loop(kind, name, splits, shared) for kind, splits in done.items()],
        "ratios": [round(ratio, 4) for ratio in ratios],
        **judge(ratios, BAR),
    }


def summarize_loop(kind: str, name: str, splits: Sequence[Split], shared: Path) -> dict[str, Any]:
    """A loop's row: medians of its updates in seconds, megabytes, and how near it comes to the machine's peak."""
    alone = bench_alone.ask("ppo", kind, name, shared)
    precision = "bf16" if kind == OURS and name != "mini" and has_bf16() else "fp32"
    seconds = median(s.total for s in splits)
    parts = {part: round(median(getattr(s, part) for s in splits), 4) for part in ("rollout", "reward", "update")}
    return {
        "loop": kind,
        "precision": precision,
        "seconds": round(seconds, 4),
        **parts,
        "rounds": [round(s.total, 4) for s in splits],
        "peak_mb": alone["peak_mb"],
        "gflop": alone["gflop"],
        "share_of_peak": round(alone["gflop"] / seconds / peaks()[precision], 4),
    }


def one_update(kind: str, name: str, shared: Path) -> str:
    """What is to be known of one update in a process of its own (:mod:`benchmarks.alone`)."""
    base, tokenizer, asked, reward = prepare_loops(name, shared)
    loop = LOOPS[kind](base, tokenizer, reward)
    return bench_alone.answer(lambda: loop.update(asked[: SETTINGS.batch_size]))


def ppo_page(record: dict[str, Any]) -> str:
    """The record as a table."""
    facts = ", ".join(f"{name} {value}" for name, value in (record["machine"] | record["versions"]).items())
    head = ("model", "loop", "s an update", "rollout", "reward", "update", "memory at most (MB)", "of the peak")
    rows = [
        (r["model"], f"{x['loop']} ({x['precision']})", *(x[part] for part in PARTS), f"{x['share_of_peak']:.1%}")
        for r in record["models"]
        for x in r["loops"]
    ]
    verdicts = [
        f"{r['model']}: an update of ours takes 1/{r['ratio']:.1f} of the peers' time "
        f"({interval_in_words(r)}); at most 1/{r['at_least']:g} is asked for: {verdict(r)}."
        for r in record["models"]
    ]
    s = SETTINGS
    parts = [
        "# Seconds per PPO update",
        f"Made by `{record['command']}`: {facts}, seed {record['seed']}. Batch {s.batch_size}, {s.epochs} epochs, "
        f"minibatches of {s.minibatch}, at most {s.max_new_tokens} tokens. Medians of {record['rounds']} rounds, of "
        "each column by itself, in each of which the loops took turns on the same prompts.",
        *record["skipped"],
        table(head, rows),
        *verdicts,
    ]
    return "\n\n".join(parts) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure; write ``results/bench_ppo.json`` and ``.md``; 1 if a bar is not met or no model could be measured."""
    args = make_parser().parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.alone:
        print(one_update(args.alone, args.models[0], args.shared))
        return 0
    able = [name for name in args.models if not bench.why_not(name, args.shared)]
    results = [measure_loops(name, args.shared, args.rounds) for name in able]
    return bench.write_results(args, results, ppo_page)


def make_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m genai_labs bench ppo", description=plain(__doc__))
    parser.add_argument("what", nargs="?", choices=("ppo",), default="ppo", help=argparse.SUPPRESS)
    parser.add_argument("--models", nargs="+", choices=bench.MODELS, default=list(bench.MODELS), help="default: all")
    parser.add_argument("--rounds", type=bench.positive, default=5, help="how often to measure (default: %(default)s)")
    parser.add_argument("--threads", type=bench.positive, help="threads of torch (default: torch's own choice)")
    parser.add_argument("--shared", type=Path, default=bench.SHARED, metavar="DIR", help="as for `bench train`")
    parser.add_argument("--out", type=Path, default=bench.RESULTS, metavar="DIR", help="default: results/")
    parser.add_argument("--alone", choices=tuple(LOOPS), help=argparse.SUPPRESS)
    return parser
