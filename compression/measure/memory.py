"""A module's call -> the most memory that was in use at once while it ran, as the allocator saw it.

with PeakMemory(model.model.language_model) as memory:
    model.generate(**inputs)
print(memory.peaks[0])                                       # bytes, of the prompt
"""

from __future__ import annotations

from types import TracebackType
from typing import Any

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.hooks import RemovableHandle

_UNKNOWN = f"torch {torch.__version__}: its profiler says nothing of memory in the way known to PeakMemory"


class PeakMemory:
    """Measure every call of a module as long as the block lasts.

    peaks: for each call, bytes above what was in use when it began; temporary tensors inside kernels count. On CUDA
    these are the caching allocator's own statistics, which are reset; on a CPU every allocation is recorded, which is
    slow, so do not time at the same time. Enter this block before `apply`, and the strategy's own work on the prompt is
    inside the call.
    """

    def __init__(self, module: nn.Module) -> None:
        self.peaks: list[int] = []
        self._module = module
        self._handles: list[RemovableHandle] = []
        self._recorder: Any = None
        self._before = 0
        self._device = torch.device("cpu")

    def __enter__(self) -> PeakMemory:
        self._handles = [
            self._module.register_forward_pre_hook(self._start),
            self._module.register_forward_hook(self._stop, always_call=True),
        ]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()

    def _start(self, module: nn.Module, args: Any) -> None:
        self._device = next(module.parameters()).device
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
            torch.cuda.reset_peak_memory_stats(self._device)
            self._before = torch.cuda.memory_allocated(self._device)
        else:
            self._recorder = profile(activities=[ProfilerActivity.CPU], profile_memory=True)
            self._recorder.__enter__()
            torch.empty(1)  # an allocation that must be seen, and is given back at once

    def _stop(self, module: nn.Module, args: Any, output: Any) -> None:
        if self._recorder is None:
            torch.cuda.synchronize(self._device)
            self.peaks.append(torch.cuda.max_memory_allocated(self._device) - self._before)
            return
        recorder, self._recorder = self._recorder, None
        recorder.__exit__(None, None, None)
        self.peaks.append(_peak(recorder))


def _peak(recorder: Any) -> int:
    try:
        changes = [one for one in recorder.profiler.kineto_results.events() if one.name() == "[memory]"]
        steps = [one.nbytes() for one in sorted(changes, key=lambda one: one.start_ns())]
    except AttributeError as error:
        raise RuntimeError(f"{_UNKNOWN} ({error})") from error
    if not steps:
        raise RuntimeError(f"{_UNKNOWN} (no allocation was recorded, not even our own)")
    used = peak = 0
    for step in steps:
        used += step
        peak = max(peak, used)
    return peak
