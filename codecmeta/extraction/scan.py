"""From a video file to its metadata: plans which frames to cover, decodes them segment by segment, collects the
signals.

Decoding is done once for everything: vectors, QP, the residual estimate and, for `read`, the pictures themselves.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from os import PathLike
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codecmeta.compiling import announce_compiling
from codecmeta.container.probe import PACKET_SIZES, frame_tables, open_video, probe_with_packets
from codecmeta.decoding import estimate
from codecmeta.decoding.decoder import (
    VECTOR_CODECS,
    Damage,
    Decoded,
    Segment,
    decode_segment,
    has_b_vectors,
    linear_segment,
    plan_segments,
)
from codecmeta.decoding.pictures import displayed_picture
from codecmeta.errors import VideoError
from codecmeta.extraction.capability import Tally
from codecmeta.extraction.reader import Bitstream, BitstreamTally, NotParsed, run_length
from codecmeta.record.display import (
    BlockGrid,
    Display,
    cropped_vectors,
    displayed_grid,
    displayed_map,
    displayed_vectors,
    fitted_map,
    qp_map,
)
from codecmeta.record.metadata import SOURCES, VECTOR, B, Frames, I, Metadata, vector_order
from codecmeta.record.parts import Collector, Found, LumaChange, Part, Sink
from codecmeta.record.selection import Selection, check_selection, sample_rows

_CHUNK = 64  # frames of a long segment that are handed on together: bounds memory where a GoP is the whole file


def extract(
    path: str | PathLike[str],
    *,
    frames: Selection = "all",
    details: bool = True,
    jobs: int = 1,
    stream: int | None = None,
) -> Metadata:
    """Read the codec metadata of a video.

    >>> meta = extract("clip.mp4", frames=16)
    >>> meta.residual.values.shape, meta.motion.of(0)

    frames: for which frames vectors and maps are read. The frame and GoP tables always cover the whole video. Take a
    number for a question about the video, "all" for a cache that serves every sampling. details: where the source
    knows them (H.264), also bits per block, the chroma residual and the distance to each vector's reference, and the
    luma residual as it is; without them it is rounded to 32 steps per power of two, within 1.6 %, which takes a
    quarter off its space. jobs: keyframe segments decoded at the same time; the result is the same whatever the
    number. stream: which video stream, by default FFmpeg's best one.

    Everything returned is in memory; `codecmeta.extract_to_file` writes long videos to disk as they are read.
    Raises VideoError for files that cannot be read, ValueError for arguments that make no sense.
    """
    collector = Collector()
    found = scan(Path(path), collector, frames=frames, details=details, jobs=jobs, stream=stream)
    return collector.metadata(found)


def read(
    path: str | PathLike[str],
    frames: int | Sequence[float] = 16,
    *,
    transform: Callable[[NDArray[np.uint8]], Any] | None = None,
    jobs: int = 1,
    stream: int | None = None,
    seconds: dict[str, float] | None = None,
) -> tuple[Metadata, NDArray[np.int64], Any]:
    """Sampled pictures and their metadata in one pass over the file, each GoP decoded once.

    >>> meta, rows, images = read("clip.mp4", 16)
    >>> images.shape                                    # (16, height, width, 3), RGB

    frames: so many, evenly spread over time with both ends included, or the times in seconds of the frames you want;
    fewer come back where several times mean the same frame. transform: called
    with each displayed picture, uint8 RGB (height, width, 3); what it returns is kept instead of the picture, so that
    a list of small tensors takes the place of full-size frames. seconds: receives what the stages took: "probe",
    "decode", "transform", and "metadata", which is what the codec's signals cost beyond decoding.

    Returns (metadata that covers these frames, their rows in the frame table int64 (T,), the pictures uint8
    (T, height, width, 3) or the list of what transform returned). Raises as `extract` does.
    """
    collector = Collector()
    stages = Stages()
    selection = frames if isinstance(frames, int) else tuple(float(one) for one in frames)
    found = scan(
        Path(path),
        collector,
        frames=selection,
        jobs=jobs,
        stream=stream,
        transform=transform or _identity,
        stages=stages,
    )
    if seconds is not None:
        seconds.update(stages.shares(jobs))
    rows = np.array(collector.image_rows, np.int64)
    images = collector.images if transform else np.stack(collector.images)
    return collector.metadata(found), rows, images


def scan(
    path: Path,
    sink: Sink,
    *,
    frames: Selection,
    details: bool = True,
    jobs: int = 1,
    stream: int | None = None,
    transform: Callable[[NDArray[np.uint8]], Any] | None = None,
    stages: Stages | None = None,
) -> Found:
    """Decode what a selection needs and give it to a sink in display order; returns the tables and how signals came
    about."""
    check_selection(frames, jobs)
    return _Scan(path, sink, frames, details, jobs, stream, transform, stages or Stages()).run()


@dataclass
class Stages:
    """Seconds that a scan spent on its stages, `whole` by the clock. metadata, transform: a number for every frame or
    group of frames, from any worker."""

    whole: float = 0.0
    probe: float = 0.0
    metadata: array[float] = field(default_factory=lambda: array("d"))
    transform: array[float] = field(default_factory=lambda: array("d"))

    def shares(self, jobs: int) -> dict[str, float]:
        """Seconds by the clock per stage: what workers spent side by side is divided among them."""
        spent = {"metadata": sum(self.metadata) / jobs, "transform": sum(self.transform) / jobs}
        return {"probe": self.probe, **spent, "decode": max(self.whole - self.probe - sum(spent.values()), 0.0)}


class _Scan:
    """One video on its way through the decoder."""

    def __init__(
        self,
        path: Path,
        sink: Sink,
        selection: Selection,
        details: bool,
        jobs: int,
        stream: int | None,
        transform: Callable[[NDArray[np.uint8]], Any] | None,
        stages: Stages,
    ) -> None:
        start = perf_counter()
        self.stages = stages
        self.path, self.sink, self.selection, self.jobs, self.transform = path, sink, selection, jobs, transform
        self.details = details
        self.settings = {"frames": selection, "details": details, "stream": stream}
        self.probe, self.packets = probe_with_packets(path, stream=stream)
        stages.probe = perf_counter() - start
        self.facts = self.probe.stream
        if not (self.facts.width > 0 and self.facts.height > 0):
            raise VideoError(f"{path}: the {self.facts.codec} stream does not say how large its pictures are")
        self.has_vectors = self.facts.codec in VECTOR_CODECS
        self.not_parsed = ""
        turned = self.facts.rotation in (90, 270)
        width, height = (self.facts.height, self.facts.width) if turned else (self.facts.width, self.facts.height)
        shape = Display(width, height, *self.facts.crop, self.facts.rotation, self.facts.width, self.facts.height)
        self.residual_grid = displayed_grid(shape, estimate.BLOCK)
        self.qp_grid = displayed_grid(shape, 16, *self.facts.crop)

    def run(self) -> Found:
        segments = plan_segments(self.packets, self.facts.codec)
        start = perf_counter()
        try:
            try:
                return self._run_parser(segments)
            except NotParsed as reason:
                self.not_parsed = str(reason)
                self.sink.clear()
            if segments[0].linear:
                return self._run_linear()
            return self._run_segments(segments)
        except Damage:
            self.sink.clear()
            self.not_parsed = self.not_parsed or "the file is damaged, and shows what its decoder makes of it"
            return self._run_linear()
        finally:
            self.stages.whole = perf_counter() - start + self.stages.probe

    def _wanted(self, frames: Frames) -> NDArray[np.int64]:
        """The rows of the selection, where it is known which rows there are."""
        if self.selection == "all":
            return np.arange(len(frames))
        if self.selection == "keyframes":
            return np.flatnonzero(frames.keyframe)
        return sample_rows(frames.time, self._sampling)

    def _mask(self, frames: Frames) -> NDArray[np.bool_]:
        """The same as bool (frames,)."""
        keep = np.zeros(len(frames), bool)
        keep[self._wanted(frames)] = True
        return keep

    def _run_parser(self, segments: list[Segment]) -> Found:
        """Metadata from the packets themselves; raises NotParsed where they cannot be read."""
        if self.transform is not None and segments[0].linear:
            return self._run_delivered()
        try:
            return self._run_bitstream(Bitstream(self.path, self.facts, self.packets, self.details), segments)
        except Damage:
            self.sink.clear()
            return self._run_delivered()

    def _run_delivered(self) -> Found:
        """A decoder says which packets are shown, in which order; what they hold comes from the packets themselves."""
        whole = linear_segment(self.packets)
        # what is not read here is refused before anything is decoded
        Bitstream(self.path, self.facts, self.packets, shown=np.zeros(0, np.int64))
        decoded = decode_segment(self.path, self.facts.stream_index, self.packets, whole, side_data=False)
        shown = [(one.packet, one.picture_type, one.corrupt) for one in decoded]
        if not shown:
            raise self._no_frame()
        order, types, corrupt = (np.array(column) for column in zip(*shown, strict=True))
        bitstream = Bitstream(self.path, self.facts, self.packets, self.details, order)
        self.residual_grid, self.qp_grid = bitstream.residual_grid, bitstream.macroblock_grid
        keep = self._mask(frame_tables(self.packets, order, self.facts)[0])
        tally = BitstreamTally(self.details)
        types = types.astype(np.uint8)
        for part in bitstream.segment(Segment(0, whole.stop, range(len(order)), linear=True), keep):
            types[part.rows] = np.where(part.types, part.types, types[part.rows])
            corrupt[part.rows] |= np.array(part.corrupt, bool)
            tally.count(part)
            self.sink.add(part)
        if self.transform is not None:
            self.sink.add(Part(images=self._images(whole, np.flatnonzero(keep).tolist())))
        return self._found(order, types, corrupt, tally, self._lost_note(order))

    def _run_bitstream(self, bitstream: Bitstream, segments: list[Segment]) -> Found:
        """Every packet as its time stamps say; a decoder runs only where the pictures are asked for too."""
        frames, _ = frame_tables(self.packets, bitstream.order, self.facts)
        keep = self._mask(frames)
        self.residual_grid, self.qp_grid = bitstream.residual_grid, bitstream.macroblock_grid
        if self.transform is not None:
            tasks = [partial(self._pictures, bitstream, one, rows) for one in segments if (rows := _within(one, keep))]
        elif self.selection == "all" or not self.packets.timed:
            tasks = [partial(bitstream.segment, one, keep) for one in bitstream.runs(segments, self.jobs)]
        else:
            tasks = [partial(bitstream.frames, np.flatnonzero(keep).tolist())]
        alone = self.transform is not None or (self.selection != "all" and self.packets.timed)
        tally = BitstreamTally(self.details, alone)
        types = frames.picture_type.copy()
        for part in _in_order(tasks, self.jobs):
            if any(part.corrupt):
                raise Damage  # which frames of it are shown is the decoder's to say
            types[part.rows] = part.types
            tally.count(part)
            self.sink.add(part)
        return self._found(bitstream.order, types, frames.corrupt, tally, "")

    def _pictures(self, bitstream: Bitstream, segment: Segment, rows: list[int]) -> Iterator[Part]:
        """The wanted pictures of one segment from its decoder, their metadata from their own packets."""
        images = self._images(segment, rows)
        start = perf_counter()
        for part in bitstream.frames(rows):
            part.images, images = images, []
            yield part
        self.stages.metadata.append(perf_counter() - start)

    def _images(self, segment: Segment, rows: list[int]) -> list[tuple[int, Any]]:
        """What the transform makes of the displayed pictures of these rows, ascending, from one decoder."""
        images: list[tuple[int, Any]] = []
        decoded = decode_segment(self.path, self.facts.stream_index, self.packets, segment, side_data=False)
        assert self.transform is not None
        with closing(decoded):  # type: ignore[type-var]
            for one in decoded:
                if one.row in rows:
                    picture = displayed_picture(one.frame, Display.of(one.frame, self.facts))
                    start = perf_counter()
                    images.append((one.row, self.transform(picture)))
                    self.stages.transform.append(perf_counter() - start)
                if one.row >= rows[-1]:
                    break
        return images

    def _run_segments(self, segments: list[Segment]) -> Found:
        frames = self.probe.frames
        keep = self._mask(frames)
        tally, change = Tally(not_parsed=self.not_parsed), LumaChange()
        types, corrupt = frames.picture_type.copy(), frames.corrupt.copy()
        want: Callable[[int, int], bool] = lambda row, packet: bool(keep[row])  # noqa: E731
        work = [(one, rows[-1]) for one in segments if (rows := _within(one, keep))]
        tasks = [partial(self._parts_of, run, want) for run in self._runs(work)]
        for part in _in_order(tasks, self.jobs):
            types[part.rows], corrupt[part.rows] = part.types, part.corrupt
            tally.count(part)
            change.complete(part)
            self.sink.add(part)
        return self._found(self.packets.display_order, types, corrupt, tally, "")

    def _runs(self, work: list[tuple[Segment, int]]) -> list[list[tuple[Segment, int]]]:
        """Segments that are decoded one after the other from a file opened once: all for a single worker, runs of a few
        hundred packets for several. A decoder of H.264 learns from a stream how far it reorders; it is made anew."""
        if self.facts.codec == "h264":
            return [[one] for one in work]
        least = run_length(len(self.packets), self.jobs)
        runs: list[list[tuple[Segment, int]]] = []
        for one in work:
            if runs and one[0].first - runs[-1][0][0].first < least:
                runs[-1].append(one)
            else:
                runs.append([one])
        return runs

    def _parts_of(self, run: list[tuple[Segment, int]], want: Callable[[int, int], bool]) -> Iterator[Part]:
        with open_video(self.path, self.facts.stream_index) as opened:
            for segment, last in run:
                yield from self._parts(segment, want, last, opened)

    def _run_linear(self) -> Found:
        """Start to end with one decoder: rows are the frames that come out, whatever the packets promised."""
        whole = linear_segment(self.packets)
        want: Callable[[int, int], bool] = lambda row, packet: True  # noqa: E731
        if self.selection == "keyframes":
            want = lambda row, packet: bool(self.packets.key[packet])  # noqa: E731
        elif self.selection != "all":
            keep = set(self._delivered_sample(whole).tolist())
            want = lambda row, packet: row in keep  # noqa: E731
        tally, change = Tally(not_parsed=self.not_parsed), LumaChange()
        order: list[int] = []
        types: list[int] = []
        corrupt: list[bool] = []
        for part in self._parts(whole, want, None):
            order += part.packets
            types += part.types
            corrupt += part.corrupt
            tally.count(part)
            change.complete(part)
            self.sink.add(part)
        if not order:
            raise self._no_frame()
        delivered = np.array(order)
        note = self._lost_note(delivered)
        return self._found(delivered, np.array(types, np.uint8), np.array(corrupt, bool), tally, note)

    def _no_frame(self) -> VideoError:
        packets = f"{len(self.packets)} packets ({self.facts.codec})"
        return VideoError(f"{self.path}: not one frame of {packets} could be decoded")

    def _lost_note(self, order: NDArray[np.int64]) -> str:
        lost = int(self.packets.shown.sum()) - len(np.unique(order))
        return f"; {lost} of {len(self.packets)} packets gave no frame" if lost > 0 else ""

    def _delivered_sample(self, whole: Segment) -> NDArray[np.int64]:
        """Sampled rows of a stream whose frames are only known once decoded: a first pass without side data counts
        them."""
        order = [
            one.packet
            for one in decode_segment(self.path, self.facts.stream_index, self.packets, whole, side_data=False)
        ]
        if not order:
            return np.zeros(0, np.int64)
        frames, _ = frame_tables(self.packets, np.array(order), self.facts)
        return sample_rows(frames.time, self._sampling)

    @property
    def _sampling(self) -> int | tuple[float, ...]:
        assert not isinstance(self.selection, str)
        return self.selection

    def _parts(
        self,
        segment: Segment,
        want: Callable[[int, int], bool],
        last: int | None,
        opened: tuple[Any, Any] | None = None,
    ) -> Iterator[Part]:
        """The parts of one segment; `last` is the last row that is wanted, where that is known."""
        announce_compiling(estimate.intra_error)
        estimator = estimate.ResidualEstimator(self.has_vectors, one_reference=self.facts.codec != "h264")
        part = Part()
        displays: dict[int, Display] = {}
        decoded = decode_segment(self.path, self.facts.stream_index, self.packets, segment, opened=opened)
        with closing(decoded):  # type: ignore[type-var]
            for one in decoded:
                part.rows.append(one.row)
                part.packets.append(one.packet)
                part.types.append(one.picture_type)
                part.corrupt.append(one.corrupt)
                start = perf_counter()
                display = Display.of(one.frame, self.facts)
                vectors = self._known_vectors(one, display)
                wanted = want(one.row, one.packet)
                if wanted:
                    displays[one.row] = display
                    self._record(part, one, vectors, display)
                luma = estimate.LumaFrame(one.row, one.picture_type, estimate.luma_plane(one.frame), vectors, wanted)
                self._record_residual(part, estimator.push(luma), displays)
                if not self.has_vectors:
                    part.means.append(estimate.block_means(luma.luma))
                self.stages.metadata.append(perf_counter() - start)
                if wanted and self.transform is not None:
                    picture = displayed_picture(one.frame, display)
                    start = perf_counter()
                    part.images.append((one.row, self.transform(picture)))
                    self.stages.transform.append(perf_counter() - start)
                if last is not None and one.row >= last and not displays:
                    break
                if len(part.rows) >= _CHUNK:
                    yield part
                    part = Part()
        self._record_residual(part, estimator.finish(), displays)
        yield part

    def _known_vectors(self, one: Decoded, display: Display) -> NDArray[np.void] | None:
        """Vectors in the cropped frame: empty for a picture that has none, None where they cannot be had."""
        if not self.has_vectors or (one.picture_type == B and not has_b_vectors(self.facts.codec)):
            return None
        if one.vectors is not None:
            return cropped_vectors(one.vectors, display)
        if one.picture_type == I or self.facts.codec == "h264":
            return np.zeros(0, VECTOR)
        return None  # the last frame of an MPEG stream with delay: flushed out of the decoder without its tables

    def _record(self, part: Part, one: Decoded, vectors: NDArray[np.void] | None, display: Display) -> None:
        if vectors is not None:
            part.motion_rows.append(one.row)
            part.vectors.append(displayed_vectors(vectors[vector_order(vectors)], display))
        if one.qp is not None:
            own = displayed_grid(display, 16, display.crop_left, display.crop_top)
            values = displayed_map(qp_map(one.qp, display), display)
            part.qp_rows.append(one.row)
            part.qp.append(self._fit(values, own, display, self.qp_grid))
            part.qp_blocks += len(one.qp.blocks)

    def _record_residual(
        self, part: Part, known: list[tuple[int, NDArray[np.float32], str]], displays: dict[int, Display]
    ) -> None:
        for row, rms, source in known:
            display = displays.pop(row, None)
            if display is None:
                continue
            values = displayed_map(estimate.stored_estimate(rms), display)
            part.residual_rows.append(row)
            part.residual.append(
                self._fit(values, displayed_grid(display, estimate.BLOCK), display, self.residual_grid)
            )
            part.residual_source.append(SOURCES.index(source))

    def _fit(self, values: NDArray[Any], own: BlockGrid, display: Display, grid: BlockGrid) -> NDArray[Any]:
        return fitted_map(values, own, display.rotated_size, grid, (self.facts.width, self.facts.height))

    def _found(
        self,
        order: NDArray[np.int64],
        types: NDArray[np.uint8],
        corrupt: NDArray[np.bool_],
        tally: Tally | BitstreamTally,
        note: str,
    ) -> Found:
        frames, gops = frame_tables(self.packets, order, self.facts, types, corrupt)
        capability = dict(self.probe.capability)
        if not self.packets.timed:
            note = (
                "; the stream has no usable time stamps: rows in display order as decoded, times from the frame rate"
                + note
            )
        capability["packets"] = {"level": "exact", "why": PACKET_SIZES + note}
        if (types != 0).all():
            capability["picture_types"] = {"level": "exact", "why": "the headers or the decoder of the pictures"}
        capability.update(tally.capability(self.facts.codec, int(corrupt.sum())))
        return Found(
            self.path,
            self.facts,
            frames,
            gops,
            capability,
            self.settings,
            self.residual_grid,
            self.qp_grid,
            has_motion=capability["motion"]["level"] != "none",
            has_qp=capability["qp"]["level"] != "none",
        )


def _within(segment: Segment, keep: NDArray[np.bool_]) -> list[int]:
    """The wanted rows of a segment, ascending."""
    return (segment.rows.start + np.flatnonzero(keep[segment.rows.start : segment.rows.stop])).tolist()


def _identity(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return picture


def _in_order(tasks: Sequence[Callable[[], Iterator[Part]]], jobs: int) -> Iterator[Part]:
    """The parts of all tasks in order, `jobs` tasks at a time; at most one more is finished and waiting."""
    if jobs == 1:
        for task in tasks:
            yield from task()
        return
    with ThreadPoolExecutor(jobs) as pool:
        running: deque[Future[list[Part]]] = deque()
        waiting = deque(tasks)
        try:
            while waiting or running:
                while waiting and len(running) <= jobs:
                    running.append(pool.submit(_all_of, waiting.popleft()))
                yield from running.popleft().result()
        finally:
            for one in running:
                one.cancel()


def _all_of(task: Callable[[], Iterator[Part]]) -> list[Part]:
    return list(task())
