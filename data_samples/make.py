"""Writes the sample clips of this folder and truth.json, which says what is true about each.

    python data_samples/make.py

Everything is drawn from seeds and encoded with the x264 of the PyAV wheel, one thread: the same version gives the same
bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from codecmeta.models.small.world.questions import all_questions
from codecmeta.models.small.world.scenes import Scene, frame_times, make_scene, render

HERE = Path(__file__).resolve().parent
RATE = 24


def write(name: str, pictures: Iterable[NDArray[np.uint8]], **options: str) -> None:
    """Encode RGB pictures as H.264 in an mp4 file."""
    with av.open(str(HERE / name), "w") as container:
        stream: Any = None
        for picture in pictures:
            if stream is None:
                stream = container.add_stream("libx264", rate=RATE, options={"threads": "1", **options})
                stream.height, stream.width = picture.shape[:2]
                stream.pix_fmt = "yuv420p"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def texture(width: int, height: int, seed: int) -> NDArray[np.uint8]:
    """Smooth random detail at several scales, uint8 (height, width, 3)."""
    rng = np.random.default_rng(seed)
    total = np.full((height, width, 3), rng.uniform(90, 160, 3), np.float32)
    for scale in (6, 15, 50):
        small = rng.normal(0, 1, (height // scale + 2, width // scale + 2, 3)).astype(np.float32)
        total += cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC) * 22
    return np.clip(total, 0, 255).astype(np.uint8)


def pan() -> dict[str, Any]:
    """The camera moves left by three pixels per frame, so everything in the picture moves right."""
    width, height, frames, step = 320, 180, 72, 3
    canvas = texture(width + step * frames, height, 1)
    starts = [step * (frames - index) for index in range(frames)]
    write("pan.mp4", (canvas[:, x : x + width] for x in starts), crf="23", bf="3", g="48")
    return {"frames": frames, "motion_pixels_per_frame": [step, 0]}


def cuts() -> dict[str, Any]:
    """Five still scenes with a slow zoom; the encoder places keyframes by its clock only."""
    at, frames, width, height = [17, 41, 58, 80], 100, 320, 180
    starts = [0, *at]
    pictures = []
    for index in range(frames):
        scene = sum(index >= one for one in at)
        canvas = texture(width, height, 10 + scene)
        zoom = cv2.getRotationMatrix2D((width / 2, height / 2), 0, 1 + 0.004 * (index - starts[scene]))
        pictures.append(cv2.warpAffine(canvas, zoom, (width, height), borderMode=cv2.BORDER_REFLECT))
    write("cuts.mp4", pictures, crf="23", bf="2", g="25", sc_threshold="0")
    return {"frames": frames, "cuts": at}


def story(
    name: str, seed: int, kind: str, questions: dict[str, str], *, wording: int = 0, frames: int = 96, **options: str
) -> dict[str, Any]:
    """A scene of moving shapes, one question of each of the given types. questions: type -> which answer to ask for.
    wording: seed of how it is asked."""
    scene = make_scene(seed, split="eval", kind=kind)  # type: ignore[arg-type]
    write(name, _pictures(scene, frames), crf="23", **options)
    asked = [
        {"question": one.text, "answer": one.answer, "type": one.type}
        for one in all_questions(scene, np.random.default_rng(wording))
        if questions.get(one.type) == one.answer
    ]
    objects = [
        {
            "colour": one.colour,
            "shape": one.shape,
            "direction": one.direction,
            "appears": one.appears,
            "disappears": one.disappears,
        }
        for one in scene.objects
    ]
    return {"frames": frames, "cut": scene.cut, "objects": objects, "questions": asked}


def _pictures(scene: Scene, frames: int) -> Iterable[NDArray[np.uint8]]:
    """The pictures of a scene, rendered a second at a time: a clip of minutes does not fit into memory at once."""
    side = 192 if frames < 1000 else 128
    width, height = round(side * scene.aspect**0.5 / 16) * 16, round(side / scene.aspect**0.5 / 16) * 16
    times = frame_times(frames)
    for start in range(0, frames, RATE):
        yield from render(scene, times[start : start + RATE], width=width, height=height)


def main() -> None:
    """Write every sample."""
    truth = {"pan.mp4": pan(), "cuts.mp4": cuts()}
    for name, arguments in STORIES.items():
        truth[name] = story(name, **arguments)
    (HERE / "truth.json").write_text(json.dumps(truth, indent=1) + "\n")


STORIES: dict[str, dict[str, Any]] = {
    "shapes.mp4": {
        "seed": 1055,
        "kind": "plain",
        "questions": {"colour": "blue", "count": "three"},
        "bf": "2",
        "g": "24",
    },
    "arrivals.mp4": {
        "seed": 1042,
        "kind": "late",
        "questions": {"first": "blue", "direction": "down"},
        "bf": "2",
        "g": "48",
    },
    "after_cut.mp4": {
        "seed": 1009,
        "kind": "cut",
        "questions": {"after_cut": "purple", "shape": "cross"},
        "bf": "3",
        "g": "250",
    },
    "long.mp4": {
        "seed": 1030,
        "kind": "late",
        "questions": {"first": "cross", "count": "three"},
        "frames": 5760,
        "bf": "3",
        "g": "250",
    },
}
"""Scenes of the evaluation split, none of which training can draw."""

if __name__ == "__main__":
    main()
