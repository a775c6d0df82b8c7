"""Frames into H.264 and back: the built-in model sees what a codec leaves of its scenes.

options = draw_encoder(np.random.default_rng(0))
write_clip("clip.mp4", frames, options)             # uint8 (frames, height, width, 3)
decoded = round_trip(frames, options)               # the same pixels, without a file
"""

from dataclasses import dataclass
from fractions import Fraction
from os import PathLike

import av
import numpy as np

PRESETS: tuple[str, ...] = ("ultrafast", "superfast", "veryfast", "faster", "medium")


@dataclass(frozen=True)
class Encoder:
    """x264 settings.

    Attributes:
        preset: x264's speed preset.
        crf: quality; 18 is nearly transparent, above 32 small shapes lose their edges.
        gop: frames from key frame to key frame, at most.
        b_frames: B-frames in a row, at most.
        frame_rate: frames per second.
        scene_cuts: may x264 put a key frame at a scene change?
    """

    preset: str = "veryfast"
    crf: int = 23
    gop: int = 48
    b_frames: int = 2
    frame_rate: int = 24
    scene_cuts: bool = True

    def x264(self) -> dict[str, str]:
        """The settings as options of libx264, on one thread.

        Without B-frames the same frames give the same bytes; with them, x264 was seen to vary slightly between runs.
        """
        return {
            "preset": self.preset,
            "crf": str(self.crf),
            "g": str(self.gop),
            "bf": str(self.b_frames),
            "sc_threshold": "40" if self.scene_cuts else "0",
            "threads": "1",
        }


def draw_encoder(rng: np.random.Generator, *, presets: tuple[str, ...] = PRESETS) -> Encoder:
    """Random settings from good to rather poor quality; pass fast `presets` where time matters."""
    return Encoder(
        preset=str(rng.choice(presets)),
        crf=int(rng.integers(18, 33)),
        gop=int(rng.choice((6, 12, 24, 48, 250))),
        b_frames=int(rng.integers(0, 4)),
        frame_rate=int(rng.choice((12, 24, 25, 30))),
        scene_cuts=bool(rng.random() < 0.5),
    )


def write_clip(path: str | PathLike[str], frames: np.ndarray, encoder: Encoder) -> None:
    """Encode uint8 RGB frames (frames, height, width, 3), sides even, into an mp4 file."""
    with av.open(path, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=encoder.frame_rate, options=encoder.x264())
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, encoder.frame_rate)  # x264's choices depend on them
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def round_trip(frames: np.ndarray, encoder: Encoder) -> np.ndarray:
    """Encode and decode in memory: uint8, shaped like `frames`."""
    writer = av.CodecContext.create("libx264", "w")
    writer.height, writer.width = frames.shape[1:3]
    writer.pix_fmt = "yuv420p"
    writer.time_base = Fraction(1, encoder.frame_rate)
    writer.framerate = Fraction(encoder.frame_rate)
    writer.options = encoder.x264()
    reader = av.CodecContext.create("h264", "r")
    reader.thread_count = 1
    decoded: list[np.ndarray] = []
    for number, pixels in enumerate([*frames, None]):
        frame = None
        if pixels is not None:
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = number
        for packet in writer.encode(frame):
            decoded += [picture.to_ndarray(format="rgb24") for picture in reader.decode(packet)]
    decoded += [picture.to_ndarray(format="rgb24") for picture in reader.decode(None)]
    return np.stack(decoded)
