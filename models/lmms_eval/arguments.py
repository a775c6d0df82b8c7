"""`--model_args`: every knob of a run. The harness keeps answers by this text, so nothing is taken from elsewhere."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import torch

from codecmeta.compression import Strategy, make
from codecmeta.compression.options import did_you_mean
from codecmeta.models.loading import load
from codecmeta.models.video_model import VideoModel, scorable
from codecmeta.record.selection import POLICIES, Policy

_OPTION, _LAYOUT = "set_", "load_"
_HARNESS = ("batch_size", "max_batch_size")


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """What the harness was told.

    pretrained: "small", a folder or an id, as in `codecmeta run --model`. layout (`load_NAME=VALUE`): options of
    `codecmeta.models.load`, such as load_pooling=average. method, budget, options (`set_NAME=VALUE`): of the strategy.
    frames, choose, text_model: as in `codecmeta run`. max_new_tokens: for tasks that name none.
    device: default the accelerator of this rank, else the CPU. dtype, device_map, attn_implementation, revision,
    quantization_config (JSON): as in `codecmeta.models.load`. stats: file for one JSON line per question;
    NAME.jsonl is written as NAME.rank0.jsonl and so on. unreadable: "stop", or "empty": what is no readable video gets
    an empty answer, which the statistics name and count as unparsable.
    """

    pretrained: str = "small"
    method: str = "none"
    budget: float | None = None
    options: dict[str, str] = field(default_factory=dict)
    layout: dict[str, str] = field(default_factory=dict)
    frames: int | None = None
    choose: Policy = "uniform"
    text_model: str | None = None
    max_new_tokens: int = 16
    device: str | None = None
    dtype: str | None = None
    device_map: Any = None
    attn_implementation: str = "sdpa"
    revision: str | None = None
    quantization_config: dict[str, Any] | None = None
    stats: str | None = None
    unreadable: str = "stop"

    def strategy(self) -> Strategy:
        """The method with its options."""
        return make(self.method, budget=self.budget, options=self.options)

    def place(self) -> str | None:
        """Where this rank's model runs; None where a device map says it."""
        if self.device_map is not None:
            return None
        device = self.device or ("cuda" if torch.cuda.is_available() else "cpu")
        return f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if device == "cuda" else device

    def load(self) -> VideoModel:
        """The model. Raises ValueError, as `codecmeta.models.load`."""
        return load(
            self.pretrained,
            self.place() or "cpu",
            dtype=self.dtype,
            device_map=self.device_map,
            attn_implementation=self.attn_implementation,
            revision=self.revision,
            quantization_config=self.quantization_config,
            options=self.layout,
        )


def read_arguments(given: Mapping[str, Any]) -> Arguments:
    """What the harness passes, values parsed by it already -> `Arguments`. Raises ValueError for what is unknown or
    unfit: it would otherwise be a knob that does nothing."""
    prefixed = {
        prefix: {name.removeprefix(prefix): _text(one) for name, one in given.items() if name.startswith(prefix)}
        for prefix in (_OPTION, _LAYOUT)
    }
    own = {name: one for name, one in given.items() if not name.startswith((_OPTION, _LAYOUT)) and name not in _HARNESS}
    known = [one.name for one in fields(Arguments) if one.name not in ("options", "layout")]
    if unknown := [name for name in own if name not in known]:
        raise ValueError(
            f"--model_args has no {unknown[0]!r}{did_you_mean(unknown[0], known)}; "
            f"it has: {', '.join(known)}, {_OPTION}NAME for an option of the method, "
            f"{_LAYOUT}NAME for one of the checkpoint's layout"
        )
    if str(given.get("batch_size", 1)) != "1":
        raise ValueError(f"--batch_size {given['batch_size']}: questions are asked one by one; leave it at 1")
    for name in ("device_map", "quantization_config"):
        if isinstance(own.get(name), str) and own[name].startswith("{"):
            own[name] = json.loads(own[name])
    made = Arguments(**own, options=prefixed[_OPTION], layout=prefixed[_LAYOUT])
    if made.choose not in POLICIES:
        raise ValueError(f"choose={made.choose}: expected one of {', '.join(POLICIES)}")
    if made.choose == "query" and made.text_model is None:
        raise ValueError("choose=query needs text_model=ID_OR_FOLDER")
    if made.unreadable not in ("stop", "empty"):
        raise ValueError(f"unreadable={made.unreadable}: expected stop or empty")
    for name in ("frames", "max_new_tokens"):
        count = getattr(made, name)
        if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 1):
            raise ValueError(f"{name}={count}: expected a number of at least 1")
    strategy = made.strategy()
    if made.text_model is not None and made.choose != "query":
        scorable(strategy)
    return made


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
