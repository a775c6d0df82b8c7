"""The held-out clips: what is said of them is on them, and training has nothing of it; what is compared with what."""

import numpy as np
import pytest

pytest.importorskip("torch")

import codecmeta  # noqa: E402
from benchmarks import heldout, oracle, signals  # noqa: E402
from codecmeta.models.small import evaluate  # noqa: E402
from codecmeta.models.small.scope import outside_training  # noqa: E402
from codecmeta.models.small.world import encoding, scenes  # noqa: E402

CLIPS = [heldout.make_clip(heldout.TUNING, number) for number in range(60)]


def test_a_clip_follows_from_its_seed_and_number_alone():
    one, again, other = (heldout.make_clip(split, 7) for split in (5, 5, 6))
    assert one == again and one.questions() == again.questions() and one != other
    first, second = (next(iter(clip.render())) for clip in (one, again))
    assert (first == second).all()


def test_nothing_is_as_in_training():
    assert not set(heldout.BACKDROPS) & set(scenes.BACKGROUNDS)
    assert not set(heldout.PRESETS) & set(encoding.PRESETS)
    for clip in CLIPS:
        assert int(clip.options.get("g", 0)) not in (6, 12, 24, 48, 250)
        assert clip.rate not in (12, 24, 25, 30)
        assert (clip.width, clip.height) not in [(side, side) for side in evaluate.SIDES]
    assert {clip.strata["codec"] for clip in CLIPS} == {"H.264", "HEVC", "VP9"}
    assert {clip.strata["camera"] for clip in CLIPS} == set(heldout.CAMERAS)
    assert max(clip.frames / clip.rate for clip in CLIPS) > 120


def test_questions_are_those_that_the_model_was_taught_and_their_answers_are_true():
    for clip in CLIPS:
        asked = clip.questions()
        assert 1 <= len(asked) <= heldout.PER_CLIP
        for question in asked:
            assert outside_training(question.text) is None, question.text
            things = [clip.scene.objects[number] for _, number in question.names]
            if question.type in ("colour", "shape", "direction"):
                assert question.answer == getattr(things[0], question.type)
            elif question.type == "first":
                first = min(things, key=lambda item: item.appears)
                assert question.answer in (first.colour, first.shape)
            elif question.type == "count":
                assert all(item.disappears == 1 for item in clip.scene.objects)


def test_objects_go_where_they_are_said_to_go_and_stay_inside():
    steps = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1), "still": (0, 0)}
    for clip in CLIPS:
        for item in clip.scene.objects:
            times = np.linspace(item.appears, item.disappears, 9)
            centres = item.centres(times)
            way = centres[-1] - centres[0]
            assert np.allclose(np.sign(np.round(way, 9)), steps[item.direction])
            assert np.abs(way).max() >= 0.25 or item.direction == "still"
            half = 0.4 * item.size * np.array([clip.scene.aspect**-0.5, clip.scene.aspect**0.5])
            assert (centres >= half - 1e-6).all() and (centres <= 1 - half + 1e-6).all()


def test_what_is_encoded_shows_the_objects(tmp_path):
    """Colours at the centres of objects, after a real encoder, are those of the objects."""
    clip = next(one for one in CLIPS if one.frames < 80)
    path = clip.write(tmp_path)
    probe = codecmeta.probe(path)
    assert len(probe.frames) == clip.frames and (probe.stream.width, probe.stream.height) == (clip.width, clip.height)
    _, rows, pictures = codecmeta.read(path, 5)
    seen = 0
    for time, picture in zip(clip.times()[rows], pictures, strict=True):
        for item in clip.scene.objects:
            if item.visible(np.array([time]))[0]:
                x, y = item.centres(np.array([time]))[0] * (clip.width, clip.height)
                assert np.abs(picture[int(y), int(x)].astype(int) - item.rgb).max() < 70
                seen += 1
    assert seen >= 3


def test_rare_events_are_short_and_questions_say_so():
    short = [clip for clip in CLIPS if clip.strata["kind"] == "short"]
    assert len(short) == 15
    for clip in short:
        event = clip.scene.objects[-1]
        assert 0.13 < event.disappears - event.appears < 0.26
        for question in clip.questions():
            about = {clip.scene.objects[number] for _, number in question.names}
            assert (clip.event(question) == "a quarter or less") == (event in about)


# Signals


def test_roc_area_is_the_chance_of_ranking_right():
    rng = np.random.default_rng(0)
    values, positive = rng.integers(0, 6, 40), rng.random(40) < 0.4
    pairs = [(a > b) + 0.5 * (a == b) for a in values[positive] for b in values[~positive]]
    assert signals.roc_area(values, positive) == pytest.approx(np.mean(pairs))
    assert signals.roc_area(positive.astype(float), positive) == 1 and signals.roc_area(0 * values, positive) == 0.5
    assert np.isnan(signals.roc_area(values, positive & False))


def test_rank_correlation_against_its_formula_without_ties():
    rng = np.random.default_rng(1)
    one, two = rng.permutation(30), rng.permutation(30)
    expected = 1 - 6 * ((one - two) ** 2).sum() / (30 * (30**2 - 1))
    assert signals.spearman(one, two) == pytest.approx(expected)
    assert signals.spearman(np.zeros(30), two) == 0 and np.isnan(signals.spearman(one, np.zeros(30)))


def test_the_truth_about_a_clip_is_what_is_drawn():
    clip = next(one for one in CLIPS if one.strata["kind"] == "plain" and one.strata["camera"] == "static")
    rows = np.linspace(0, clip.frames - 1, 4).astype(int)
    truth = signals.truth_of(clip, rows, (clip.height // 16, clip.width // 16))
    item = clip.scene.objects[0]
    for t, time in enumerate(clip.times()[rows]):
        x, y = item.centres(np.array([time]))[0]
        cell = int(y * truth["object"].shape[1]), int(x * truth["object"].shape[2])
        assert truth["object"][t][cell]
        assert truth["moving object"][t][cell] == (item.direction != "still")
    still = ~truth["moving object"] & (truth["motion"] < 1e-9)
    assert still.any() and not truth["change"][0].any()


def test_signals_of_a_clip_that_moves_where_it_is_known(tmp_path):
    """A bright square on a still picture: what differs from the last sample is where it is or was."""
    clip = next(one for one in CLIPS if one.codec == "libx264" and one.frames < 120)
    grid = (clip.height // 16, clip.width // 16)
    path = clip.write(tmp_path)
    rows = np.unique(np.linspace(0, clip.frames - 1, 16).round().astype(int))
    found = signals.signals_of(path, grid, rows)
    assert set(found) == set(signals.SIGNALS)
    assert all(values.shape == (len(rows), *grid) and np.isfinite(values).all() for values in found.values())
    assert not (found["exact residual"] == found["estimated residual"]).all()


def test_the_oracle_keeps_what_it_says():
    clip = next(one for one in CLIPS if one.strata["kind"] == "plain")
    rows = np.linspace(0, clip.frames - 1, oracle.FRAMES).astype(int)
    values = oracle.values_of(clip, rows)
    assert set(values) == set(oracle.CHOICES)
    for budget in oracle.BUDGETS:
        kept = {name: oracle.choose(one, budget) for name, one in values.items()}
        for slots in kept.values():
            counts = slots.sum(axis=1)
            assert counts.sum() == int(budget * 256) and np.ptp(counts) <= 1
        share = values["objects"].round(3)
        assert share[kept["objects"]].mean() > share[kept["chance"]].mean() > share[kept["background"]].mean()


def test_what_the_codec_would_choose_is_its_residual_or_its_bits(tmp_path):
    """Within a frame the same as the densities of the package; since the last sample, the mean over frames between."""
    clip = next(one for one in CLIPS if one.codec == "libx264" and one.frames < 120)
    path = clip.write(tmp_path)
    meta = codecmeta.extract(path, details=True)
    rows = np.arange(0, clip.frames, 7)
    values = oracle.codec_values(path, rows)
    for signal in ("residual", "bits"):
        density = codecmeta.patch_density(meta, rows, (oracle.SIDE, oracle.SIDE), signal=signal).reshape(len(rows), -1)
        for one, expected in zip(values[f"{signal} of the frame"], density, strict=True):
            if np.ptp(expected):
                assert np.corrcoef(one, expected)[0, 1] > 0.999
    every = oracle.codec_values(path, np.arange(clip.frames))["residual of the frame"]
    between = [row for row in range(1, 8) if not meta.frames.keyframe[row]]
    assert np.allclose(values["residual since the last sample"][1], every[between].mean(axis=0), rtol=1e-3)
    kept = oracle.over_the_clip(values["residual of the frame"], 0.3)
    assert kept.sum() == int(0.3 * kept.size)
    assert values["residual of the frame"][kept].min() >= values["residual of the frame"][~kept].max()
