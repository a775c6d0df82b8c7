"""From a video file to its metadata in memory, with or without the sampled pictures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from codecmeta.container.source import Source, name_of, opened
from codecmeta.decisions.choose import Choice
from codecmeta.decoding.pictures import cores
from codecmeta.errors import VideoError
from codecmeta.extraction.job import Stages
from codecmeta.extraction.scan import scan
from codecmeta.extraction.wanted import wanted
from codecmeta.record.metadata import Metadata
from codecmeta.record.parts import Collector
from codecmeta.record.selection import Policy, row_numbers


def extract(
    path: Source,
    *,
    frames: Literal["all", "keyframes"] | int | Choice | None = None,
    rows: ArrayLike | None = None,
    times: ArrayLike | None = None,
    policy: Policy = "uniform",
    details: bool = True,
    jobs: int = 1,
    stream: int | None = None,
) -> Metadata:
    """Read the codec metadata of a video.

    >>> meta = extract("clip.mp4", frames=16)
    >>> meta.residual.values.shape, meta.motion.of(0)

    path: the file, its address, its bytes, or an open binary file.
    frames: for which frames vectors and maps are read. The frame and GoP tables always cover the whole video. Take a
    number, evenly spread over time, for a question about the video, "all", the default, for a cache that serves every
    sampling, a `Choice` for frames that `choose_frames` found. rows: in its place, indices of frames in display order,
    int (n,). times: in its place, seconds, float (n,), each of which means the nearest frame. policy: which frames a
    number means, as for `choose_frames` ("query" apart, which looks at pictures). details: where the source knows them
    (H.264), also bits per block, the chroma residual and the distance to each vector's reference, and the luma residual
    as it is; without them it is rounded to 32 steps per power of two, within 1.6 %, which takes a quarter off its
    space. jobs: keyframe segments decoded at the same time; the result is the same whatever the number. stream: which
    video stream, by default FFmpeg's best one.

    Everything returned is in memory; `codecmeta.extract_to_file` writes long videos to disk as they are read.
    Raises VideoError for files that cannot be read, ValueError for arguments that make no sense, rows and times outside
    of the video among them.
    """
    collector = Collector()
    selection, tables = wanted(frames, rows, times, policy)
    with opened(path) as medium:
        found = scan(medium, collector, frames=selection, details=details, jobs=jobs, stream=stream, tables=tables)
    return collector.metadata(found)


def read(
    path: Source,
    frames: int | Choice | None = None,
    *,
    rows: ArrayLike | None = None,
    times: ArrayLike | None = None,
    policy: Policy = "uniform",
    transform: Callable[[NDArray[np.uint8]], Any] | None = None,
    jobs: int | None = None,
    stream: int | None = None,
    seconds: dict[str, float] | None = None,
) -> tuple[Metadata, NDArray[np.int64], Any]:
    """Sampled pictures and their metadata in one pass over the file, each GoP decoded once.

    >>> meta, rows, images = read("clip.mp4", 16)
    >>> images.shape                                    # (16, height, width, 3), RGB

    What a Hugging Face processor sampled is `rows`: read("clip.mp4", rows=metadata.frames_indices), in its order and as
    often. What is returned as rows is its `frames_indices` in turn.

    frames: so many, 16 by default, evenly spread over time with both ends included; fewer come back where the video has
    fewer; or a `Choice` of `choose_frames`. rows: in its place, indices of frames in display order, int (n,). times: in
    its place, seconds, float (n,), each of which means the nearest frame; fewer come back where several mean the same
    one. policy: which frames a number means, as for `choose_frames`. transform: called with each displayed picture,
    uint8 RGB (height, width, 3); what it returns is kept instead of the picture, so that a list of small tensors takes
    the place of full-size frames. jobs: workers, by default all cores; the result is the same with any number. seconds:
    receives what the stages took: "probe", "decode", "transform", and "metadata", which is what the codec's signals
    cost beyond decoding.

    Returns (metadata that covers these frames, their rows in the frame table int64 (T,), the pictures uint8
    (T, height, width, 3) or the list of what transform returned). Raises as `extract` does.
    """
    collector = Collector()
    stages = Stages()
    jobs = cores() if jobs is None else jobs
    selection, tables = wanted(frames, rows, times, policy, default=16)
    if isinstance(selection, str):
        raise ValueError(f"frames={frames!r}: pictures are held in memory; pass how many, rows or times")
    with opened(path) as medium:
        found = scan(
            medium,
            collector,
            frames=selection,
            jobs=jobs,
            stream=stream,
            transform=transform or _identity,
            stages=stages,
            tables=tables,
        )
    if seconds is not None:
        seconds.update(stages.shares(jobs))
    shown, images = np.array(collector.image_rows, np.int64), collector.images
    if rows is not None:
        given = row_numbers(rows)
        if len(lost := np.setdiff1d(given, shown)):
            raise VideoError(f"{name_of(path)}: row {lost[0]} did not come out of the decoder")
        shown, images = given, [images[one] for one in np.searchsorted(shown, given)]
    return collector.metadata(found), shown, images if transform else np.stack(images)


def _identity(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return picture
