"""Long films made in a moment: a few seconds are encoded, and their packets written again and again."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from tests.support.clips import pan


def long_film(
    path: Path,
    *,
    seconds: int,
    rate: int = 10,
    gop: int = 10,
    part: int = 4,
    size: tuple[int, int] = (160, 120),
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    movflags: str = "",
    noise: float = 12,
) -> Path:
    """`part` seconds of noise (grey levels) over a moving texture, in GoPs of `gop` frames, repeated until `seconds`
    are full; a .mov has sound between the pictures. options: of the encoder. movflags: of the muxer."""
    data = _encoded(part, rate, gop, size, codec, options or {"preset": "ultrafast", "bf": "2", "qp": "20"}, noise)
    flags = {"movflags": movflags} if movflags else {}
    with av.open(io.BytesIO(data)) as source, av.open(str(path), "w", options=flags) as target:
        video = source.streams.video[0]
        packets = [
            (bytes(one), one.pts, one.dts, one.is_keyframe, one.duration) for one in source.demux(video) if one.size
        ]
        span = sum(one[4] for one in packets)
        copy = target.add_stream_from_template(video)
        sound = target.add_stream("pcm_s16le", rate=8000, layout="mono") if path.suffix == ".mov" else None
        for number in range(seconds // part):
            for at, (content, pts, dts, key, duration) in enumerate(packets):
                packet = av.Packet(content)
                packet.pts, packet.dts, packet.duration = pts + number * span, dts + number * span, duration
                packet.time_base, packet.is_keyframe, packet.stream = video.time_base, key, copy
                target.mux(packet)
                if sound is not None and at % rate == 0:
                    silence = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), format="s16", layout="mono")
                    silence.sample_rate = 8000
                    target.mux(sound.encode(silence))
    return path


def _encoded(
    seconds: int, rate: int, gop: int, size: tuple[int, int], codec: str, options: dict[str, str], noise: float
) -> bytes:
    rng = np.random.default_rng(0)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.gop_size = gop
        stream.codec_context.thread_count = 1
        for number, picture in enumerate(pan(seconds * rate, size, (2, 1))):
            noisy = np.clip(picture + rng.normal(0, noise, picture.shape), 0, 255) if noise else picture
            frame = av.VideoFrame.from_ndarray(noisy.astype(np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()
