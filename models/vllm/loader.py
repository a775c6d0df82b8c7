"""The video loader `codecmeta` of vLLM: bytes of a video -> chosen pictures and when they are shown."""

from __future__ import annotations

from math import floor
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from codecmeta.record.metadata import Metadata
    from codecmeta.record.selection import Policy


class Backend(str):
    """The name of this loader, and what it read: the one free text among what vLLM says of a video carries it to the
    processor of the same process. record: the video's metadata and the rows of its pictures, int64 (T,)."""

    record: tuple[Metadata, NDArray[np.int64]] | None = None


class Loader:
    """What vLLM's registry of video loaders wants: made without arguments, asked with bytes."""

    @classmethod
    def load_bytes(
        cls,
        data: bytes,
        num_frames: int = -1,
        fps: float = -1,
        policy: Policy = "events",
        **unknown: Any,
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """Chosen pictures, uint8 RGB (T, height, width, 3), in the order of display, and what vLLM hands to a model's
        processor: `frames_indices / fps` is when each is shown.

        num_frames, fps, policy: of `media_io_kwargs={"video": ...}`. How many is the smaller of num_frames and fps
        times the duration, as with vLLM's own loader (-1: no limit); which, see `codecmeta.choose_frames` ("query"
        apart).

        fps is 1000 and indices are milliseconds with fractions: exact for models that divide, whatever the frame rate,
        and cut to whole milliseconds by those that make whole numbers of them first. Raises ValueError for options that
        there are not and for what cannot be read, which vLLM answers as a bad request.
        """
        if unknown:
            raise ValueError(
                f"the video loader codecmeta has no option {next(iter(unknown))!r}: num_frames, fps, policy"
            )
        if policy == "query":
            raise ValueError('policy="query" looks for a question, which a video loader is not told')
        from codecmeta.container.source import opened
        from codecmeta.errors import VideoError
        from codecmeta.extraction.choose import choose_frames
        from codecmeta.extraction.read import read
        from codecmeta.extraction.wanted import tables_for

        try:
            with opened(bytes(data)) as medium:
                known, packets = tables_for(medium, policy)
                number = how_many(known.frames.time, num_frames, fps)
                choice = choose_frames(known, number, policy=policy, packets=packets)
                meta, rows, pictures = read(medium, choice)
        except VideoError as error:
            raise ValueError(" ".join(str(error).split())) from error
        backend = Backend("codecmeta")
        backend.record = (meta, rows)
        return pictures, {**said(meta.frames.time, rows), "video_backend": backend}


def how_many(time: NDArray[np.float64], num_frames: int, fps: float) -> int:
    """The smaller of two limits, of which none is -1, at least one and at most all: vLLM's own rule.

    >>> how_many(np.arange(100) / 25, 32, -1), how_many(np.arange(100) / 25, 32, 2), how_many(np.arange(3.0), -1, -1)
    (32, 8, 3)

    time: float64 (n,), seconds of every frame.
    """
    number = len(time) if num_frames < 1 else min(num_frames, len(time))
    return max(1, min(number, floor(duration(time) * fps + 1e-9)) if fps > 0 else number)


def duration(time: NDArray[np.float64]) -> float:
    """Seconds from the first frame to the end of the last, which is shown for as long as frames usually are."""
    usual = float(np.median(np.diff(time))) if len(time) > 1 else 0.0
    return float(time[-1] - time[0]) + usual


def said(time: NDArray[np.float64], rows: NDArray[np.int64]) -> dict[str, Any]:
    """What models are told of pictures that stand in these rows of a table of frames: the fields of transformers'
    VideoMetadata, and that these pictures are the sample.

    >>> said(np.array([0.0, 0.25, 1.5, 1.75]), np.array([0, 2]))["frames_indices"]
    [0.0, 1500.0]
    """
    seconds = duration(time)
    return {
        "fps": 1000.0,
        "frames_indices": [round(1000 * one, 6) for one in time[rows].tolist()],
        "total_num_frames": max(len(rows), round(1000 * seconds)),
        "duration": seconds,
        "do_sample_frames": False,
    }
