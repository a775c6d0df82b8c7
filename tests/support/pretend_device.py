"""A pretended accelerator: tensors that say they are on "cuda:0", on a machine that has none.

    with pretend():
        to_device(model)
        model(on_device(ids))

Such a tensor cannot become an array before .cpu(), and no operation takes it together with one of the CPU's, unless
CUDA's does (0-dimensional numbers, places to index at). What is computed, and all kernels, are the CPU's: speed,
streams and precision are not pretended.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

CUDA = torch.device("cuda:0")
_ATEN = torch.ops.aten
_INDEXING = {_ATEN.index.Tensor, _ATEN.index_put_.default, _ATEN.index_put.default, _ATEN._index_put_impl_.default}
_COPYING = {_ATEN.copy_.default, _ATEN._to_copy.default}


class OnDevice(torch.Tensor):
    """A tensor of the pretended device; `inner` is the real one."""

    inner: torch.Tensor
    device = property(lambda self: CUDA)  # type: ignore[assignment]
    is_cuda = property(lambda self: True)  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, inner):
        made = torch.Tensor._make_wrapper_subclass(
            cls, inner.size(), strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype
        )
        made.inner = inner
        return made

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})

    def __getitem__(self, index):
        return super().__getitem__(_tensors(index))

    def __setitem__(self, index, value):
        super().__setitem__(_tensors(index), value)

    def __repr__(self):
        return f"OnDevice({self.inner!r})"

    def cpu(self):
        return self.inner.clone()

    def tolist(self):
        return self.inner.tolist()

    def untyped_storage(self):
        return self.inner.untyped_storage()

    def numpy(self, *args, **kwargs):
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    __array__ = numpy


def on_device(tensor: torch.Tensor) -> OnDevice:
    """The tensor as if it were on the accelerator."""
    return OnDevice(tensor)


def to_device(model: torch.nn.Module) -> None:
    """Move all weights and buffers."""
    for module in model.modules():
        for name, weight in module._parameters.items():
            if weight is not None:
                module._parameters[name] = torch.nn.Parameter(OnDevice(weight.detach()), requires_grad=False)
        for name, buffer in module._buffers.items():
            module._buffers[name] = None if buffer is None else OnDevice(buffer)


def spread(layers: list[torch.nn.Module], behind: list[torch.nn.Module], first: int) -> None:
    """Layers of a decoder from `first` on on the device, those before it and what stands `behind` on the CPU. What a
    module takes is moved to where it is, inside the module's own forward, as accelerate does for a device_map."""
    for module, move in (
        *((one, False) for one in (*layers[:first], *behind)),
        *((one, True) for one in layers[first:]),
    ):
        if move:
            to_device(module)
        module.forward = _moving(module.forward, move)  # type: ignore[method-assign]


def _moving(forward: Any, there: bool) -> Any:
    def moved(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        return _outer(value) if there else _inner(value)

    @wraps(forward)
    def on_its_device(*args: Any, **kwargs: Any) -> Any:
        return forward(*tree_map(moved, args), **tree_map(moved, kwargs))

    return on_its_device


@contextmanager
def pretend() -> Iterator[None]:
    """As long as the block lasts, "cuda" is a device that can be named."""
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(torch.cuda, "synchronize", lambda device=None: None)
        stack.enter_context(torch.no_grad())
        stack.enter_context(_Operations())
        stack.enter_context(_Functions())
        yield


def _inner(value: Any) -> Any:
    return value.inner if isinstance(value, OnDevice) else value


def _outer(value: Any) -> Any:
    return OnDevice(value) if isinstance(value, torch.Tensor) and not isinstance(value, OnDevice) else value


def _tensors(index: Any) -> Any:
    """Arrays among indices as tensors."""
    if isinstance(index, tuple):
        return tuple(_tensors(one) for one in index)
    return torch.from_numpy(np.ascontiguousarray(index)) if isinstance(index, np.ndarray) else index


def _is_device(value: Any) -> bool:
    if isinstance(value, torch.Tensor):
        return isinstance(value, OnDevice)
    return value is not None and torch.device(value).type == "cuda"


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """One operation on the real tensors, refused where CUDA would refuse it."""
    tensors = [one for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)]
    there = [one for one in tensors if isinstance(one, OnDevice)]
    here = [one for one in tensors if not isinstance(one, OnDevice) and one.dim()]
    if there and here and func not in _COPYING:
        only_places = func in _INDEXING and all(isinstance(one, OnDevice) for one in (args[0], *args[2:3]))
        if not only_places:
            raise RuntimeError(f"{func}: tensors on cuda:0 and cpu")
    out = func(*tree_map(_inner, args), **tree_map(_inner, kwargs))
    if func._schema.is_mutable and isinstance(out, torch.Tensor):
        return kwargs.get("out", args[0] if args else out)
    return tree_map(_outer, out) if there else out


class _Operations(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


class _Functions(TorchFunctionMode):
    """What names a device, or asks a tensor for its own."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func is torch.Tensor.to:
            return self._move(func, args, kwargs)
        makes = func in (torch.tensor, torch.as_tensor, torch.Tensor.new_tensor, torch._C._nn.pad_sequence)
        there = any(isinstance(one, OnDevice) for one in tree_leaves(args))
        if _is_device(kwargs.get("device")):
            kwargs["device"] = "cpu"
            return _outer(func(*(tree_map(_inner, args) if makes else args), **kwargs))
        if makes and there and func not in (torch.tensor, torch.as_tensor):
            return _outer(func(*tree_map(_inner, args), **kwargs))
        return func(*args, **kwargs)

    @staticmethod
    def _move(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        tensor, *rest = args
        where = [one for one in rest if isinstance(one, (torch.Tensor, torch.device, str))]
        target = where[0] if where else kwargs.get("device")
        if target is None:
            return func(*args, **kwargs)
        like = target.dtype if isinstance(target, torch.Tensor) else tensor.dtype
        dtype = kwargs.get("dtype") or next((one for one in rest if isinstance(one, torch.dtype)), like)
        if isinstance(tensor, OnDevice) == _is_device(target) and dtype == tensor.dtype:
            return tensor
        moved = _inner(tensor).to(dtype)
        return OnDevice(moved) if _is_device(target) else moved.clone()
