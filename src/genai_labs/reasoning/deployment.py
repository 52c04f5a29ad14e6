"""Smaller models: weights of 8 bits, weights set to 0, and a student with fewer layers that learns from its teacher.

int8: PyTorch's dynamic quantization, one scale a matrix; see also Dettmers et al. 2022, with a scale for each row and
column and outliers in 16 bits, https://arxiv.org/abs/2208.07339. Pruning by magnitude: Han et al. 2015,
https://arxiv.org/abs/1506.02626, who train afterwards, which is not done here. Distillation: Hinton et al. 2015,
https://arxiv.org/abs/1503.02531.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils import prune
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.modeling_outputs import BaseModelOutput

from genai_labs.errors import LabError
from genai_labs.inputs.arguments import as_whole_number
from genai_labs.system.progress import bar


def quantized(model: PreTrainedModel) -> PreTrainedModel:
    """A copy whose matrices are stored in int8 and whose activations are rounded to int8 as they come, on a processor.

    PyTorch's dynamic quantization: each matrix has one scale, its largest absolute weight / 127.5, and whole numbers
    from -128 to 127. The embeddings, which are looked up and not multiplied with, stay as they are, and so do norms.
    """
    made = copy.deepcopy(model).cpu().float()
    if torch.backends.quantized.engine == "none":  # on Apple's chips (https://github.com/pytorch/pytorch/issues/123507)
        torch.backends.quantized.engine = "qnnpack"
    with warnings.catch_warnings(action="ignore"):  # torchao is to take this over; it is not needed for T5 on a CPU
        return torch.ao.quantization.quantize_dynamic(made, {torch.nn.Linear}, dtype=torch.qint8)


def pruned(model: PreTrainedModel, share: float) -> PreTrainedModel:
    """A copy in which the ``share`` of each matrix with the smallest weights is 0; embeddings stay.

    The copy is as large and as fast as the model: zeros are stored and multiplied like other numbers. Raises LabError
    unless 0 <= share < 1.
    """
    if not 0 <= share < 1:
        raise LabError(
            f"A share of {share} cannot be pruned: it is from 0 to below 1. Take 0.3 for three of ten weights."
        )
    made = copy.deepcopy(model)
    for module in made.modules():
        if isinstance(module, torch.nn.Linear) and module.weight is not made.get_input_embeddings().weight:
            prune.l1_unstructured(module, "weight", amount=float(share))
            prune.remove(module, "weight")
    return made


def bytes_of(model: torch.nn.Module) -> int:
    """Bytes of all weights, those that are tied counted once; of int8 matrices with their scales."""
    seen: dict[int, int] = {}
    for module in model.modules():
        if isinstance(module, torch.ao.nn.quantized.dynamic.Linear):
            weight, bias = module._weight_bias()
            scales = 8 * (weight.q_per_channel_scales().numel() if weight.qscheme() == torch.per_channel_affine else 1)
            seen[id(module)] = weight.numel() + scales + (0 if bias is None else bias.numel() * 4)
        for weight in module.parameters(recurse=False):
            seen[weight.data_ptr()] = weight.numel() * weight.element_size()
    return sum(seen.values())


def student_of(teacher: PreTrainedModel, encoder: Sequence[int], decoder: Sequence[int]) -> PreTrainedModel:
    """A copy with only these layers of encoder and decoder, in this order; the first of each must be kept.

    The first layer holds what all layers know about distance. Raises LabError for layers that there are not.
    """
    made = copy.deepcopy(teacher)
    for stack, kept, name in ((made.encoder, encoder, "encoder"), (made.decoder, decoder, "decoder")):
        if not kept or kept[0] != 0 or not set(kept) <= set(range(len(stack.block))):
            raise LabError(
                f"The layers {list(kept)} of the {name} cannot be kept: it has {len(stack.block)}, counted from 0, and "
                "layer 0 has to be the first. Name others."
            )
        stack.block = torch.nn.ModuleList([stack.block[layer] for layer in kept])
        for place, block in enumerate(stack.block):
            for layer in block.layer[:-1]:
                attention = getattr(layer, "SelfAttention", None) or layer.EncDecAttention
                attention.layer_idx = place
    made.config.num_layers, made.config.num_decoder_layers = len(encoder), len(decoder)
    return made


def soft_loss(student: Tensor, teacher: Tensor, counted: Tensor) -> Tensor:
    """KL of the student's distribution from the teacher's, nats a token that counts; logits [batch, time, vocabulary].

    Hinton et al.'s soft targets at temperature 1; counted: [batch, time], bool.
    """
    there, here = (logits[counted].log_softmax(-1) for logits in (teacher, student))
    return (there.exp() * (there - here)).sum(-1).mean()


def distill(
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[tuple[str, str]],
    steps: int = 60,
    batch_size: int = 8,
    learning_rate: float = 2e-3,
    seed: int = 0,
) -> list[float]:
    """Trains the decoder of ``student`` in place to write what ``teacher`` would; the loss of each step, nats a token.

    pairs: prompts and texts; at each token of the texts the student learns the teacher's whole distribution. Its
    encoder and embeddings are left as the teacher's, which reads for both. Raises LabError where they differ in size.
    """
    as_whole_number(steps, "The number of steps", 1)
    if student.config.num_layers != teacher.config.num_layers:
        raise LabError("The student has to keep all layers of the teacher's encoder, which reads for both. Keep them.")
    weights = [p for name, p in student.named_parameters() if name.startswith("decoder.block")]
    optimizer = torch.optim.AdamW(weights, learning_rate, weight_decay=0.0)
    draw = torch.Generator().manual_seed(seed)
    order = torch.cat([torch.randperm(len(pairs), generator=draw) for _ in range(steps * batch_size // len(pairs) + 1)])
    losses: list[float] = []
    with bar(steps, "distilling") as moved:
        for places in order[: steps * batch_size].split(batch_size):
            batch = [pairs[place] for place in places.tolist()]
            both = [tokenizer(list(side), padding=True, return_tensors="pt") for side in zip(*batch, strict=True)]
            read, labels = (each.to(student.device) for each in both)
            begun = student.prepare_decoder_input_ids_from_labels(labels.input_ids)
            with torch.no_grad():
                states = BaseModelOutput(last_hidden_state=teacher.get_encoder()(**read).last_hidden_state)
                given = {"attention_mask": read.attention_mask, "decoder_input_ids": begun, "use_cache": False}
                wanted = teacher(encoder_outputs=states, **given).logits
            loss = soft_loss(student(encoder_outputs=states, **given).logits, wanted, labels.attention_mask.bool())
            optimizer.param_groups[0]["lr"] = learning_rate * (1 - len(losses) / steps)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            losses.append(float(loss.detach()))
            moved.update(1)
    return losses
