"""What the clips of H.264 and HEVC that tests make share: a texture, things that cross it, the encoding."""

from __future__ import annotations

from io import BytesIO

import av
import numpy as np
import pytest


def coarse_and_fine(random: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """A blurred texture of `rows` x `columns` blocks of 8x8, about zero, float64."""
    coarse = random.normal(size=(rows, columns))
    texture = np.kron(coarse, np.ones((8, 8))) * 30 + random.normal(size=(rows * 8, columns * 8)) * 6
    return (texture + np.roll(texture, 1, 0) + np.roll(texture, 1, 1) + np.roll(texture, (1, 1), (0, 1))) / 4


def cross(picture: np.ndarray, texture: np.ndarray, t: int) -> None:
    """Put two things into picture `t` that move over it."""
    height, width = picture.shape
    x, y = (7 * t + 10) % max(width - 24, 1), (3 * t) % max(height - 24, 1)
    picture[y : y + 24, x : x + 24] = texture[40:64, 40:64] * 2 + 90
    x = (width - 30 - 5 * t) % max(width - 16, 1)
    picture[height // 2 : height // 2 + 16, x : x + 16] = 230 - 4 * np.arange(16)


def depth_of(pixel_format: str) -> int:
    return 10 if "10" in pixel_format else 8


def encoded(
    codec: str, luma: np.ndarray, pixel_format: str, container: str, options: dict[str, str], gop: int | None = None
) -> bytes:
    """A file of the pictures `luma` (count, height, width), chroma made of them, in one thread."""
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no {codec}")
    _, height, width = luma.shape
    depth = depth_of(pixel_format)
    sink = BytesIO()
    with av.open(sink, "w", format=container) as output:
        stream = output.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        if gop is not None:
            stream.gop_size = gop
        stream.thread_count = 1
        for t, picture in enumerate(luma):
            frame = av.VideoFrame(width, height, pixel_format)
            planes = [picture]
            if not pixel_format.startswith("gray"):
                across, down = (1, 1) if "444" in pixel_format else (2, 1 if "422" in pixel_format else 2)
                small = picture[::down, ::across]
                planes += [np.roll(small, 3, 1), (1 << depth) - 1 - small]
            for plane, values in zip(frame.planes, planes, strict=True):
                view = np.frombuffer(plane, np.uint8 if depth == 8 else np.uint16).reshape(plane.height, -1)
                view[:, : plane.width] = values[: plane.height, : plane.width]
            frame.pts = t
            for packet in stream.encode(frame):
                output.mux(packet)
        for packet in stream.encode():
            output.mux(packet)
    return sink.getvalue()
