"""The pictures: what is drawn where, told from the pixels, and the one model behind PNG and page."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from codecmeta.cli import main
from codecmeta.view import draw, panels
from codecmeta.view.overview import Overview, captions, overview, overview_of_file
from codecmeta.view.timeline import MAX_BARS, TYPE_COLOURS, axis_labels, clock_text, root_ticks, timeline
from tests.support.clips import pan, rotated_copy, write_clip
from tests.support.synthetic import make_metadata

SAMPLES = Path(__file__).resolve().parents[2] / "data_samples"


def decoded(view: Overview) -> np.ndarray:
    """The PNG as RGB."""
    return cv2.imdecode(np.frombuffer(draw.png(view), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def bar_heights(picture: np.ndarray, columns: np.ndarray, colour: str, top: int, bottom: int) -> np.ndarray:
    middle = (columns[:, 0] + columns[:, 1]) // 2
    return (picture[top:bottom, middle] == draw.rgb(colour)).all(axis=2).sum(axis=0)


def test_heat_ranks_patches_and_zero_has_no_colour() -> None:
    grey = np.full((40, 80, 3), 100, np.uint8)
    heated = panels.heated(grey, np.array([[0.0, 0.04, 0.25, 1.0]], np.float32))
    colourful = heated.max(axis=2).astype(int) - heated.min(axis=2)
    assert not colourful[:, :18].any()
    assert colourful[0, 30] < colourful[0, 50] < colourful[0, 70]
    assert np.array_equal(
        panels.scale_bar(101, 4)[0, 100], panels.heated(np.full((1, 1, 3), 128, np.uint8), [[1]])[0, 0]
    )


def test_lines_surround_merged_regions_and_hatches_fill_them() -> None:
    labels = np.array([[0, 0, 1, 2]], np.int32)  # the first two patches are one region, the others stand alone
    outlined = panels.outlined(np.zeros((40, 80, 3), np.uint8), labels)
    assert (outlined[:, 40] == 255).all() and (outlined[:, 44:] == 0).all()
    hatched = (outlined[:, :36] == 127).all(axis=2)
    assert 0.05 < hatched.mean() < 0.2
    assert np.array_equal(hatched[5:, :31], hatched[:-5, 5:]) and not np.array_equal(hatched[1:], hatched[:-1])


def test_a_veil_hides_the_cells_that_were_not_kept() -> None:
    picture = np.zeros((40, 80, 3), np.uint8)
    picture[..., 0] = 200
    veiled = panels.kept_cells(picture, np.array([[True, False]]), np.array([[0, -1]]), 0)
    assert (veiled[:, :36] == (200, 0, 0)).all() and (np.ptp(veiled[:, 44:].astype(int), axis=2) < 40).all()
    assert np.array_equal(panels.kept_cells(picture, np.ones((1, 2), bool), np.array([[0, 1]]), 0), picture)


def test_folded_cells_are_blue_and_show_where_they_went() -> None:
    """Frame 1 of three with one row of four cells: kept, folded into it, into frame 0 and into frame 2."""
    picture = np.full((60, 240, 3), 100, np.uint8)
    homes = np.array([[4, 4, 3, 8]])
    drawn = panels.kept_cells(picture, homes == np.arange(4, 8), homes, 1).astype(int)
    assert (drawn[5:15, 70:230, 2] - drawn[5:15, 70:230, 0] > 30).all() and (drawn[5:15, :50] == 100).all()
    white = (drawn > 200).all(axis=2)
    assert white[30, 32:88].all()  # a line between the middles of the first two cells
    for cell, ahead in ((2, False), (3, True)):
        columns = white[:, 60 * cell + 4 : 60 * cell + 56].sum(axis=0)
        tip, base = np.flatnonzero(columns)[[-1, 0]] if ahead else np.flatnonzero(columns)[[0, -1]]
        assert columns[tip] < 4 < columns[base] and (tip > base) == ahead


def test_a_view_cuts_and_pads() -> None:
    picture = np.arange(100, dtype=np.uint8).reshape(10, 10, 1).repeat(3, axis=2)
    assert np.array_equal(panels.viewed(picture, (0, 0, 1, 1)), picture)
    assert np.array_equal(panels.viewed(picture, (0.2, 0.1, 0.8, 0.9)), picture[1:9, 2:8])
    padded = panels.viewed(picture, (-0.5, 0, 1.5, 1))
    assert padded.shape == (10, 20, 3) and np.array_equal(padded[:, 5:15], picture)
    assert (padded[:, :5] == panels.NEUTRAL).all() and (padded[:, 15:] == panels.NEUTRAL).all()


def test_bars_are_as_high_as_the_root_of_packet_sizes_and_coloured_by_type() -> None:
    meta = make_metadata([10_000, 100, 2500, 400], types="IBPB")
    line = timeline(meta, np.array([0, 2]), np.array([30, 10]), 40, 10)
    picture = draw.draw_timeline(line, "as given")
    for row, kind in enumerate("IBPB"):
        colour = TYPE_COLOURS["IPB".index(kind)]
        height = bar_heights(picture, draw.bar_columns(line)[row : row + 1], colour, 80, 280)
        assert height == {0: 200, 1: 20, 2: 100, 3: 40}[row], kind
    assert line.bars_title.startswith("bytes per frame") and np.allclose(line.edges, [0, 0.04, 0.08, 0.12, 0.16])


def test_very_long_videos_share_bars_and_no_byte_is_lost() -> None:
    rng = np.random.default_rng(0)
    types = ("I" + "PBB" * 10)[:30] * 600
    sizes = rng.integers(50, 5000, 18_000)
    meta = make_metadata(sizes, types=types, keyframes=np.arange(0, 18_000, 30))
    line = timeline(meta, np.array([0, 9000]), np.array([10, 20]), 40, events=1)  # no line over the bars
    assert len(line.bytes) == MAX_BARS == 360 and line.frames_per_bar == 50 and "50 frames" in line.bars_title
    assert line.bytes.sum() == sizes.sum() and line.pictures.sum() == 18_000
    of_p = np.frombuffer(types.encode(), np.uint8) == ord("P")
    assert line.mean_bytes[7, 1] == sizes[350:400][of_p[350:400]].mean()
    picture = draw.draw_timeline(line, "as given")
    heights = np.sqrt(line.mean_bytes / line.mean_bytes.max()) * 200
    order = np.sort(np.round(heights), axis=1)
    seen = bar_heights(picture, draw.bar_columns(line), TYPE_COLOURS[1], 80, 280)
    below = np.where(order < np.round(heights[:, [1]]), order, 0).max(axis=1)
    tied = np.round(heights[:, 1]) == np.round(heights[:, 2])  # B pictures stand before P pictures then
    clear = [bar for bar in range(360) if 8 < np.round(heights[bar, 1]) - below[bar] and not tied[bar]]
    assert len(clear) > 100 and np.array_equal(seen[clear], (np.round(heights[:, 1]) - below)[clear])
    assert not line.gops_told_apart and line.gops_title == "600 groups of pictures"


def test_a_variable_frame_rate_is_drawn_at_its_times_and_a_broken_clock_by_number() -> None:
    meta = make_metadata([100] * 4, types="IPPP")
    meta.frames.time[:] = [0, 1, 1.5, 9]
    line = timeline(meta, np.array([0]), np.array([1]), 4, 10)
    assert line.clock and np.allclose(line.edges, [0, 1, 1.5, 9, 10])  # the last frame lasts the median of the others
    meta.frames.time[:] = [0, 2, 1, 3]
    line = timeline(meta, np.array([0]), np.array([1]), 4, 10)
    assert not line.clock and line.edges.tolist() == [0, 1, 2, 3, 4]
    assert [text for _, text in axis_labels(line, 6)] == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize("seconds", [0.04, 1, 4.17, 59, 61, 600, 3601, 86_400 * 3])
def test_axes_have_a_few_round_times(seconds: float) -> None:
    meta = make_metadata([100] * 5, rate=5 / seconds)
    labels = axis_labels(timeline(meta, np.array([0]), np.array([1]), 4, 10), 7)
    assert 2 <= len(labels) <= 7 and len({text for _, text in labels}) == len(labels)
    assert all(0 <= share <= 1 + 1e-9 for share, _ in labels)
    assert (":" in labels[-1][1]) == (seconds >= 60)


def test_clocks_and_ticks_are_written_as_people_write_them() -> None:
    assert (
        clock_text(3.456, 10) == "3.46 s" and clock_text(3.456, 60, 0) == "0:03" and clock_text(65.32, 70) == "1:05.32"
    )
    assert clock_text(3725, 4000, 0) == "1:02:05" and clock_text(59.999, 61) == "1:00.00"
    assert root_ticks(10_000, 0.1) == [0, 200, 1000, 2000, 5000, 10_000]


def test_marks_of_events_are_where_things_happen_and_not_only_where_most_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten pictures in a row that have nothing in common, one cut, and one fade that is weaker than all of them."""
    meta = make_metadata([500] * 101, types="I" + "P" * 100)
    change = np.zeros(100, np.float32)
    change[10:20], change[60], change[80] = 0.9, 0.5, 0.3
    monkeypatch.setattr("codecmeta.view.timeline.change_scores", lambda *_: change)
    assert timeline(meta, np.array([0]), np.array([1]), 4, 5).event_frames.tolist() == [11, 61, 81]
    assert timeline(meta, np.array([0]), np.array([1]), 4, 1).event_frames.tolist() == []


def test_event_boundaries_are_those_that_were_made_and_none_where_nothing_happens() -> None:
    truth = json.loads((SAMPLES / "truth.json").read_text())
    view = overview_of_file(SAMPLES / "cuts.mp4")
    assert view.timeline.event_frames.tolist() == truth["cuts.mp4"]["cuts"]
    picture, share = decoded(view), view.timeline.share(view.timeline.events)
    columns = draw.LEFT + np.round(share * (draw.RIGHT - draw.LEFT - 1)).astype(int)
    marked = (picture == draw.rgb("#cc79a7")).all(axis=2).sum(axis=0)
    assert (marked[columns] > 100).all() and (marked > 100).sum() == 2 * len(columns)
    assert len(overview_of_file(SAMPLES / "shapes.mp4").timeline.events) == 0


def test_show_draws_videos_and_caches_alike(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", pan(30, (160, 96), (2, 0)), options={"x264-params": "bframes=2:keyint=10"})
    call = CliRunner().invoke
    done = call(main, ["show", str(clip), "--png", str(tmp_path / "o.png")])
    assert done.exit_code == 0 and "h264" in done.stdout, done.output
    picture = cv2.imread(str(tmp_path / "o.png"))[..., ::-1]
    assert picture.shape[1] == 1280
    for colour in TYPE_COLOURS[:3]:
        assert (picture == draw.rgb(colour)).all(axis=2).sum() > 100
    cache = clip.with_suffix(".codecmeta.h5")
    assert call(main, ["extract", str(clip)]).exit_code == 0
    of_video, of_cache = overview_of_file(clip), overview_of_file(cache)
    facts = [{**one.summary, "capability": None} for one in (of_video, of_cache)]  # the cache says how it rounds
    assert facts[0] == facts[1] and not of_cache.notes
    assert np.array_equal(of_video.samples.pictures, of_cache.samples.pictures)
    assert np.allclose(of_video.samples.density, of_cache.samples.density, atol=0.03)  # caches round the residual
    for name in ("edges", "bytes", "gops", "budgets", "events"):
        assert np.array_equal(getattr(of_video.timeline, name), getattr(of_cache.timeline, name)), name


def test_a_cache_without_its_video_is_drawn_over_grey_and_says_so(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", pan(30, (160, 96), (2, 0)))
    cache = tmp_path / "c.h5"
    CliRunner().invoke(main, ["extract", str(clip), "-o", str(cache), "--frames", "5"])
    whole = overview_of_file(cache)
    assert whole.samples.pictures is not None and whole.samples.pictures.shape == (5, 96, 160, 3)
    assert not any("grey" in note for note in whole.notes) and "packet sizes alone" in whole.notes[-1]
    clip.write_bytes(clip.read_bytes() + b"more")
    assert "not the version" in overview_of_file(cache).notes[0]
    clip.unlink()
    alone = overview_of_file(cache)
    assert alone.samples.pictures is None and "a.mp4 is not beside the cache" in alone.notes[0]
    assert np.array_equal(alone.samples.density, whole.samples.density)
    flat = draw.panel(alone.samples, 0, 160, 96)
    neutral = panels.heated(np.full((96, 160, 3), panels.NEUTRAL, np.uint8), alone.samples.density[0])
    assert (flat == neutral).all(axis=2).mean() > 0.5  # the rest are outlines and hatches


def test_without_residual_the_picture_says_why() -> None:
    meta = make_metadata([1000, 100, 100], types="IPP")
    view = overview(meta, np.arange(3), [np.full((48, 64, 3), 90, np.uint8)] * 3)
    assert view.samples.density is None and view.notes == [
        "No density: residual: made up without; bits: made up without."
    ]
    assert captions(view, 0)[1] == "density not known"
    picture = decoded(view)
    assert (picture == 90).all(axis=2).sum() > 3 * 250 * 200  # the pictures themselves, without heat


@pytest.mark.parametrize("size", [(64, 48), (48, 96), (400, 16), (16, 400), (16, 16)], ids=str)
def test_one_frame_of_any_shape(size: tuple[int, int]) -> None:
    rows, columns = -(-size[1] // 8), -(-size[0] // 8)
    residual = np.arange(rows * columns, dtype=float).reshape(1, rows, columns)
    meta = make_metadata([700], types="I", size=size, residual=residual)
    view = overview(meta, np.array([0]), [np.full((size[1], size[0], 3), 90, np.uint8)])
    assert view.timeline.bytes.tolist() == [[700, 0, 0, 0]] and len(view.timeline.events) == 0
    picture = decoded(view)
    left, right = draw.bar_columns(view.timeline)[0]
    assert (right - left) > 1000 and (picture == draw.rgb(TYPE_COLOURS[0])).all(axis=2).sum() > 200 * 1000


def test_turned_videos_are_drawn_as_they_are_shown(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", pan(10, (160, 96), (2, 0)))
    upright = overview_of_file(rotated_copy(clip, tmp_path / "b.mp4", 90))
    assert upright.samples.pictures.shape[1:] == (160, 96, 3) and upright.samples.density.shape[1:] == (10, 6)


def test_long_and_foreign_names_stay_inside(tmp_path: Path) -> None:
    meta = make_metadata([700, 100], types="IP")
    for name in ("x" * 250 + ".mp4", "\u202e\u05e2\u05d1\u05e8\u05d9\u05ea \u4e2d\u6587\n.mp4"):
        view = overview(meta, np.arange(2), None)
        view.summary["file"] = name
        assert (decoded(view)[:, -20:] == 255).all()


def test_outputs_never_replace_a_video_or_a_cache(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", pan(5, (64, 48), (2, 0)))
    other = write_clip(tmp_path / "b.mkv", pan(5, (64, 48), (2, 0)))
    link = tmp_path / "link.png"
    link.symlink_to(clip)
    before = clip.read_bytes()
    for option in ("--png", "--html"):
        fitting = link if option == "--png" else tmp_path / "link.html"
        if not fitting.exists():
            fitting.symlink_to(clip)
        folder, nowhere = tmp_path, tmp_path / "no" / f"folder.{option[2:]}"
        for target, reason in (
            (clip, f"expected .{option[2:]}"),
            (other, f"expected .{option[2:]}"),
            (fitting, "not overwritten"),
            (folder, f"expected .{option[2:]}"),
            (nowhere, "cannot be written"),
        ):
            done = CliRunner().invoke(main, ["show", str(clip), option, str(target)])
            assert done.exit_code == 1 and reason in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert clip.read_bytes() == before and not list(tmp_path.glob(".*.part"))
    assert CliRunner().invoke(main, ["show", str(clip), str(other), "--png", str(tmp_path / "o.png")]).exit_code == 2
    same = CliRunner().invoke(main, ["show", str(clip), "--png", "o.x", "--html", "o.x"])
    assert same.exit_code == 1 and "expected .png" in same.stderr
