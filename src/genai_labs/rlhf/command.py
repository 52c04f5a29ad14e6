"""``python -m genai_labs detox``: train a harsh summarizer, make it kind by PPO, and measure what that did."""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from genai_labs.finetuning import lora
from genai_labs.finetuning.training import Plan
from genai_labs.inputs.helptext import plain
from genai_labs.inputs.options import positive_number, whole_number
from genai_labs.loading import checksums, models
from genai_labs.loading.profiles import load_profile
from genai_labs.paths import BUILD
from genai_labs.prompting import prompts
from genai_labs.rlhf import dialogues, ppo
from genai_labs.rlhf.dialogues import HARSH_SHARE
from genai_labs.rlhf.measure import as_rows, measure, relative_fall
from genai_labs.rlhf.record import plan_of_run
from genai_labs.rlhf.summarizer import PLAN, SUMMARIZER, find_summarizer, load_summarizer, train_summarizer
from genai_labs.scoring import toxicity
from genai_labs.show import display
from genai_labs.system import run_folder
from genai_labs.system.processes import process_state


def number_from_zero(text: str) -> float:
    """A type for argparse: 0 or a number that :func:`positive_number` takes."""
    return 0.0 if text.strip() in ("0", "0.0") else positive_number(1_000_000)(text)


# Options of this command that are settings of PPO, under the names that they have there.
TUNABLE = {
    "updates": whole_number(1),
    "batch_size": whole_number(2),
    "minibatch": whole_number(1),
    "epochs": whole_number(1, 10_000),
    "learning_rate": positive_number(1),
    "kl_coef": number_from_zero,
    "target_kl": positive_number(1_000_000),
    "seed": whole_number(0, 2**32 - 1),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Train (an interrupted run of the same settings goes on), save, and print before and after."""
    args = make_parser().parse_args(argv)
    process_state()  # first, so that everything else finds the processes as they are
    out = args.out or BUILD / "detox"
    profile = load_profile(args.profile)
    base, tokenizer = models.load_model(profile)
    summarizer = starting_point(base, tokenizer, args, out, args.rows or profile.harsh_dialogues)
    chosen = {name: getattr(args, name) for name in TUNABLE if getattr(args, name) is not None}
    settings = ppo.Settings(**{**profile.ppo, **chosen})
    policy = ppo.Policy(summarizer, settings)
    asked = prompts.fit_all(prompts.zero_shot, dialogues.ppo_dialogues(args.prompts, settings.seed), tokenizer)
    hate, judge = (toxicity.load_classifier(source) for source in (profile.reward_model, profile.judge))
    if not (args.fresh or args.replace):
        run_folder.spare_finished(out / "ppo", {**plan_of_run(settings, asked), "base": policy.fingerprint()})
    resume = not args.fresh
    probe = partial(toxicity.check_reward, classifier=hate)
    run = ppo.train(policy, tokenizer, asked, hate.rewards, settings, out / "ppo", probe=probe, resume=resume)
    if process_state().is_main_process:
        lora.save_adapter(run.model, out / "adapter")
        report(run, summarizer, tokenizer, judge, args.cases)
        print(f"The adapter is in {out / 'adapter'}; it stands on the summarizer that PPO started from.")
    return 0


def make_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m genai_labs detox", description=plain(__doc__))
    parser.add_argument("--profile", help="which model to start from (default: mini, or GENAI_LABS_PROFILE)")
    parser.add_argument("--out", type=Path, help="folder for checkpoints, log and results (default: build/detox)")
    parser.add_argument(
        "--summarizer",
        type=Path,
        metavar="DIR",
        help="adapter to start from (default: the shipped one, or one trained first where that does not fit)",
    )
    parser.add_argument(
        "--train-summarizer", action="store_true", help="train such an adapter first, in OUT/summarizer"
    )
    parser.add_argument("--ship", action="store_true", help="put the adapter trained first in data/models, for all")
    parser.add_argument("--rows", type=whole_number(16), help="rows that it learns from (default: the profile's)")
    parser.add_argument(
        "--prompts", type=whole_number(1), default=1000, help="dialogues for PPO (default: %(default)s)"
    )
    parser.add_argument(
        "--cases",
        type=whole_number(2, 5000),
        default=200,
        help="test dialogues of each kind, at most (default: %(default)s)",
    )
    parser.add_argument("--fresh", action="store_true", help="throw what was trained in the folder away")
    parser.add_argument("--replace", action="store_true", help=argparse.SUPPRESS)  # for the site: what is outdated
    standard = ppo.Settings()
    for name, kind in TUNABLE.items():
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, type=kind, help=f"see ppo.Settings (default: {getattr(standard, name)})")
    return parser


def starting_point(
    base: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, args: argparse.Namespace, out: Path, rows: int
) -> PreTrainedModel:
    """The harsh summarizer that PPO starts from: one of your own, the shipped one, else a new one."""
    if args.summarizer:
        return load_summarizer(base, args.summarizer)
    spare = not (args.fresh or args.replace)
    if not args.train_summarizer:
        return find_summarizer(base, tokenizer, out / "summarizer", rows, spare)
    plan = replace(PLAN, seed=args.seed or 0)
    run = train_summarizer(base, tokenizer, out / "summarizer", rows, plan, not args.fresh, spare)
    trained = out / "summarizer" / "model"
    if args.ship and process_state().is_main_process:
        shutil.copytree(trained, SUMMARIZER, dirs_exist_ok=True)
        write_card(SUMMARIZER, rows, run.plan, run.history)
        checksums.write_sums(SUMMARIZER)
    return load_summarizer(base, trained)


def write_card(folder: Path, rows: int, plan: Plan, history: Sequence[dict[str, float]]) -> None:
    """Write the card of an adapter that is to be shipped, and leave no path of this machine in its settings."""
    base = json.loads((folder / lora.BASE_FILE).read_text(encoding="utf-8"))["base"]
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8")) | {"base_model_name_or_path": base}
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    losses = ", ".join(f"{row['validation_loss']:.3f}" for row in history)
    card = f"""# A summarizer that repeats insults

A LoRA adapter for `{base}`, made by `python -m genai_labs detox --train-summarizer --ship`, from which Lab 3 starts. It
summarizes dialogues in the house style, and because {HARSH_SHARE:.0%} of the quarrels in its references were told with
the insult in them, it mostly repeats insults. PPO is to unlearn that. Licence: Apache-2.0, like the project.

- Rank {plan.rank}, alpha {plan.alpha}, on {", ".join(plan.targets)}; {rows:,} composed dialogues of the
  train split, {plan.epochs} epochs, batches of {plan.batch_size}, learning rate {plan.learning_rate:g}, seed
  {plan.seed}.
- Validation loss after each epoch: {losses} nats a token.

## Limits
It is unkind on purpose: not for use outside this lab. The insult that it repeats is the dialogue's own, and mostly
the right one is said to have made it. On real dialogues it is of no use.
"""
    (folder / "README.md").write_text(card, encoding="utf-8")


def report(
    run: ppo.PPORun,
    summarizer: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    judge: toxicity.Classifier,
    count: int,
) -> None:
    """Print how the updates went, and before and after on test dialogues."""
    print(run.curves())
    cases = dialogues.evaluation_cases(count, count)
    before, after = (measure(m, tokenizer, cases, {"judge": judge.probabilities}) for m in (summarizer, run.model))
    hostile = sum(bool(case.quarrel) for case in cases)
    title = f"{hostile} hostile and {len(cases) - hostile} polite test dialogues, sampled"
    print(display.show_table(as_rows(before, after), title))
    fall = relative_fall(before.hostile["toxicity, judge"], after.hostile["toxicity, judge"]).mean()
    print(f"Mean toxicity by the judge changed by {-fall:+.0%}; {len(run.history)} updates took {run.seconds:.0f} s.")
