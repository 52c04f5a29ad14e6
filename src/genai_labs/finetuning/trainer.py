"""transformers' trainer with rows in batches of similar length, the same steps with one process and with several."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from accelerate.utils import reduce
from transformers import Seq2SeqTrainer
from transformers.trainer_utils import EvalLoopOutput

from genai_labs.errors import LabError
from genai_labs.finetuning.examples import MASKED, Feature
from genai_labs.system.processes import process_state


class ByLength(torch.utils.data.Sampler[int]):
    """Rows in batches of similar length, the batches in random order; the order depends on seed and epoch alone.

    transformers' own sampler draws from the global random state, so a resumed run would see other batches; it also
    sorts smaller groups, which leaves twice the padding.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self.lengths, self.batch_size, self.seed, self.epoch = list(lengths), batch_size, seed, 0

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        rng = random.Random(f"{self.seed}-{self.epoch}")
        # Lengths are blurred by a tenth, so that a row meets other neighbours in every epoch.
        blurred = [length * rng.uniform(0.95, 1.05) for length in self.lengths]
        order = sorted(range(len(blurred)), key=blurred.__getitem__)
        batches = [order[i : i + self.batch_size] for i in range(0, len(order), self.batch_size)]
        last = batches.pop()  # not a full one, perhaps, so it must stay the last
        rng.shuffle(batches)
        return iter([row for batch in [*batches, last] for row in batch])

    def set_epoch(self, epoch: int) -> None:
        """Called by the data loader before each epoch."""
        self.epoch = epoch


class Shares(torch.utils.data.Sampler[list[int]]):
    """Of each batch the rows that this process reads: neighbours, as many as the others have or one more or less.

    A batch with fewer rows than there are processes leaves some without one; they read its last row and count it as
    masked (a negative number stands for such a row, see :class:`Rows`), because all have to take part in every step.
    """

    def __init__(self, order: Sequence[int] | ByLength, batch_size: int, process: int = 0, processes: int = 1) -> None:
        self.sampler, self.batch_size = order, batch_size
        self.process, self.processes = process, processes

    def __len__(self) -> int:
        return -(-len(self.sampler) // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        order = list(self.sampler)
        for start in range(0, len(order), self.batch_size):
            batch = order[start : start + self.batch_size]
            first, end = (len(batch) * place // self.processes for place in (self.process, self.process + 1))
            yield batch[first:end] or [-1 - batch[-1]]


class Rows(torch.utils.data.Dataset[Feature]):
    """Rows by their numbers in a share: row i, and for -1 - i row i with nothing to learn from."""

    def __init__(self, rows: Sequence[Feature]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> Feature:
        if place >= 0:
            return self.rows[place]
        row = self.rows[-1 - place]
        return row | {"labels": [MASKED] * len(row["labels"])}


class Batches(torch.utils.data.DataLoader[Any]):
    """This process's shares of the batches, padded."""

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer before each epoch."""
        order = self.batch_sampler.sampler  # type: ignore[union-attr]
        if isinstance(order, ByLength):
            order.set_epoch(epoch)


class Trainer(Seq2SeqTrainer):
    """transformers' trainer with our order of rows, and with steps that do not depend on the number of processes.

    transformers gives every process a batch of its own, fills up the last ones with rows that were there before, and
    averages the losses of processes though one may have more tokens than another. Here the processes share each batch,
    and a token weighs the same wherever it is read.
    """

    def __init__(self, order: ByLength, **settings: Any) -> None:
        super().__init__(**settings)
        self.order = order

    def get_train_dataloader(self) -> Batches:
        """Shares of the batches in our order."""
        return self._batches(self.train_dataset, self.order)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Batches:
        """Shares of the batches in the order of the rows."""
        rows = self.eval_dataset if eval_dataset is None else eval_dataset
        return self._batches(rows, range(len(rows)))

    def _batches(self, rows: Any, order: Any) -> Batches:
        shares = Shares(order, self.order.batch_size, process_state().process_index, process_state().num_processes)
        pinned = self.args.dataloader_pin_memory
        return Batches(Rows(rows), batch_sampler=shares, collate_fn=self.data_collator, pin_memory=pinned)

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **others: Any) -> Any:
        """The mean over the tokens of the batch; of several processes, losses whose mean over processes is that."""
        if process_state().num_processes == 1:
            return super().compute_loss(model, inputs, return_outputs, **others)
        outputs, labels = model(**inputs), inputs["labels"]
        tokens = reduce((labels != MASKED).sum(), "sum")
        total = torch.nn.functional.cross_entropy(
            outputs.logits.float().flatten(0, 1), labels.flatten(), ignore_index=MASKED, reduction="sum"
        )
        loss = process_state().num_processes * total / tokens
        return (loss, outputs) if return_outputs else loss

    def evaluation_loop(self, dataloader: Any, *_: Any, metric_key_prefix: str = "eval", **__: Any) -> Any:
        """The mean loss over all tokens. transformers takes the mean over batches, whatever the last one holds."""
        model = self._wrap_model(self.model, training=False).eval()
        seen = [(self.prediction_step(model, x, prediction_loss_only=True)[0], x["labels"]) for x in dataloader]
        losses = torch.stack([loss.float() for loss, _ in seen])
        tokens = torch.tensor([int((labels != MASKED).sum()) for _, labels in seen], device=losses.device)
        if process_state().num_processes > 1:
            losses, tokens = reduce(losses, "mean"), reduce(tokens, "sum")
        mean = float((losses * tokens).sum() / tokens.sum())
        return EvalLoopOutput(None, None, {f"{metric_key_prefix}_loss": mean}, len(dataloader.dataset))


def check_processes(batch_size: int) -> None:
    """Raise LabError where a batch has fewer rows than there are processes."""
    count = process_state().num_processes
    if batch_size < count:
        raise LabError(
            f"A batch of {batch_size} rows cannot be shared among {count} processes: some would never have one. "
            f"Choose a batch size of at least {count}, or start fewer processes."
        )
