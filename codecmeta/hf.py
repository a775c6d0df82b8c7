"""Frames for the stock processors of transformers: chosen from packets, decoded here, with their exact times.

with codecmeta.hf.attach(processor, frames=64, policy="events") as source:
    inputs = processor.apply_chat_template(messages, tokenize=True, return_dict=True, return_tensors="pt")
meta, rows = source.read[-1]                                   # what codecmeta.compression.apply takes

transformers is imported when a function is called.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from codecmeta.container.probe import probe
from codecmeta.decisions.choose import Choice
from codecmeta.extraction.choose import choose_frames
from codecmeta.extraction.read import read
from codecmeta.record.metadata import Metadata, Probe
from codecmeta.record.selection import Policy, row_numbers

if TYPE_CHECKING:
    from transformers.video_utils import VideoMetadata


def video_metadata(source: Choice | Probe | Metadata, rows: ArrayLike | None = None) -> VideoMetadata:
    """What processors want to know of frames that were picked at whatever times.

    >>> choice = codecmeta.choose_frames("film.mp4", 32)
    >>> meta, rows, pictures = codecmeta.read("film.mp4", choice)
    >>> processor(text=..., videos=[pictures], video_metadata=[video_metadata(meta, rows)], do_sample_frames=False)

    source: a `Choice`, or a record of the video with rows, int (T,), of its frame table. Processors know times only as
    frames_indices / fps, which no constant fps gives for a variable frame rate: so fps is 1, frames_indices are seconds
    and total_num_frames is the duration, which makes every time exact and leaves pictures per second as they are.
    Raises ValueError for a record without rows.
    """
    from transformers.video_utils import VideoMetadata

    known: Probe | Metadata | None
    if isinstance(source, Choice):
        known, times = source.tables[0] if source.tables else None, source.times
    elif rows is None:
        raise ValueError(f"a {type(source).__name__} says nothing of which frames are shown: pass rows")
    else:
        known, times = source, source.frames.time[row_numbers(rows)]
    every = times if known is None else known.frames.time
    usual = float(np.median(np.diff(every))) if len(every) > 1 else 0.0
    duration = float(every[-1] - every[0]) + usual
    size = {} if known is None else {"width": known.stream.width, "height": known.stream.height}
    return VideoMetadata(
        total_num_frames=duration,
        fps=1.0,
        duration=duration,
        video_backend="codecmeta",
        frames_indices=times.tolist(),
        **size,
    )


class Attached:
    """A processor that decodes through codecmeta, until `detach` or the end of a `with`.

    read: of each video that was read, its metadata and the rows that were shown, int64 (T,), in order: what
    `codecmeta.compression.apply` takes.
    """

    def __init__(self, video_processor: Any, frames: int | None, policy: Policy) -> None:
        self.read: list[tuple[Metadata, NDArray[np.int64]]] = []
        self._video_processor, self._stock = video_processor, type(video_processor)
        self._frames, self._policy = frames, policy
        stock, decode = self._stock, self._decode

        def fetch_videos(own: Any, video: Any, sample_indices_fn: Any = None) -> Any:
            if isinstance(video, list):
                return list(zip(*(fetch_videos(own, one, sample_indices_fn) for one in video), strict=True))
            if isinstance(video, (str, PathLike)) and Path(video).is_file():
                return decode(Path(video), sample_indices_fn)
            return stock.fetch_videos(own, video, sample_indices_fn=sample_indices_fn)

        # a class of the same name in the place of the object's: nothing is added to what the processor saves
        own = {"fetch_videos": fetch_videos, "__module__": stock.__module__, "_codecmeta": self}
        video_processor.__class__ = type(stock.__name__, (stock,), own)

    def _decode(self, video: Path, sample_indices_fn: Any) -> tuple[NDArray[np.uint8], VideoMetadata]:
        number = self._frames or self._number(video, sample_indices_fn)
        meta, rows, pictures = read(video, choose_frames(video, number, policy=self._policy))
        if spare := -len(rows) % (getattr(self._video_processor, "temporal_patch_size", None) or 1):
            rows, pictures = np.append(rows, [rows[-1]] * spare), np.concatenate([pictures, *[pictures[-1:]] * spare])
        self.read.append((meta, rows))
        return pictures, video_metadata(meta, rows)

    @staticmethod
    def _number(video: Path, sample_indices_fn: Any) -> int:
        """How many frames the processor would take."""
        known = probe(video, headers=False)
        if sample_indices_fn is None:
            return len(known.frames)
        from transformers.video_utils import VideoMetadata

        seconds = known.stream.duration_seconds or float(known.frames.time[-1])
        fps = len(known.frames) / max(seconds, 1e-9)
        whole = VideoMetadata(total_num_frames=len(known.frames), fps=fps, duration=seconds)
        return len(sample_indices_fn(metadata=whole))

    def detach(self) -> None:
        """Let the processor be as it was."""
        self._video_processor.__class__ = self._stock

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.detach()


def attach(processor: Any, frames: int | None = None, policy: Policy = "events") -> Attached:
    """Let a stock processor read video files through codecmeta, with exact times for uneven frames and variable rates.

    processor: of transformers, with a `video_processor`; everything but reading files stays its own. frames: how many,
    by default as many as the processor would sample. policy: which, see `codecmeta.choose_frames` ("query" apart).
    What is no file here (an address, frames) is read as before. Raises ValueError for a processor without videos, for
    one that is attached already and for policies that look at pictures.
    """
    video_processor = getattr(processor, "video_processor", None)
    if video_processor is None or not hasattr(video_processor, "fetch_videos"):
        raise ValueError(f"{type(processor).__name__} has no video processor that fetches videos")
    if hasattr(video_processor, "_codecmeta"):
        raise ValueError("this processor reads through codecmeta already: detach it first")
    if policy == "query":
        raise ValueError('policy="query" looks at pictures for a question: pass what choose_frames returns to read')
    return Attached(video_processor, frames, policy)


def detach(processor: Any) -> None:
    """Undo `attach`; nothing where nothing was attached."""
    attached = getattr(getattr(processor, "video_processor", None), "_codecmeta", None)
    if attached is not None:
        attached.detach()
