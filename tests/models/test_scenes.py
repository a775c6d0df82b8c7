"""The synthetic world: what a scene says about itself is what its pixels show."""

from collections import Counter
from pathlib import Path

import av
import numpy as np
import pytest

from codecmeta.models.small.world.encoding import Encoder, round_trip, write_clip
from codecmeta.models.small.world.questions import TYPES, all_questions, draw_questions
from codecmeta.models.small.world.scenes import (
    COLOURS,
    HELD_OUT,
    NAMELESS,
    MovingObject,
    Scene,
    frame_times,
    make_scene,
    render,
)

SIDE = 128
KINDS = ("plain", "late", "cut")


def read_frames(path: Path) -> np.ndarray:
    """uint8 (frames, height, width, 3), by PyAV alone."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def pixels_of(item: MovingObject, frame: np.ndarray) -> np.ndarray:
    """Pixels (count, 2) as x, y that have the object's colour, whoever drew them."""
    near = np.abs(frame.astype(int) - item.rgb).max(axis=-1) <= 40
    return np.argwhere(near)[:, ::-1]


def seen_direction(item: MovingObject, frames: np.ndarray, times: np.ndarray) -> str:
    """The direction in which the centre of the object's colour moves, measured in pixels."""
    visible = np.flatnonzero([len(pixels_of(item, frame)) > 60 for frame in frames])
    first, last = (pixels_of(item, frames[index]).mean(axis=0) for index in visible[[0, -1]])
    x, y = last - first
    if max(abs(x), abs(y)) < 0.08 * SIDE:
        return "still"
    if abs(x) > abs(y):
        return "right" if x > 0 else "left"
    return "down" if y > 0 else "up"


@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_same_clip_other_seed_other_clip(kind):
    times = frame_times(8)
    first, again, other = (make_scene(seed, split="eval", kind=kind) for seed in (5, 5, 6))
    assert first == again != other
    pixels = [render(scene, times, width=SIDE, height=SIDE) for scene in (first, again, other)]
    assert np.array_equal(pixels[0], pixels[1])
    assert not np.array_equal(pixels[0], pixels[2])


def test_held_out_pairs_are_never_trained_on_and_can_be_asked_for():
    shown = Counter(
        (item.colour, item.shape) for seed in range(1000) for item in make_scene(seed, split="train").objects
    )
    assert len(shown) == 24 - 4  # every other pair of 6 colours and 4 shapes
    assert not HELD_OUT & set(shown)
    for seed in range(50):
        assert make_scene(seed, split="eval", held_out=True).held_out
    with pytest.raises(ValueError, match="held_out=True"):
        make_scene(0, split="train", held_out=True)


def test_nameless_colours_are_unlike_every_named_one():
    items = [item for seed in range(500) for item in make_scene(seed, nameless=0.5).objects]
    painted = [item.rgb for item in items if item.colour == NAMELESS]
    assert 0.4 < len(painted) / len(items) < 0.6
    for colour in COLOURS.values():
        distance = np.abs(np.array(painted) - colour).max(axis=1)
        assert distance.min() > 60  # so that no held-out pair comes back through them


def test_no_training_seed_gives_an_evaluation_clip():
    def starts(split):
        return {item.start for seed in range(3000) for item in make_scene(seed, split=split).objects}

    train, evaluation = starts("train"), starts("eval")
    assert len(train) > 1300 and len(evaluation) > 1300
    assert not train & evaluation


@pytest.mark.parametrize("kind", KINDS)
def test_directions_are_what_the_pixels_do(kind):
    times = frame_times(24)
    counted, panned = Counter(), 0
    for seed in range(40):
        scene = make_scene(seed, split="eval", kind=kind)
        frames = render(scene, times, width=SIDE, height=SIDE)
        for item in scene.objects:
            assert seen_direction(item, frames, times) == item.direction, (seed, item)
            counted[item.direction] += 1
        panned += any(abs(pan) > 0.2 for background in scene.backgrounds for pan in background.pan)
    assert min(counted[name] for name in ("left", "right", "up", "down", "still")) >= 3
    assert panned >= 8  # directions are those on the screen, with a moving camera too


@pytest.mark.parametrize("kind", ["late", "cut"])
def test_first_is_the_object_whose_pixels_come_first(kind):
    asked = 0
    for seed in range(30):
        scene = make_scene(seed, split="eval", kind=kind)
        frames = render(scene, frame_times(32), width=SIDE, height=SIDE)
        for question in all_questions(scene, np.random.default_rng(seed)):
            if question.type != "first":
                continue
            numbers = [number for _, number in question.names]
            begins = [first_frame(scene.objects[number], frames) for number in numbers]
            winner = scene.objects[numbers[int(np.argmin(begins))]]
            assert begins[0] != begins[1]
            assert question.answer in (winner.colour, winner.shape)
            asked += 1
    assert asked >= 30


def first_frame(item: MovingObject, frames: np.ndarray) -> int:
    return next(index for index, frame in enumerate(frames) if len(pixels_of(item, frame)) > 60)


def test_wording_of_pairs_says_nothing_about_the_answer():
    rng = np.random.default_rng(0)
    places = []
    for seed in range(600):
        for question in all_questions(make_scene(seed, split="eval", kind="late"), rng):
            if question.type == "first":
                places.append(question.text.index(question.answer) < question.text.index(" or the "))
    assert len(places) > 600
    assert abs(np.mean(places) - 0.5) < 3 * 0.5 / np.sqrt(len(places))


def test_every_question_type_is_drawn_and_unseen_wordings_are_not():
    rng = np.random.default_rng(0)
    scenes = [make_scene(seed) for seed in range(300)]
    drawn = [question for scene in scenes for question in draw_questions(scene, rng, 8)]
    unseen = [question for scene in scenes for question in all_questions(scene, rng, unseen_wording=True)]
    assert {question.type for question in drawn} == {question.type for question in unseen} == set(TYPES)
    assert not {question.text for question in drawn} & {question.text for question in unseen}


@pytest.mark.parametrize("gop", [6, 250])
def test_the_cut_is_the_largest_change_of_the_encoded_clip(tmp_path, gop):
    encoder = Encoder(gop=gop, scene_cuts=False)
    for seed in range(8):
        scene = make_scene(seed, split="eval", kind="cut")
        times = frame_times(32)
        write_clip(tmp_path / "clip.mp4", render(scene, times, width=SIDE, height=SIDE), encoder)
        frames = read_frames(tmp_path / "clip.mp4").astype(int)
        change = np.abs(np.diff(frames, axis=0)).mean(axis=(1, 2, 3))
        assert len(frames) == 32
        assert change.argmax() + 1 == cut_frame(scene, times)


def cut_frame(scene: Scene, times: np.ndarray) -> int:
    """The first frame at or after the cut."""
    assert scene.cut is not None
    return sum(time < scene.cut for time in times.tolist())


@pytest.mark.parametrize("b_frames", [0, 3])
def test_round_trip_in_memory_equals_the_file(tmp_path, b_frames):
    encoder = Encoder(crf=28, gop=12, b_frames=b_frames)
    frames = render(make_scene(3, split="eval"), frame_times(30), width=96, height=64)
    write_clip(tmp_path / "clip.mp4", frames, encoder)
    decoded = round_trip(frames, encoder).astype(int)
    from_file = read_frames(tmp_path / "clip.mp4").astype(int)
    if b_frames == 0:
        assert np.array_equal(decoded, from_file)
    assert np.abs(decoded - from_file).mean() < 1  # with B-frames, x264 itself varies a little between runs
    error = np.abs(decoded - frames).mean()
    assert 0 < error < 12  # lossy, and still the same pictures in the same order
