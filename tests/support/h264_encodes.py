"""H.264 clips made when a test needs them, and what FFmpeg says about them: the oracle of the test_h264_* files."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from io import BytesIO

import av
import numpy as np

from tests.support.clips import real_clip as clip  # noqa: F401 (its users import it with the encodes)
from tests.support.encodes import coarse_and_fine, cross, depth_of, encoded


def pictures(
    count: int, width: int, height: int, *, depth: int = 8, seed: int = 0, noise: bool = False, slow: bool = False
) -> np.ndarray:
    """A textured background under a pan, two things that cross it, and noise; uint16 (count, height, width).

    `noise`: the left half is white noise over all values, which no transform codes in fewer bits than I_PCM. `slow`:
    nothing but the background, by a seventh of a pixel per picture: vectors of a quarter pixel.
    """
    random = np.random.default_rng(seed)
    texture = coarse_and_fine(random, height // 8 + 16, width // 8 + 32)
    peak = (1 << depth) - 1
    result = np.empty((count, height, width), np.uint16)
    for t in range(count):
        picture = texture[(t // 2) % 64 : (t // 2) % 64 + height, 2 * t % 128 : 2 * t % 128 + width].copy() + 128
        cross(picture, texture, t)
        picture += random.normal(size=picture.shape) * (1.5 if t % 5 else 0.2)
        if slow:
            at, part = divmod(t / 7, 1)
            pair = texture[:height, int(at) : int(at) + width + 1] + 128
            picture = pair[:, :-1] * (1 - part) + pair[:, 1:] * part
        result[t] = np.clip(picture * (peak / 255), 0, peak)
        if noise:
            result[t, :, : width // 2] = random.integers(0, peak + 1, (height, width // 2))
    return result


def weave(luma: np.ndarray, seed: int, slow: bool) -> np.ndarray:
    """Every other picture, half of it, in squares that change, with lines of the next one: fields of two times.

    slow: those lines are darker instead, so that the fields are two pictures, but nothing moves.
    """
    random = np.random.default_rng(seed)
    frames, (height, width) = len(luma) // 2, luma.shape[1:]
    squares = random.random((frames // 3 + 1, height // 40 + 1, width // 24 + 1)) < 0.5
    of_two = squares.repeat(3, 0).repeat(40, 1).repeat(24, 2)[:frames, :height, :width]
    of_two[:, ::2] = False
    return np.where(of_two, luma[::2] // 2 if slow else luma[1::2], luma[::2])


@cache
def encode(
    options: str = "",
    *,
    codec: str = "libx264",
    size: tuple[int, int] = (176, 144),
    frames: int = 30,
    pixel_format: str = "yuv420p",
    container: str = "mp4",
    gop: int = 250,
    seed: int = 0,
    noise: bool = False,
    slow: bool = False,
    woven: bool = False,
) -> bytes:
    """A clip by PyAV's own encoder; `options` as "key=value key=value". `woven`: see `weave`."""
    width, height = size
    kind = dict(depth=depth_of(pixel_format), seed=seed, noise=noise, slow=slow)
    luma = pictures(frames * (1 + woven), width, height, **kind)
    if woven:
        luma = weave(luma, seed, bool(slow))
    settings = dict(option.split("=", 1) for option in options.split())
    settings.setdefault("mbtree", "0")  # x264's macroblock tree is not the same in every run on such small pictures
    return encoded(codec, luma, pixel_format, container, settings, gop)


@dataclass
class Exported:
    """What FFmpeg says of one picture, by the number of its packet."""

    picture_type: str
    vectors: np.ndarray  # int32 (rows, 7): source, w, h, dst_x, dst_y, motion_x, motion_y
    qp: np.ndarray | None  # int32 (macroblocks,)
    planes: list[np.ndarray]  # decoded samples, int32


def ffmpeg(source: bytes | str, *, planes: bool = False) -> tuple[bytes | None, list[bytes], dict[int, Exported]]:
    """Extradata, packets, and by packet number what one FFmpeg decoder thread exports; `planes`: not deblocked."""
    exported: dict[int, Exported] = {}
    with av.open(BytesIO(source) if isinstance(source, bytes) else source) as container:
        stream = container.streams.video[0]
        decoder = stream.codec_context
        decoder.thread_type, decoder.thread_count = "NONE", 1
        decoder.options = {"flags2": "+export_mvs", "export_side_data": "venc_params"}
        if planes:
            decoder.options |= {"skip_loop_filter": "all"}
        extradata = decoder.extradata
        packets: list[bytes] = []
        for packet in container.demux(stream):
            if packet.size:
                packet.pts = packet.dts = len(packets)  # a frame has the pts of its packet
                packets.append(bytes(packet))
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                continue
            for frame in frames:
                exported[frame.pts] = _exported(frame, planes)
    return extradata, packets, exported


def _exported(frame: av.VideoFrame, planes: bool) -> Exported:
    vectors = frame.side_data.get("MOTION_VECTORS")
    rows = np.zeros((0, 7), np.int32)
    if vectors is not None:
        array = vectors.to_ndarray()
        names = ("source", "w", "h", "dst_x", "dst_y", "motion_x", "motion_y")
        rows = np.stack([array[name].astype(np.int32) for name in names], 1)
    qp, parameters = None, frame.side_data.get("VIDEO_ENC_PARAMS")
    if parameters is not None:  # AVVideoEncParams: nb_blocks, blocks_offset, block_size, type, qp, then the blocks
        raw = bytes(parameters)
        blocks, offset, size = (int.from_bytes(raw[i : i + 8], "little") for i in (0, 8, 16))
        blocks &= 0xFFFFFFFF
        base = int.from_bytes(raw[28:32], "little", signed=True)
        table = np.frombuffer(raw, np.uint8, blocks * size, offset).reshape(blocks, size)
        qp = base + table[:, 16:20].copy().view("<i4").ravel()
    samples = []
    if planes:
        for plane in frame.planes:
            kind = np.uint16 if "10" in frame.format.name else np.uint8
            samples.append(np.frombuffer(plane, kind).reshape(plane.height, -1)[:, : plane.width].astype(np.int32))
    return Exported("?IPB"[int(frame.pict_type)], rows, qp, samples)
