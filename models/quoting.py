"""What a question about a video will cost, before a weight is loaded or a picture decoded.

From the model's configuration (a model of one layer without weights tells how pictures become tokens), the settings of
its preprocessing, and the packet table of the video. The counts are made by the methods' own plans and cuts.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from os import PathLike, fspath
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from codecmeta.compression import Layout, Metok, Plain, Plan, Strategy, adapter_for, make
from codecmeta.compression.engine.adapter import Adapter
from codecmeta.compression.engine.proof import check_place, check_watched
from codecmeta.compression.engine.transformers_sizes import shares_keys
from codecmeta.compression.measure.cost import TextModel, cache_size, prefill_flops
from codecmeta.decisions.choose import Choice
from codecmeta.errors import VideoError
from codecmeta.extraction.choose import choose_frames
from codecmeta.models.checkpoints import first_line, settings_of
from codecmeta.models.hub import found
from codecmeta.models.loading import BUILT_IN, SMALL, builtin_folder, described
from codecmeta.models.preprocessing import Preprocessing
from codecmeta.models.video_model import usual_policy
from codecmeta.record.metadata import Maps, Metadata, Probe, Stream
from codecmeta.record.selection import Policy

BLOCK = 16
"""Pixels along a block of the maps that stand in for signals."""


@dataclass(frozen=True)
class Quote:
    """What `run` will report, as far as it is known beforehand.

    model, method, budget, frames: as in `Answer`. tokens_full, tokens_kept: visual tokens of the plain model, and those
    that enter the language model. tokens_llm_mean: per layer, averaged. encoder_full, encoder_tokens: tokens in the
    vision encoder. newlines_full, newlines_kept: newline tokens of the plain model's video, and those of them that
    enter; no budget and no count of tokens holds them, cache and operations do. kv_bytes_full, kv_bytes: key-value
    cache of video and prompt, plain and with the method.
    prefill_flops_full, prefill_flops: operations of the language model over them (two per multiply-add, without the
    head). text_tokens: of the prompt beside the video, as given; with 0 the bytes and operations are those of the video
    alone. packets_to_decode, decode_seconds: for the chosen frames; seconds in one thread, roughly. at_most: which of
    these fields depend on the pictures and are upper bounds. why: the same in words. milliseconds: what the quote took,
    once the model's code was imported.
    """

    video: str
    model: str
    method: str
    budget: float | None
    policy: str
    frames: int
    tokens_full: int
    tokens_kept: int
    tokens_llm_mean: float
    encoder_full: int
    encoder_tokens: int
    newlines_full: int
    newlines_kept: int
    kv_bytes_full: int
    kv_bytes: int
    prefill_flops_full: float
    prefill_flops: float
    text_tokens: int
    packets_to_decode: int
    exact_packets: bool
    decode_seconds: float
    at_most: tuple[str, ...]
    why: str
    milliseconds: float

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {**asdict(self), "at_most": list(self.at_most)}


@dataclass(frozen=True)
class Paper:
    """A model on paper. name: as given. adapter: of the same architecture with one layer and no weights. text: sizes of
    the language model. number: bytes of a number in its cache. preprocessing: None where nothing is known of it."""

    name: str
    adapter: Adapter
    text: TextModel
    number: int
    preprocessing: Preprocessing | None

    @classmethod
    def of(cls, name: str, device: str = "cpu", options: Mapping[str, Any] | None = None) -> Paper:
        """From a name as `codecmeta.models.load` takes it, or the path of a config.json. device: where the model would
        run: on a CPU it is loaded in float32, else as the checkpoint says. options: as for
        `load`. Raises ValueError for what cannot be read or is not supported."""
        file = Path(name)
        where = str(file.parent) if file.is_file() else ""
        try:
            if not where:
                where = str(builtin_folder(name)) if name in BUILT_IN else found(name, BUILT_IN)
            there = described(str(file) if file.is_file() else where, options=options)
            config, architecture = there.config, there.cls
            try:
                preprocessing = there.preprocessing or Preprocessing.from_config(settings_of(where, "video", None))
            except ValueError:
                if not file.is_file():
                    raise
                preprocessing = None
        except (OSError, ValueError) as error:
            raise ValueError(f"model {name!r} cannot be quoted: {first_line(error)}") from error
        text = config.get_text_config()
        kind = torch.float32 if torch.device(device).type == "cpu" else text.dtype or config.dtype or torch.float32
        return cls(name, _hollow(architecture, config), TextModel.of(text), kind.itemsize, preprocessing)

    def layout(self, pictures: int, stream: Stream) -> Layout:
        """The token grid of a clip of so many pictures. Raises ValueError where preprocessing has to be known, and is
        not."""
        layout = self.adapter.layout(pictures, stream)
        if layout is None:
            if self.preprocessing is None:
                raise ValueError(
                    f"model {self.name!r}: how many tokens a picture becomes depends on its preprocessing, and there "
                    "are no such settings beside the configuration; pass the folder of the checkpoint"
                )
            size = self.preprocessing.of_clip(pictures, self.adapter.pixel_limits).shape_of(stream.height, stream.width)
            inputs, _ = self.adapter.inputs(torch.empty(pictures, 3, *size, device="meta"))
            layout = self.adapter.layout_of_inputs(inputs, stream)
        return replace(layout, depth=self.text.layers)


def _hollow(architecture: Any, config: Any) -> Adapter:
    """The adapter of a model of this configuration, but for its depth where a layer can stand alone, on the device that
    holds no numbers."""
    config = copy.deepcopy(config)
    for part in (config.get_text_config(), config.vision_config):
        for depth in ("num_hidden_layers", "depth"):
            if hasattr(part, depth) and not shares_keys(part):
                setattr(part, depth, 1)
    with torch.device("meta"):
        return adapter_for(architecture._from_config(config, attn_implementation="sdpa"))


def quote(
    video: str | PathLike[str],
    model: str | Paper = SMALL,
    *,
    strategy: Strategy | str | None = None,
    frames: int | None = None,
    choose: Policy | None = None,
    text_tokens: int = 0,
    device: str = "cpu",
) -> Quote:
    """What asking a model about a video will cost.

    >>> quote("film.mp4", "llava-hf/llava-onevision-qwen2-7b-ov-hf", strategy="metom", frames=64).tokens_kept
    6272

    model: as for `codecmeta.models.load`, the path of a config.json, or a `Paper` for many quotes. strategy, frames,
    choose: as for `VideoModel.ask`. text_tokens: of the prompt beside the video (its separators are counted by
    themselves). device: where the model would run.

    Raises VideoError for a video that cannot be read, ValueError for a model or a method that cannot be quoted.
    """
    paper = model if isinstance(model, Paper) else Paper.of(model, device)
    start = perf_counter()
    chosen = (make(strategy) if isinstance(strategy, str) else strategy or make("none")).preferring(
        paper.adapter.preferences
    )
    number = frames or (paper.preprocessing.num_frames if paper.preprocessing else None) or 16
    choice = choose_frames(video, number, policy=choose or usual_policy(paper.adapter))
    if choice.tables is None:
        raise VideoError(f"{video}: a cache; pass the video that it is of, whose packets say what decoding takes")
    known = choice.tables[0]
    rows = choice.rows
    if spare := -len(rows) % paper.adapter.pictures:
        rows = np.append(rows, [rows[-1]] * spare)
    layout = paper.layout(len(rows), known.stream)
    inside = chosen.inside(layout.depth)
    check_place(paper.adapter, inside)
    if inside is not None and paper.text.attending is not None:
        check_watched(inside, paper.text.attending)
    made = _planned(chosen, layout, known, rows)
    entering, held, exact = chosen.expected_layers(made)
    replaced = chosen.replaces_separators(layout)
    entering_all, held_all = (
        [n + _newlines(n, layout, replaced) + text_tokens for n in each] for each in (entering, held)
    )
    plain = [layout.tokens_full + layout.separators + text_tokens] * layout.depth
    known_newlines = (
        _newlines_known([made.tokens], layout, replaced),
        _newlines_known([*entering, *held], layout, replaced),
    )
    at_most = _bounds(chosen, made.exact, exact, known_newlines)
    return Quote(
        video=fspath(video),
        model=paper.name,
        method=chosen.name,
        budget=1.0 if isinstance(chosen, Plain) else getattr(chosen, "budget", None),
        policy=choice.policy,
        frames=len(rows),
        tokens_full=layout.tokens_full,
        tokens_kept=made.tokens,
        tokens_llm_mean=float(np.mean(entering)),
        encoder_full=layout.frames * layout.patches_per_frame * layout.unit,
        encoder_tokens=layout.frames * layout.patches_per_frame * layout.unit,
        newlines_full=layout.separators,
        newlines_kept=_newlines(made.tokens, layout, replaced),
        kv_bytes_full=cache_size(paper.text, plain, paper.number),
        kv_bytes=cache_size(paper.text, held_all, paper.number),
        prefill_flops_full=prefill_flops(paper.text, plain),
        prefill_flops=prefill_flops(paper.text, entering_all),
        text_tokens=text_tokens,
        **_decoding(choice),
        at_most=at_most,
        why=_why(at_most),
        milliseconds=round(1000 * (perf_counter() - start), 1),
    )


def _decoding(choice: Choice) -> dict[str, Any]:
    return {
        "packets_to_decode": choice.packets_to_decode,
        "exact_packets": choice.exact_cost,
        "decode_seconds": round(choice.predicted_seconds, 4),
    }


def _planned(strategy: Strategy, layout: Layout, known: Probe, rows: NDArray[np.int64]) -> Plan:
    """The method's own plan, over signals that are the same everywhere: its counts follow from packets and sizes, or
    `counts_from_content` says that they do not."""
    if isinstance(strategy, Metok):  # change scores of the codec look at signals, too, which only reading gives
        strategy = replace(strategy, boundaries="features")
    if strategy.counts_from_content:
        return Plan(layout, np.full(layout.frames, layout.tokens_per_frame, np.int64), exact=False)
    if strategy.needs_pictures:
        side = [BLOCK * cells for cells in layout.patches]
        pictures = torch.zeros(layout.frames * layout.pictures, 3, *side)
        return strategy.plan_with(pictures, layout, _flat(known, rows), rows)
    return strategy.plan(layout, _flat(known, rows), rows)


def _flat(known: Probe, rows: NDArray[np.int64]) -> Metadata:
    """A record of what is known of a video, with a residual that is the same everywhere."""
    rows = np.unique(rows)
    cells = (-(-known.stream.height // BLOCK), -(-known.stream.width // BLOCK))
    flat = Maps(rows, np.ones((len(rows), *cells), np.float16), BLOCK)
    return Metadata(known.path, known.stream, known.frames, known.gops, known.capability, {}, residual=flat)


def _newlines(tokens: int, layout: Layout, replaced: bool) -> int:
    """Newlines of the model's own beside so many visual tokens in a layer, at most."""
    if replaced:
        return 0
    return min(tokens, layout.separators) if layout.newline in ("frame", "row") else layout.separators


def _newlines_known(counts: list[int], layout: Layout, replaced: bool) -> bool:
    """Whether it is exactly so many, for each of these counts of tokens."""
    return replaced or layout.newline in ("", "video") or set(counts) <= {0, layout.tokens_full}


def _bounds(strategy: Strategy, entering: bool, inside: bool, newlines: tuple[bool, bool]) -> tuple[str, ...]:
    """Fields that are upper bounds. newlines: whether those that enter are known, and those of all layers."""
    return (
        *(() if entering else ("tokens_kept",)),
        *(("encoder_tokens",) if strategy.merges_patches else ()),
        *(() if newlines[0] else ("newlines_kept",)),
        *(() if inside else ("tokens_llm_mean",)),
        *(() if inside and newlines[1] else ("kv_bytes", "prefill_flops")),
    )


def _why(at_most: tuple[str, ...]) -> str:
    return f"depends on the pictures, so at most: {', '.join(at_most)}" if at_most else ""
