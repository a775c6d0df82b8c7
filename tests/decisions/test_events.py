import statistics

import numpy as np
import pytest

from codecmeta.container.probe import probe
from codecmeta.decisions import neighbours
from codecmeta.decisions import signals as signals_of
from codecmeta.decisions.events import change_scores, event_boundaries
from codecmeta.extraction.read import extract
from codecmeta.record.metadata import B, I, P, Probe
from tests.support.synthetic import Story, make_metadata, write_clip

PAST, FUTURE = -1, 1


def boundaries_one_by_one(change, wanted):
    """Take the largest change still uncut, the earliest of equals, until there are enough events."""
    left = list(enumerate(change))
    starts = {0}
    while left and len(starts) < wanted:
        best = max(left, key=lambda item: (item[1], -item[0]))
        left.remove(best)
        starts.add(best[0] + 1)
    starts = sorted(starts)
    return list(zip(starts, [*starts[1:], len(change) + 1], strict=True))


@pytest.mark.parametrize("seed", range(30))
def test_events_are_cut_at_the_largest_changes(seed):
    rng = np.random.default_rng(seed)
    change = rng.integers(0, 6, int(rng.integers(2, 40))) / 5
    change[0], change[-1] = 0, 1  # not all equal
    for wanted in (1, 2, 5, 100):
        found = event_boundaries(change, wanted)
        assert found == boundaries_one_by_one(change.tolist(), wanted)
        assert found[0][0] == 0 and found[-1][1] == len(change) + 1 and len(found) == min(wanted, len(change) + 1)
        assert all(a[1] == b[0] and a[0] < a[1] for a, b in zip(found, found[1:], strict=False))


def test_equal_changes_give_near_equal_events():
    assert event_boundaries(np.full(9, 0.3), 3) == [(0, 3), (3, 6), (6, 10)]
    lengths = [stop - start for start, stop in event_boundaries(np.zeros(31), 5)]
    assert sum(lengths) == 32 and max(lengths) - min(lengths) <= 1


def test_one_frame_is_one_event():
    assert event_boundaries([], 5) == [(0, 1)]


def test_impossible_events_are_refused():
    with pytest.raises(ValueError, match="at least 1"):
        event_boundaries([0.1], 0)
    with pytest.raises(ValueError, match="finite"):
        event_boundaries([0.1, np.nan], 2)


def neighbours_in_plain_python(values, kind, of, reach, row, way):
    found = []
    at = row
    while 0 <= at < len(kind) and len(found) < reach and abs(at - row) < 5 * reach:
        if kind[at] == of and values[at] == values[at]:
            found.append(values[at])
        at += way
    return found


@pytest.mark.parametrize("skip", [0, 1])
@pytest.mark.parametrize("reach", [1, 4, 5])
def test_medians_of_neighbours_equal_the_plain_ones(reach, skip):
    rng = np.random.default_rng(reach)
    kind = rng.choice(np.array([I, P, B], np.uint8), 60, p=[0.1, 0.4, 0.5])
    values = rng.normal(size=(60, 3))
    values[rng.random((60, 3)) < 0.2] = np.nan
    after, before, pairs = neighbours.sides(values, kind, B, reach, skip)
    for r in range(60):
        for s in range(3):
            column = values[:, s].tolist()
            new = neighbours_in_plain_python(column, kind, B, reach, r + skip, 1)
            old = neighbours_in_plain_python(column, kind, B, reach, r - 1, -1)
            assert pairs[r, s] == min(len(new), len(old))
            for got, expected in ((after[r, s], new), (before[r, s], old)):
                assert got == pytest.approx(statistics.median(expected)) if expected else np.isnan(got)


def test_steps_compare_like_with_like():
    # sizes alternate between the kinds; the P pictures rise by 2 from row 12 on, the B pictures by 1
    kind = np.array([P, B] * 12, np.uint8)
    values = np.where(kind == P, 10.0, 1.0) + np.where(np.arange(24) >= 12, np.where(kind == P, 2.0, 1.0), 0)
    step = neighbours.steps(values[:, None], kind, 4)[:, 0]
    assert step[12] == 1.5 == np.nanmax(step)
    assert (step[4:6] == 0).all() and np.isnan(step[:2]).all()


def vectors_painted_by_pixel(vectors, behind, ahead, height, width):
    """Which 8x8 blocks are predicted from where: painted pixel by pixel, read at the middle of each block."""
    painted = {PAST: {}, FUTURE: {}}
    for source, w, h, x, y, motion_x, motion_y, scale in vectors:
        distance = behind if source == PAST else -ahead
        for py in range(y - h // 2, y - h // 2 + h):
            for px in range(x - w // 2, x - w // 2 + w):
                painted[source][(py, px)] = (motion_x / scale / distance, motion_y / scale / distance)
    blocks = [(8 * r + 4, 8 * c + 4) for r in range(height // 8) for c in range(width // 8)]
    past = [painted[PAST].get(middle) for middle in blocks]
    future = [painted[FUTURE].get(middle) for middle in blocks]
    motion = []
    for pair in zip(past, future, strict=True):
        known = [one for one in pair if one is not None]
        motion.append(tuple(sum(part) / len(known) for part in zip(*known, strict=True)) if known else None)
    return past, future, motion


@pytest.mark.parametrize("shift", [(0, 0), (-3, 2), (5, -6)])
def test_vectors_are_summed_up_as_painted_pixel_by_pixel(shift):
    """shift: a cropped picture, whose blocks begin at other places than multiples of 8."""
    rng = np.random.default_rng(0)
    height, width = 96, 128  # 12 x 16 blocks, 6 x 8 cells of 2 x 2 blocks
    frames = []
    for _ in range(3):
        vectors = []
        for y in range(0, height, 16):
            for x in range(0, width, 16):
                for source in (PAST, FUTURE):
                    if rng.random() < 0.4:
                        w, h = ((16, 16), (16, 8), (8, 16), (8, 8))[rng.integers(4)]
                        motion = rng.integers(-40, 40, 2).tolist()
                        vectors.append((source, w, h, x + w // 2 + shift[0], y + h // 2 + shift[1], *motion, 4))
        frames.append(vectors)
    meta = make_metadata([9] * 8, types="IBBPBBPP", size=(width, height), covered=[1, 2, 3], vectors=frames)
    signals = signals_of.read_signals(meta, meta.residual, meta.motion)
    for row, vectors, behind, ahead in zip((1, 2, 3), frames, (1, 2, 3), (2, 1, 3), strict=True):
        past, future, motion = vectors_painted_by_pixel(vectors, behind, ahead, height, width)
        assert signals.past[row] == pytest.approx(np.mean([one is not None for one in past]))
        assert signals.future[row] == pytest.approx(np.mean([one is not None for one in future]))
        known = np.array([one for one in motion if one is not None])
        middle = np.median(known, axis=0)
        for cell in range(48):
            inside = [16 * (2 * (cell // 8) + r) + 2 * (cell % 8) + c for r in (0, 1) for c in (0, 1)]
            here = [motion[block] for block in inside if motion[block] is not None]
            assert signals.intra[row, cell] == pytest.approx(1 - len(here) / 4)
            apart = np.array([max(abs(x - middle[0]), abs(y - middle[1])) for x, y in here])
            # half a pixel moves against the camera; exactly half is left to rounding
            low, high = (apart > 0.5 + 1e-5).sum() / 4, (apart > 0.5 - 1e-5).sum() / 4
            assert low <= signals.moving[row, cell] <= high
            if here:
                np.testing.assert_allclose(signals.motion[row, cell], np.mean(here, axis=0), rtol=1e-5, atol=1e-6)
            else:
                assert np.isnan(signals.motion[row, cell]).all()
    assert np.isnan(signals.past[[0, 4, 5, 6, 7]]).all()


def tiles(source, width=64, height=48, scale=4):
    """One zero vector per 16x16 block of the picture."""
    return [(source, 16, 16, x + 8, y + 8, 0, 0, scale) for y in range(0, height, 16) for x in range(0, width, 16)]


def quiet_clip(types, broken=(), seed=0, **options):
    """Every P predicted from before, every B from both sides, sizes by type with a little noise; `broken` are P rows
    that are all intra and large."""
    rng = np.random.default_rng(seed)
    sizes = np.array([{"I": 9000, "P": 900, "B": 250}[one] for one in types]) * rng.uniform(0.9, 1.1, len(types))
    vectors = []
    for row, one in enumerate(types):
        covered = {"I": [], "P": tiles(PAST), "B": tiles(PAST) + tiles(FUTURE)}[one]
        vectors.append([] if row in broken else covered)
        if row in broken:
            sizes[row] *= 8
    keyframes = [row for row, one in enumerate(types) if one == "I"]
    residual = rng.uniform(0.9, 1.1, (len(types), 6, 8))
    return make_metadata(sizes, types=types, keyframes=keyframes, residual=residual, vectors=vectors, **options)


def test_keyframes_by_the_clock_are_not_events():
    meta = quiet_clip("IPPPPPPPPPPP" * 6)
    assert change_scores(meta, np.arange(72)).max() < 0.4


def test_a_keyframe_off_the_clock_is_a_cut():
    types = "I" + "P" * 23 + "I" + "P" * 9 + "I" + "P" * 23 + "I" + "P" * 23
    meta = quiet_clip(types)
    residual = meta.residual.values
    residual[34:] *= np.linspace(0.3, 3, 48).reshape(6, 8).astype(np.float16)  # another scene from row 34 on
    scores = change_scores(meta, np.arange(len(types)))
    assert scores.argmax() + 1 == 34 and scores[33] > 0.9
    assert np.delete(scores, 33).max() < 0.4


def test_a_p_picture_without_prediction_is_a_cut():
    meta = quiet_clip("I" + "P" * 60, broken=[37])
    scores = change_scores(meta, np.arange(61))
    assert scores.argmax() + 1 == 37 and scores[36] > 0.9
    assert np.delete(scores, 36).max() < 0.4


@pytest.mark.parametrize("first_new", [21, 22, 23, 24])
def test_b_pictures_tell_between_which_two_frames_the_cut_is(first_new):
    """I BBBP BBBP ...: the P at row 24 is all intra; B pictures before the cut are predicted from the past only, those
    after it from the future only."""
    types = "I" + "BBBP" * 12
    meta = quiet_clip(types, broken=[24])
    vectors = [
        [] if one == "I" or row == 24 else tiles(PAST) if one == "P" else tiles(PAST) + tiles(FUTURE)
        for row, one in enumerate(types)
    ]
    for row in (21, 22, 23):
        vectors[row] = tiles(PAST) if row < first_new else tiles(FUTURE)
    meta = make_metadata(meta.frames.packet_bytes, types=types, residual=meta.residual.values, vectors=vectors)
    scores = change_scores(meta, np.arange(len(types)))
    assert scores.argmax() + 1 == first_new and scores.max() > 0.9


@pytest.mark.parametrize("elsewhere", ["stays quiet", "calms down"])
def test_something_that_comes_in_is_seen_where_sizes_say_nothing(elsewhere):
    rng = np.random.default_rng(1)
    residual = rng.uniform(0.9, 1.1, (80, 6, 8))
    residual[45:, 2:4, 0:2] = 8.0  # a corner of the picture becomes hard to predict
    if elsewhere == "calms down":
        residual[:45, 0:2, 6:8] = 8.0  # and as much energy goes away in another one
    meta = make_metadata([500] * 80, types="I" + "P" * 79, residual=residual, vectors=[[]] + [tiles(PAST)] * 79)
    scores = change_scores(meta, np.arange(80))
    assert abs(int(scores.argmax()) + 1 - 45) <= 1
    assert scores.max() > 5 * np.median(scores)


def test_between_samples_the_strongest_change_counts():
    meta = quiet_clip("I" + "P" * 60, broken=[37])
    everything = change_scores(meta, np.arange(61))
    rows = np.array([0, 10, 10, 36, 37, 50, 60])
    sampled = change_scores(meta, rows)
    expected = [everything[a:b].max() if b > a else 0 for a, b in zip(rows, rows[1:], strict=False)]
    np.testing.assert_array_equal(sampled, np.array(expected, np.float32))
    assert change_scores(meta, [7]).shape == (0,)


def test_packets_alone_are_enough_for_scores():
    meta = quiet_clip("I" + "P" * 60, broken=[37])
    scores = change_scores(Probe(meta.path, meta.stream, meta.frames, meta.gops, {}), np.arange(61))
    assert scores.dtype == np.float32 and scores.shape == (60,)
    assert scores.argmax() + 1 == 37


def test_signals_of_chosen_frames_alone_leave_the_scores_to_the_packets():
    whole = quiet_clip("I" + "P" * 60, broken=[37])
    rows = np.arange(0, 61, 4)
    part = make_metadata(
        whole.frames.packet_bytes,
        types="I" + "P" * 60,
        covered=rows,
        residual=np.random.default_rng(0).normal(9, 5, (len(rows), *whole.residual.values.shape[1:])) ** 2,
        vectors=[tiles(PAST)] * len(rows),
    )
    packets = Probe(whole.path, whole.stream, whole.frames, whole.gops, {})
    np.testing.assert_array_equal(change_scores(part, np.arange(61)), change_scores(packets, np.arange(61)))
    assert (change_scores(whole, np.arange(61)) != change_scores(packets, np.arange(61))).any()


ENCODERS = {
    "x264 without scene-cut detection, B-frames": ("libx264", {"g": "30", "sc_threshold": "0", "bf": "3"}, "mp4"),
    "x264 without scene-cut detection, no B-frames": ("libx264", {"g": "30", "sc_threshold": "0", "bf": "0"}, "mp4"),
    "x264 with scene-cut detection": ("libx264", {"g": "250", "sc_threshold": "40", "bf": "3"}, "mp4"),
    "x265 without scene-cut detection": (
        "libx265",
        {"x265-params": "keyint=250:scenecut=0:log-level=none", "preset": "ultrafast"},
        "mp4",
    ),
    "VP9": ("libvpx-vp9", {"g": "30", "b": "0", "crf": "34", "deadline": "realtime", "cpu-used": "6"}, "webm"),
    "x265": ("libx265", {"x265-params": "keyint=30:log-level=none", "preset": "ultrafast"}, "mp4"),
}


@pytest.mark.parametrize("encoder", ENCODERS)
def test_known_cuts_of_encoded_clips_are_found(encoder, tmp_path):
    codec, options, suffix = ENCODERS[encoder]
    story = Story(seed=11, kind="cut", frames=130, size=(192, 112))
    path = write_clip(tmp_path / f"cuts.{suffix}", story.render(), codec, options)
    scores = change_scores(extract(path), np.arange(130))
    assert len(story.cuts) >= 3
    starts = [start for start, _ in event_boundaries(scores, len(story.cuts) + 1)][1:]
    assert all(abs(found - true) <= 1 for found, true in zip(starts, story.cuts, strict=True)), (starts, story.cuts)
    if codec == "libx264":
        assert (np.flatnonzero(scores > 0.5) + 1).tolist() == starts


def test_a_probe_and_a_still_picture_give_no_cut(tmp_path):
    picture = np.random.default_rng(0).integers(0, 255, (96, 128, 3), dtype=np.uint8)
    path = write_clip(tmp_path / "still.mp4", [picture] * 90, "libx264", {"g": "12", "sc_threshold": "0"})
    for meta in (extract(path), probe(path)):
        assert change_scores(meta, np.arange(90)).max() < 0.5
