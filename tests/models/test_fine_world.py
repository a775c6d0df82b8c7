"""The harder world of the fine model: what its questions say is what pixels show."""

from collections import Counter

import numpy as np
import pytest

from benchmarks import fine_clips
from codecmeta.models.small.world.fine import (
    KINDS,
    NUMBERS,
    SHORTEST_MOTION,
    TYPES,
    all_questions,
    draw_questions,
    make_scene,
)
from codecmeta.models.small.world.scenes import MovingObject, Scene, frame_times, render

SIDE, FRAMES = 128, 32
TIMES = frame_times(FRAMES)


def pixels_of(item: MovingObject, frame: np.ndarray) -> np.ndarray:
    """Pixels (count, 2) as x, y of the object's colour, whoever drew them."""
    near = np.abs(frame.astype(int) - item.rgb).max(axis=-1) <= 34
    return np.argwhere(near)[:, ::-1]


def alone_in_colour(scene: Scene, item: MovingObject) -> bool:
    return sum(other.colour == item.colour for other in scene.objects) == 1


def watched(kind: str, seeds: range):
    """(scene, object, frames that show it, its centres there in fractions) of objects that alone have their colour."""
    for seed in seeds:
        scene = make_scene(seed, split="eval", kind=kind)
        frames = render(scene, TIMES, width=SIDE, height=SIDE)
        for number, item in enumerate(scene.objects):
            if alone_in_colour(scene, item):
                found = [pixels_of(item, frame) for frame in frames]
                shown = np.array([len(pixels) > 38 for pixels in found])
                centres = np.array([pixels.mean(axis=0) for pixels in np.array(found, object)[shown]]) / SIDE
                yield scene, number, shown, centres


def asked_about(scene: Scene, number: int, kind: str) -> list[str]:
    every = [one for seed in range(4) for one in all_questions(scene, np.random.default_rng(seed))]
    return [one.answer for one in every if one.type == kind and [at for _, at in one.names] == [number]]


@pytest.mark.parametrize("kind", KINDS)
def test_where_when_and_which_way_are_what_the_pixels_do(kind):
    answers = Counter()
    for scene, number, shown, centres in watched(kind, range(25)):
        first = int(shown.argmax())
        for answer in asked_about(scene, number, "where"):
            x, y = centres[0] - 0.5
            side = ("right" if x > 0 else "left") if abs(x) > abs(y) else ("bottom" if y > 0 else "top")
            assert side == answer
        for answer in asked_about(scene, number, "when"):
            low, high = {"start": (0, 0), "early": (3, 11), "middle": (13, 19), "late": (20, 31)}[answer]
            assert low <= first <= high, (answer, first)
            answers[answer] += 1
        for answer in asked_about(scene, number, "direction"):
            x, y = centres[-1] - centres[0]
            if max(abs(x), abs(y)) < 0.05:
                assert answer == "still"
            else:
                assert answer == (("right" if x > 0 else "left") if abs(x) > abs(y) else ("down" if y > 0 else "up"))
    assert answers["start"] > 10
    assert kind not in ("late", "short") or min(answers[moment] for moment in ("early", "middle", "late")) > 3


def test_objects_are_small_and_short_ones_are_there_for_two_samples_at_least():
    lengths = []
    for scene, number, shown, _ in watched("short", range(40)):
        item = scene.objects[number]
        assert 0.008 < item.size**2 * 0.785 < 0.05  # of the frame's area, were it a circle
        if item.disappears < 1:
            lengths.append(int(shown.sum()))
            assert bool(asked_about(scene, number, "direction")) == (item.disappears - item.appears >= SHORTEST_MOTION)
    assert len(lengths) > 20 and min(lengths) >= 1 and max(lengths) <= 7
    assert np.mean(np.array(lengths) >= 2) > 0.9


def test_names_fit_one_object_alone_and_no_pair_is_there_twice():
    shared = 0
    for seed in range(200):
        scene = make_scene(seed)
        pairs = [(item.colour, item.shape) for item in scene.objects]
        assert len(set(pairs)) == len(pairs) and 2 <= len(pairs) <= 5
        shared += len({colour for colour, _ in pairs}) < len(pairs)
        for question in all_questions(scene, np.random.default_rng(seed)):
            for _, number in question.names:
                item = scene.objects[number]
                said = [word for word in (item.colour, item.shape) if word in question.text]
                fits = [other for other in scene.objects if all(word in (other.colour, other.shape) for word in said)]
                assert question.type == "after_cut" or fits == [item], question
    assert shared > 40  # objects that look alike are common


def test_counting_is_over_the_whole_clip_and_every_type_is_drawn():
    counts, types = Counter(), Counter()
    for seed in range(300):
        scene = make_scene(seed)
        drawn = draw_questions(scene, np.random.default_rng(seed), 8)
        assert len(drawn) == 8
        types.update(one.type for one in drawn)
        for one in drawn:
            if one.type == "count":
                assert NUMBERS.index(one.answer) + 1 == len(scene.objects)
                counts[one.answer] += 1
    assert set(types) == set(TYPES)
    assert all(counts[number] for number in NUMBERS[1:])


def test_no_training_seed_gives_an_evaluation_clip():
    def starts(split):
        return {item.start for seed in range(500) for item in make_scene(seed, split=split).objects}

    assert not starts("train") & starts("eval")


def test_clips_of_the_benchmark_are_balanced_and_ask_about_events_of_one_to_ten_seconds():
    clips = [fine_clips.make_clip(1, number) for number in range(100)]
    for stratum, values in (("codec", 3), ("camera", 4), ("kind", 5)):
        counted = Counter(clip.strata[stratum] for clip in clips)
        assert len(counted) == values and (stratum == "codec" or len(set(counted.values())) == 1)
    pairs = Counter((clip.strata["kind"], clip.strata["codec"]) for clip in clips)
    assert len(pairs) == 15  # every kind in every codec
    rows = [row for clip in clips for row in fine_clips.rows_of(clip)]
    short = [row for row in rows if row["strata"]["event"] == fine_clips.SHORT]
    assert len(short) > 100
    for clip in clips:
        spans = [(item.disappears - item.appears) * clip.frames / clip.rate for item in clip.scene.objects]
        assert clip.strata["kind"] != "short" or 0.9 <= min(spans) <= 10
        texts = [row["question"] for row in fine_clips.rows_of(clip)]
        assert len(set(texts)) == len(texts) <= fine_clips.PER_CLIP
    assert fine_clips.make_clip(1, 7) == clips[7] != fine_clips.make_clip(2, 7)
