"""The settings of PPO: each with its standard value, what it may be, and what it does."""

from __future__ import annotations

from dataclasses import dataclass

from genai_labs.errors import LabError
from genai_labs.inputs.allowed import above, between, check, or_none, setting, whole

History = list[dict[str, float]]  # what was measured of each update, a row of log.METRICS each


@dataclass(frozen=True)
class Settings:
    """How to train by PPO. Raises LabError, which says what would be allowed, for a value that makes no sense."""

    updates: int = setting(20, whole(1))
    """How often responses are sampled, scored and learned from."""
    batch_size: int = setting(32, whole(2))  # the mean and spread of one score say nothing
    """Prompts an update, over all processes."""
    minibatch: int = setting(16, whole(1))
    """Responses a step of the optimizer; batch_size is a multiple of it."""
    epochs: int = setting(4, whole(1))
    """How often an update goes through its responses."""
    learning_rate: float = setting(1.5e-3, above(0))
    """Of the adapter, in the first update."""
    anneal: bool = True
    """Whether learning rates fall linearly to 0."""
    value_rate: float = setting(5.0, between(0))
    """The value head learns at this many times the learning rate."""
    max_grad_norm: float = setting(1.0, above(0, infinite=True))
    """Gradients longer than this are scaled down to it."""

    kl_coef: float = setting(0.3, between(0))
    """What a nat of KL against the reference costs, in units of the reward."""
    target_kl: float | None = setting(None, or_none(above(0)))
    """None keeps kl_coef as it is; a number (nats a sequence) lets it grow and shrink so that the KL stays near it."""
    kl_horizon: int = setting(1000, whole(1))
    """With a target: kl_coef moves the slower the larger this is (responses)."""
    gamma: float = setting(1.0, between(0, 1))
    """Discount of later rewards."""
    lam: float = setting(1.0, between(0, 1))
    """Discount of later errors of the value head in the advantages, lambda in the papers."""
    clip: float = setting(0.2, above(0))
    """How far a probability ratio may move from 1 before it gains nothing more."""
    value_clip: float = setting(0.5, above(0, infinite=True))
    """How far a value may move from its old one before it gains nothing more."""
    value_coef: float = setting(0.1, between(0))
    """Weight of the value loss against the policy loss."""
    score_clip: float | None = setting(None, or_none(above(0)))
    """Scores beyond plus or minus this are cut to it; None leaves them."""
    center: bool = True
    """Subtract the batch's mean score, so that the value head, which starts at 0, need not learn it first. With gamma
    or lam below 1, until it has, late tokens would else look better than early ones wherever scores are positive."""

    rank: int = setting(16, whole(1))
    """Of the adapter's matrices B A."""
    alpha: int = setting(16, above(0))
    """B A is scaled by alpha / rank."""
    targets: tuple[str, ...] = ("wi_0", "wi_1", "wo")
    """The decoder's matrices with an adapter, by name: its feed-forward layers. Its attention stays as it was."""
    max_new_tokens: int = setting(80, whole(1))
    """The longest response, end token included."""
    seed: int = setting(0, whole(0, 2**32 - 1))
    """Of the adapter's start, the order of the prompts, and what is sampled."""

    save_every: int = setting(5, whole(1))
    """Updates between two checkpoints."""
    judge_every: int = setting(5, whole(1))
    """Updates between two calls of the judge."""
    most_kl: float = setting(60.0, above(0, infinite=True))
    """Nats a sequence above which the policy is called collapsed and the run is stopped (math.inf: never)."""

    @property
    def name(self) -> str:
        """What the training is called in its bar."""
        return "PPO"

    def __post_init__(self) -> None:
        check(self)
        if self.batch_size % self.minibatch:
            raise LabError(
                f"A batch of {self.batch_size} cannot be cut into minibatches of {self.minibatch}, because one would "
                "be smaller and weigh too much. Choose a batch size that is a multiple of the minibatch."
            )


@dataclass(frozen=True)
class GroupedSettings(Settings):
    """For methods that sample several responses to each prompt: a group."""

    group: int = setting(4, whole(2))
    """Responses to each prompt; batch_size counts responses, and is a multiple of it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch_size % self.group:
            raise LabError(
                f"A batch of {self.batch_size} responses cannot be cut into a group of {self.group} for each prompt. "
                "Choose a batch size that is a multiple of the group."
            )
        if self.target_kl is not None:
            raise LabError("Only PPO follows a target_kl, by which the price of KL moves. Leave it at None.")


@dataclass(frozen=True)
class PairSettings(GroupedSettings):
    """Those of PPO that sampling and steps need, the size of a group, and beta; of each group two responses are kept.

    updates: batches that are sampled, all of them before the first step. epochs: how often the pairs are gone through.
    """

    beta: float = setting(0.1, above(0))
    """What a nat of difference to the reference counts in the loss: the larger, the nearer the policy stays."""

    @property
    def name(self) -> str:
        """What the training is called in its bar."""
        return "DPO"
