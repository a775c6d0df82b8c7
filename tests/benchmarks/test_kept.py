"""What kept tokens show, by hand."""

import math

import numpy as np
import pytest

from benchmarks import heldout
from benchmarks.kept import PIXELS, SIDE, Truth, choices, seen, summarise, tokens_of, truth_of
from codecmeta.models.small.world.scenes import MovingObject, Scene


def square(span, at):
    return MovingObject(
        colour="red", shape="square", direction="still", size=0.25, start=at, end=at, appears=span[0],
        disappears=span[1], rgb=(255, 0, 0),
    )  # fmt: skip


def test_a_token_knows_the_share_of_its_pixels():
    mask = np.zeros((1, PIXELS, PIXELS), bool)
    mask[0, : PIXELS // SIDE, : PIXELS // SIDE // 2] = True
    assert tokens_of(mask)[0].tolist() == [0.5] + [0] * (SIDE * SIDE - 1)


def test_shares_by_hand():
    """Object 0 covers token 0 in both frames, object 1, an event, token 1 in the second; half of token 2 changed."""
    covered = np.zeros((2, 2, 4))
    covered[0, :, 0] = 1.0
    covered[1, 1, 1] = 1.0
    changed = np.zeros((2, 4))
    changed[1, 1:3] = 1.0, 0.5
    truth = Truth(covered, changed, np.array([False, True]))
    kept = np.zeros((2, 4), bool)
    kept[0, [0, 3]] = kept[1, 2] = True
    assert seen(kept, truth) == {
        "object pixels": 1 / 3, "changed pixels": 0.5 / 1.5, "event pixels": 0.0, "events seen": 0.0,
        "places seen": 0.75,
    }  # fmt: skip
    kept[1, 1] = True
    assert seen(kept, truth)["events seen"] == seen(kept, truth)["event pixels"] == 1.0
    without = seen(kept, Truth(covered[:1], changed * 0, np.array([False])))
    assert math.isnan(without["event pixels"]) and math.isnan(without["changed pixels"])


def test_the_truth_is_what_the_scene_says():
    """A square that is there from half of the clip on: what changes is its place, when it comes; it is no event."""
    objects = square((0.0, 1.0), (0.125, 0.125)), square((0.5, 0.7), (0.875, 0.875))
    scene = Scene(0, "eval", "late", objects, (), None, 0.0, 1.0)
    truth = truth_of(scene, np.array([0.0, 0.25, 0.6, 0.9]))
    assert truth.event.tolist() == [False, True]
    assert (truth.covered[0, :, 0] > 0.9).all()
    assert (truth.covered[1, :, 15] > 0.9).tolist() == [False, False, True, False]
    assert truth.changed[0].sum() == truth.changed[1].sum() == 0
    assert truth.changed[2, 15] > 0.9 and truth.changed[3, 15] > 0.9 and truth.changed[:, :15].sum() < 0.5


def test_everything_kept_shows_everything():
    truth = Truth(np.random.default_rng(0).random((2, 3, 4)), np.ones((3, 4)), np.array([True, False]))
    everything = seen(np.ones((3, 4), bool), truth)
    assert set(everything.values()) == {1.0}
    result = summarise([("all", n, 1.0, everything) for n in range(3)])
    assert result["all"]["object pixels"] == [1.0, 1.0, 1.0]


def test_choices_of_a_clip_are_those_of_the_methods(tmp_path):
    """of 256 tokens the budget's share: about as much of what is to be seen, and all of it with all of them"""
    pytest.importorskip("transformers")
    (tmp_path / "clips").mkdir()
    clip = heldout.make_clip(6, 0)
    clip.write(tmp_path / "clips")
    methods = ["random", "uniform mode=temporal", "random budget=1"]
    found = {label: (share, said) for label, _, share, said in choices(tmp_path, 6, 1, methods, [0.5])}
    assert [round(share, 3) for share, _ in found.values()] == [0.5, 0.5, 1.0]
    assert list(found) == ["random at 50%", "uniform mode=temporal at 50%", "random at 100%"]
    every = found["random at 100%"][1]
    assert every["object pixels"] == every["places seen"] == 1.0
    assert 0.3 < found["random at 50%"][1]["object pixels"] < 0.7
    assert found["uniform mode=temporal at 50%"][1]["object pixels"] == pytest.approx(0.5, abs=0.1)
