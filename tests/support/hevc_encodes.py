"""HEVC clips by the encoder of PyAV's wheel (x265), made when a test needs them; settings by name."""

from __future__ import annotations

from functools import cache

import numpy as np

from tests.support.clips import real_clip as clip  # noqa: F401 (its users import it with the encodes)
from tests.support.encodes import coarse_and_fine, cross, depth_of, encoded

# name -> keyword arguments of `encode`. x265 ignores or corrects some settings silently: the tests ask the parameter
# sets and headers whether a tool is really there.
SETTINGS: dict[str, dict] = {
    "ultrafast": dict(preset="ultrafast"),
    "superfast": dict(preset="superfast"),
    "veryfast": dict(preset="veryfast"),
    "fast": dict(preset="fast"),
    "medium": dict(),
    "slow": dict(preset="slow"),
    "slower": dict(preset="slower"),
    "all intra": dict(params="keyint=1"),
    "no B": dict(params="bframes=0:ref=1"),
    "8 references": dict(params="bframes=0:ref=8"),
    "B, no pyramid": dict(params="bframes=4:b-pyramid=0:b-adapt=0"),
    "B pyramid": dict(params="bframes=8:b-pyramid=1:b-adapt=0:ref=5"),
    "open GoP": dict(params="bframes=3:b-adapt=0:keyint=6:min-keyint=6:open-gop=1"),
    "closed GoP": dict(params="bframes=3:b-adapt=0:keyint=6:min-keyint=6:open-gop=0"),
    "temporal layers": dict(params="bframes=3:b-adapt=0:temporal-layers=3"),
    "intra refresh": dict(params="intra-refresh=1:keyint=8:bframes=0"),
    "no temporal MVP": dict(params="temporal-mvp=0:bframes=3:b-adapt=0"),
    "one merge candidate": dict(params="max-merge=1:bframes=2"),
    "weighted": dict(params="weightp=1:weightb=1:bframes=3:b-adapt=0", fade=True),
    "no WPP": dict(params="wpp=0"),
    "slices": dict(params="slices=3:bframes=2", size=(192, 208)),  # x265 refuses slices without WPP
    "slices, CTB 16": dict(params="slices=4:ctu=16:max-tu-size=16", size=(192, 208)),
    "CTB 16": dict(params="ctu=16:max-tu-size=16"),
    "CTB 32": dict(params="ctu=32"),
    "min CU 16": dict(params="min-cu-size=16"),
    "min CU 32": dict(params="min-cu-size=32"),
    "AMP, rect": dict(params="rect=1:amp=1:bframes=2", preset="slower"),
    "deep transform trees": dict(params="tu-inter-depth=4:tu-intra-depth=4:qp=18"),
    "small transforms": dict(params="max-tu-size=4:tu-inter-depth=4:tu-intra-depth=4"),
    "lossless": dict(params="lossless=1:bframes=2"),
    "CU lossless": dict(params="cu-lossless=1:qp=4:bframes=1", noise=True),
    "transform skip": dict(params="tskip=1:qp=22", noise=True),
    "no sign hiding": dict(params="signhide=0:qp=20"),
    "scaling lists": dict(params="scaling-list=default:qp=24:bframes=2"),
    "qp 4": dict(params="qp=4"),
    "qp 51": dict(params="qp=51"),
    "AQ, quantization groups of 8": dict(params="aq-mode=3:aq-strength=2:qg-size=8:crf=24"),
    "AQ, quantization groups of 16": dict(params="aq-mode=2:aq-strength=2:qg-size=16:crf=20"),
    "chroma offsets": dict(params="cbqpoffs=-7:crqpoffs=9"),
    "constrained intra": dict(params="constrained-intra=1:bframes=0"),
    "strong intra": dict(params="strong-intra-smoothing=1:qp=32", smooth=True),
    "no SAO": dict(params="sao=0:deblock=0"),
    "10 bit": dict(pixel_format="yuv420p10le", params="bframes=3:b-adapt=0"),
    "10 bit, weighted": dict(pixel_format="yuv420p10le", params="weightb=1:bframes=2", fade=True),
    "10 bit, qp 3": dict(pixel_format="yuv420p10le", params="qp=3:bframes=1", frames=6),
    "monochrome": dict(pixel_format="gray", params="bframes=2"),
    "odd size": dict(size=(178, 138), params="bframes=2"),
    "odd size, CTB 16": dict(size=(86, 118), params="ctu=16:max-tu-size=16:bframes=2"),
    "one CTB wide": dict(size=(64, 192), params="bframes=2"),
    "one CTB high": dict(size=(200, 64), params="bframes=2"),
    "start codes": dict(container="hevc", params="repeat-headers=1:keyint=5"),
}


def pictures(
    count: int, width: int, height: int, *, depth: int = 8, seed: int = 0, noise: bool = False, fade: bool = False,
    smooth: bool = False,
) -> np.ndarray:  # fmt: skip
    """A textured pan with things that cross it, uint16 (count, height, width).

    `noise`: the left half is white noise. `fade`: it darkens (weighted prediction). `smooth`: slopes and no texture.
    """
    random = np.random.default_rng(seed)
    texture = coarse_and_fine(random, height // 8 + 16, width // 8 + 40)
    if smooth:
        rows, columns = np.indices(texture.shape)
        texture = 60 * np.sin(rows / 70) + 50 * np.cos(columns / 90)
    peak = (1 << depth) - 1
    result = np.empty((count, height, width), np.uint16)
    for t in range(count):
        part, x = (t * 5 % 4) / 4, 2 * t + t * 5 // 4  # by quarter samples
        pair = texture[t : t + height, x : x + width + 1] + 128
        picture = pair[:, :-1] * (1 - part) + pair[:, 1:] * part
        cross(picture, texture, t)
        if not smooth:
            picture += random.normal(size=picture.shape) * (1.5 if t % 5 else 0.2)
        if noise:
            picture[:, : width // 2] = random.integers(0, 256, (height, width // 2))
        if fade:
            picture *= 1 - 0.8 * t / count
        result[t] = np.clip(picture * (peak / 255), 0, peak)
    return result


@cache
def encode(
    preset: str = "medium",
    *,
    params: str = "",
    size: tuple[int, int] = (192, 144),
    frames: int = 16,
    pixel_format: str = "yuv420p",
    container: str = "mp4",
    seed: int = 0,
    noise: bool = False,
    fade: bool = False,
    smooth: bool = False,
) -> bytes:
    """A clip; `params` as x265-params has them. One thread, but with a pool: without one x265 has no WPP."""
    width, height = size
    luma = pictures(
        frames, width, height, depth=depth_of(pixel_format), seed=seed, noise=noise, fade=fade, smooth=smooth
    )
    settings = "log-level=none:pools=1:frame-threads=1:info=0" + (f":{params}" if params else "")
    options = {"preset": preset, "x265-params": settings}
    return encoded("libx265", luma, pixel_format, container, options)
