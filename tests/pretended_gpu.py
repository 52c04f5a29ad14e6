"""A GPU that is only pretended: tensors that are computed on the processor, and refuse what an Apple GPU refuses.

That is float64, numpy, and tensors of the processor beside their own (numbers and indices excepted). Speed, memory and
kernels that a device lacks are not played.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

GPU = torch.device("mps", 0)
ATEN = torch.ops.aten
IN_PLACE = {ATEN.copy_.default, ATEN.index_put_.default, ATEN._index_put_impl_.default}
TAKES_STRANGERS = IN_PLACE | {ATEN.index.Tensor, ATEN.index_put.default}
OTHER_DEVICE = "Expected all tensors to be on the same device, but found at least two devices, mps:0 and cpu!"


class There(torch.Tensor):
    """A tensor on the pretended GPU; ``held`` is where it really is."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> There:
        if held.dtype == torch.float64:
            raise TypeError(
                "Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64."
            )
        made = torch.Tensor._make_wrapper_subclass(
            cls, held.size(), strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype
        )
        made.held = held
        return made

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        return f"There(shape={list(self.shape)}, dtype={self.dtype})"

    def __deepcopy__(self, memo: dict[int, Any]) -> torch.Tensor:
        made: torch.Tensor = There(self.held.detach().clone())
        if isinstance(self, torch.nn.Parameter):
            made = torch.nn.Parameter(made, self.requires_grad)
        memo[id(self)] = made
        return made

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, kwargs = getattr(func, "__name__", ""), kwargs or {}
        if name == "__get__" and func.__self__ in (torch.Tensor.device, torch.Tensor.is_cpu):
            return GPU if func.__self__ is torch.Tensor.device else False
        if name in ("numpy", "__array__"):
            raise TypeError("can't convert mps:0 device type tensor to numpy. Use Tensor.cpu() first.")
        if name == "tolist":
            return args[0].held.tolist()
        device = _device_of(name, args, kwargs)
        if device is not None and device.type == "cpu":
            return Down.apply(args[0])
        with torch._C.DisableTorchFunctionSubclass():
            if device is None:
                return func(*args, **kwargs)
            dtypes = [each for each in (*args, *kwargs.values()) if isinstance(each, torch.dtype)]
            return args[0].to(dtypes[0]) if dtypes else args[0]

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return compute(func, args, kwargs or {})


class Down(torch.autograd.Function):
    """From the pretended GPU to the processor."""

    @staticmethod
    def forward(ctx: Any, x: There) -> torch.Tensor:
        return x.held.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return There(gradients[0])


def _device_of(name: str, args: Any, kwargs: Any) -> torch.device | None:
    """Where `.cpu()` or `.to(...)` sends a tensor; None for other functions, and where only a type is named."""
    if name == "cpu":
        return torch.device("cpu")
    named = [each for each in (*args[1:2], kwargs.get("device")) if isinstance(each, str | torch.device | torch.Tensor)]
    if name != "to" or not named:
        return None
    return named[0].device if isinstance(named[0], torch.Tensor) else torch.device(named[0])


def compute(func: Any, args: Any, kwargs: Any) -> Any:
    """Do on the processor what is asked of the pretended GPU."""
    tensors = [each for each in tree_leaves((args, kwargs)) if isinstance(each, torch.Tensor)]
    there = [each for each in tensors if isinstance(each, There)]
    if there and func not in TAKES_STRANGERS and any(each.dim() for each in tensors if not isinstance(each, There)):
        raise RuntimeError(f"{OTHER_DEVICE} ({func})")
    if there and func is ATEN.index.Tensor and not isinstance(args[0], There):
        raise RuntimeError("indices should be either on cpu or on the same device as the indexed tensor (cpu)")
    device = kwargs.get("device")
    if device is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    plain = tree_map(lambda each: each.held if isinstance(each, There) else each, (args, kwargs))
    made = func(*plain[0], **plain[1])
    if func in IN_PLACE:
        return args[0]
    if torch.device(device).type == "mps" if device is not None else there:
        made = tree_map(lambda each: There(each) if isinstance(each, torch.Tensor) else each, made)
    return return_and_correct_aliasing(func, args, kwargs, made) if there and device is None else made


class _Made(TorchDispatchMode):
    """Tensors that are made on the GPU, such as torch.zeros(2, device="mps")."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return compute(func, args, kwargs or {})


class _Sent(TorchFunctionMode):
    """Tensors of the processor that are sent to the GPU, and lists made into tensors there."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.Tensor.__repr__ and isinstance(args[0], There):
            return There.__repr__(args[0])
        if func in (torch.tensor, torch.as_tensor) and kwargs.get("device") == GPU:
            return There(func(*args, **kwargs | {"device": None}))
        if func is torch.Tensor.to and not isinstance(args[0], There) and _device_of("to", args, kwargs) == GPU:
            dtypes = [each for each in (*args, *kwargs.values()) if isinstance(each, torch.dtype)]
            return There(args[0].detach().to(*dtypes))
        return func(*args, **kwargs)


@contextmanager
def pretended() -> Iterator[None]:
    """Inside, the pretended GPU can be computed on, and modules that are sent anywhere are sent there."""
    with patch.object(torch.nn.Module, "to", lambda module, *_, **__: moved(module)), _Sent(), _Made():
        yield


def moved(model: torch.nn.Module) -> torch.nn.Module:
    """The model with its weights on the pretended GPU, tied ones tied as before."""
    made: dict[int, torch.nn.Parameter] = {}
    for module in model.modules():
        for name, weight in module.named_parameters(recurse=False):
            if not isinstance(weight, There):
                new = torch.nn.Parameter(There(weight.detach()), weight.requires_grad)
                setattr(module, name, made.setdefault(id(weight), new))
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, buffer if isinstance(buffer, There) else There(buffer))
    return model
