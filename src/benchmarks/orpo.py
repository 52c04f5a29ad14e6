"""ORPO, by trl's experimental ORPOTrainer, which takes encoder-decoder models; its DPO, GRPO and RLOO trainers do not.

Hong et al. 2024, https://arxiv.org/abs/2403.07691: the loss of supervised training on the chosen text, minus ``beta``
times log sigmoid of the log odds ratio of chosen and rejected. There is no reference model in it, so that nothing but
its first term keeps the policy near to where it was.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
import warnings
from collections.abc import Sequence

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from genai_labs.errors import LabError
from genai_labs.rlhf.policy import Pairs, Policy
from genai_labs.rlhf.reward_model import PLAINLY, Moved
from genai_labs.rlhf.settings import PairSettings
from genai_labs.system import progress
from genai_labs.system.devices import best_device


def train_by_orpo(
    policy: Policy, tokenizer: PreTrainedTokenizerBase, pairs: Sequence[Pairs], settings: PairSettings
) -> None:
    """Train the policy's adapter in place on pairs, ``epochs`` times, as many pairs a step as DPO takes.

    ``settings.beta`` is the weight of the odds ratio, lambda in the paper. The texts are read anew, each with an end
    token, also those that the longest length had cut. trl's own bars and messages are left out.
    """
    columns = {
        "prompt": [prompt for batch in pairs for prompt in batch.prompts],
        "chosen": [text for batch in pairs for text in batch.chosen.texts],
        "rejected": [text for batch in pairs for text in batch.rejected.texts],
    }
    before, a_step = policy.fingerprint(), max(1, settings.minibatch // 2)
    steps = settings.epochs * -(-len(columns["prompt"]) // a_step)
    with (
        progress.bar(steps, f"ORPO, {settings.epochs} epochs") as moved,
        progress.others_silent(),
        tempfile.TemporaryDirectory() as folder,
        contextlib.redirect_stdout(io.StringIO()),  # not None: whoever draws a bar flushes sys.stdout first
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # among others, that what is experimental may change
        from trl.experimental.orpo import ORPOConfig, ORPOTrainer

        config = ORPOConfig(
            output_dir=folder,
            beta=settings.beta,
            num_train_epochs=settings.epochs,
            per_device_train_batch_size=a_step,
            learning_rate=settings.learning_rate,
            lr_scheduler_type="linear" if settings.anneal else "constant",
            adam_beta2=0.99,
            max_grad_norm=settings.max_grad_norm,
            max_length=tokenizer.model_max_length,
            max_completion_length=settings.max_new_tokens,
            remove_unused_columns=False,
            use_cpu=best_device().type == "cpu",
            seed=settings.seed,
            **PLAINLY,
        )
        trainer = ORPOTrainer(
            model=policy.model,
            args=config,
            train_dataset=Dataset.from_dict(columns),
            processing_class=tokenizer,
            callbacks=[Moved(moved.update)],
        )
        trainer.train()
    policy.eval()
    if policy.fingerprint() != before:
        raise LabError("The weights below the adapter have changed, and only the adapter may be trained.")
