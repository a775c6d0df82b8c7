"""Chosen frames against clips whose events are known, a decoder that counts what it is fed, and rules of counting."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from codecmeta import CacheError, extract, extract_to_file, load, probe, read
from codecmeta.cli import main
from codecmeta.container.decode_cost import decode_cost
from codecmeta.container.probe import probe_with_packets
from codecmeta.decisions.choose import Candidates, Reasons, _fill
from codecmeta.decisions.packet_events import running_median
from codecmeta.extraction.choose import cheapest_rows, choose_frames, packet_events
from codecmeta.record.selection import POLICIES, sample_rows
from tests.support.clips import pan, real_clip, texture, write_clip
from tests.support.page import Page
from tests.support.synthetic import make_metadata

TABLE_POLICIES = [one for one in POLICIES if one != "query"]
SAMPLES = Path(__file__).resolve().parents[2] / "data_samples"
SIZE = (96, 64)
X264 = {"preset": "veryfast", "threads": "1", "g": "250", "bf": "3"}
X265 = {"preset": "ultrafast", "x265-params": "keyint=250:bframes=4:log-level=none:pools=none:frame-threads=1"}


def visitor(count: int, first: int, stop: int, noise: float = 0.0) -> list[NDArray[np.uint8]]:
    """A still picture, over which a bright disc moves from picture `first` until `stop`."""
    rng = np.random.default_rng(3)
    canvas = texture(*SIZE, seed=1)
    pictures = []
    for number in range(count):
        picture = canvas.copy()
        if first <= number < stop:
            cv2.circle(picture, (30 + (number - first) % 40, 32), 12, (240, 40, 40), -1, cv2.LINE_AA)
        if noise:
            picture = np.clip(picture + rng.normal(0, noise, picture.shape), 0, 255).astype(np.uint8)
        pictures.append(picture)
    return pictures


@pytest.mark.parametrize(
    ("codec", "options", "suffix"),
    [
        ("libx264", X264, ".mp4"),
        ("libx264", X264 | {"g": "30", "sc_threshold": "0"}, ".mp4"),
        ("libx264", X264 | {"x264-params": "intra-refresh=1", "g": "60"}, ".mp4"),
        ("libx264", X264 | {"g": "1"}, ".mp4"),
        ("libx265", X265, ".mp4"),
        ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "b": "0", "crf": "36", "g": "250"}, ".webm"),
    ],
    ids=["h264", "h264-gop30", "intra-refresh", "all-intra", "hevc", "vp9"],
)
def test_two_seconds_of_a_minute_are_seen(tmp_path: Path, codec: str, options: dict[str, str], suffix: str) -> None:
    pictures = visitor(600, 437, 457, noise=1.0)
    path = write_clip(tmp_path / f"clip{suffix}", pictures, codec, options, rate=10)
    choice = choose_frames(path, 8)
    even = sample_rows(probe(path).frames.time, 8)
    assert not ((even >= 437) & (even < 457)).any()
    assert ((choice.rows >= 437) & (choice.rows < 457)).any(), choice
    strongest = sorted(packet_events(path, least=1), key=lambda one: -one.strength)[:2]
    assert any(43.0 <= one.start <= 46.5 for one in strongest), strongest


def test_a_variable_frame_rate_shifts_nothing(tmp_path: Path) -> None:
    kept = np.flatnonzero(np.random.default_rng(0).random(600) > 0.4)
    pictures = visitor(600, 437, 457)
    path = write_clip(
        tmp_path / "vfr.mp4", [pictures[i] for i in kept], "libx264", X264, rate=10, pts=(100 * kept).tolist()
    )
    times = choose_frames(path, 8).times
    assert ((times >= 43.7 - 1e-6) & (times < 45.7)).any()


def test_signals_inside_the_pictures_find_what_sizes_do_not() -> None:
    """All packets are of about the same size; for two seconds the residual moves from one corner to another."""
    rng = np.random.default_rng(5)
    residual = rng.uniform(3, 5, (1200, 12, 16))
    residual[877:897, 2:5, 3:6] *= 4
    residual[877:897, 7:, 8:] *= 0.8
    table = make_metadata(rng.integers(950, 1050, 1200), rate=10.0, types="I" + "P" * 1199, residual=residual)
    blind = choose_frames(make_metadata(table.frames.packet_bytes, rate=10.0, types="I" + "P" * 1199), 6).rows
    assert not ((blind >= 877) & (blind < 897)).any()
    rows = choose_frames(table, 6).rows
    assert ((rows >= 877) & (rows < 897)).any(), rows


@pytest.mark.parametrize("policy", TABLE_POLICIES)
@pytest.mark.parametrize("frames", [1, 2, 7, 16, 40, 41, 500])
def test_as_many_frames_as_asked_for(policy: str, frames: int) -> None:
    rng = np.random.default_rng(frames)
    table = make_metadata(
        rng.integers(50, 4000, 41),
        keyframes=(0, 10, 11, 30),
        types="IPBBPBBPBB" + "IIPBPBPBPBPPPPPPPPPP" + "IPPPPPPPPPP",
    )
    choice = choose_frames(table, frames, policy=policy)  # type: ignore[arg-type]
    assert len(choice) == len(np.unique(choice.rows)) == min(frames, 41)
    assert (np.diff(choice.rows) > 0).all()
    assert len(choice.why) == len(choice.score) == len(choice)
    np.testing.assert_array_equal(choice.times, table.frames.time[choice.rows])
    assert str(len(choice)) in repr(choice).splitlines()[0]


def test_uniform_is_what_read_takes() -> None:
    table = make_metadata(np.full(300, 100))
    for frames in (2, 16, 64):
        np.testing.assert_array_equal(
            choose_frames(table, frames, policy="uniform").rows, sample_rows(table.frames.time, frames)
        )
    assert choose_frames(table, 16, policy="uniform").rows[[0, -1]].tolist() == [0, 299]


def test_keyframes_are_keyframes_and_spread() -> None:
    table = make_metadata(np.full(400, 100), keyframes=range(0, 400, 10))
    rows = choose_frames(table, 5, policy="keyframes").rows
    assert rows.tolist() == [0, 100, 200, 300, 390]
    few = choose_frames(make_metadata(np.full(400, 100), keyframes=(0, 200)), 4, policy="keyframes")
    assert few.why.count("keyframe") == 2 and {0, 200} <= set(few.rows.tolist())


def test_cheap_takes_the_keyframe_of_a_slot_and_keeps_within_the_tolerance() -> None:
    table = make_metadata(np.full(400, 100), keyframes=range(0, 400, 40), rate=10.0)
    choice = choose_frames(table, 10, policy="cheap")
    assert table.frames.keyframe[choice.rows].all()
    assert choice.packets_to_decode == 10
    for tolerance in (0.0, 0.3, 1.0):
        rows = choose_frames(table, 8, policy="cheap", tolerance=tolerance).rows
        slot = 39.9 / 8
        middles = (np.arange(8) + 0.5) * slot
        assert (np.abs(table.frames.time[rows] - middles) <= tolerance * slot / 2 + 0.05 + 1e-9).all()


@pytest.mark.parametrize("frames", [8, 16, 32])
def test_no_gap_is_longer_than_its_bound(frames: int) -> None:
    sizes = np.full(3000, 100)
    sizes[2000:2300] = 5000  # everything happens here
    table = make_metadata(sizes, rate=10.0, types="I" + "P" * 2999)
    choice = choose_frames(table, frames)
    bound = 2 * 299.9 / max(2, frames // 4)
    gaps = np.diff(np.concatenate(([0.0], choice.times, [299.9])))
    assert gaps.max() <= bound + 0.1


def test_more_happens_more_frames() -> None:
    """Ten seconds of unrest get more frames than half a second as strong."""
    sizes = np.random.default_rng(0).integers(95, 105, 3000)
    sizes[700:705] = 400
    sizes[2000:2100] = 400
    choice = choose_frames(make_metadata(sizes, rate=10.0, types="I" + "P" * 2999), 24)
    short = ((choice.rows >= 695) & (choice.rows < 715)).sum()
    long = ((choice.rows >= 1995) & (choice.rows < 2115)).sum()
    assert 1 <= short < long


@pytest.mark.parametrize("what", ["pan", "fade", "flash", "light"])
def test_what_is_no_event_hides_none(tmp_path: Path, what: str) -> None:
    """Beside constant motion, fades, flashes and changing light the visitor is still found."""
    count = 600
    if what == "pan":
        pictures = pan(count, SIZE, (1, 0))
        for number in range(437, 457):
            cv2.circle(pictures[number], (30 + number - 437, 32), 12, (240, 40, 40), -1, cv2.LINE_AA)
    else:
        pictures = visitor(count, 437, 457)
        gain = np.ones(count)
        for at in (90, 210, 330):
            if what == "fade":
                gain[at : at + 20] = np.abs(np.linspace(-1, 1, 20))
            elif what == "flash":
                gain[at] = 1.6
            else:
                gain[at:] *= 0.8
        pictures = [cv2.convertScaleAbs(one, alpha=float(by)) for one, by in zip(pictures, gain, strict=True)]
    path = write_clip(tmp_path / "clip.mp4", pictures, "libx264", X264, rate=10)
    rows = choose_frames(path, 12).rows
    assert ((rows >= 437) & (rows < 457)).any(), rows


@pytest.mark.parametrize("policy", TABLE_POLICIES)
def test_the_same_on_every_call(policy: str) -> None:
    path = real_clip("torchcodec_nasa.mp4")
    first, second = (choose_frames(path, 12, policy=policy) for _ in range(2))  # type: ignore[arg-type]
    assert first.rows.tobytes() == second.rows.tobytes() and first.score.tobytes() == second.score.tobytes()
    assert first.why == second.why and first.packets_to_decode == second.packets_to_decode


def fed_and_decoded(path: Path, stream: int, passes: list[NDArray[np.int64]]) -> tuple[int, dict[int, bytes]]:
    """Feed these packets, pass after pass, to a decoder of its own: (packets fed, pictures by packet as bytes)."""
    fed, pictures = 0, {}
    with av.open(str(path)) as container:
        video = container.streams.video[stream]
        codec = video.codec_context
        codec.thread_type, codec.thread_count, codec.copy_opaque = "NONE", 1, True
        packets = [one for one in container.demux(video) if one.size]
        for one in passes:
            frames = []
            for index in one.tolist():
                packets[index].opaque = (index,)
                frames += codec.decode(packets[index])
                fed += 1
            frames += codec.decode(None)
            codec.flush_buffers()
            pictures |= {frame.opaque[0]: frame.to_ndarray().tobytes() for frame in frames}
    return fed, pictures


@pytest.mark.parametrize("policy", TABLE_POLICIES)
@pytest.mark.parametrize(
    "name",
    [
        "cvr_h264_bframes.mp4",
        "torchcodec_nasa.mp4",
        "vpng_hevc.mp4",
        "vpng_vp9.mp4",
        "vpng_av1.mp4",
        "mvx_mpeg4_part2.mp4",
    ],
)
def test_packets_to_decode_are_enough_and_give_the_same_pictures(name: str, policy: str) -> None:
    path = real_clip(name)
    choice = choose_frames(path, 6, policy=policy, headers=True)  # type: ignore[arg-type]
    found, packets = probe_with_packets(path)
    cost = decode_cost(found.frames, found.stream, packets)
    fed, pictures = fed_and_decoded(path, found.stream.stream_index, cost.passes(choice.rows))
    assert fed == choice.packets_to_decode
    _, everything = fed_and_decoded(path, found.stream.stream_index, [np.arange(len(packets))])
    for packet in cost.packet_of_row[choice.rows].tolist():
        assert pictures[packet] == everything[packet]


def test_pictures_nothing_refers_to_are_left_out(tmp_path: Path) -> None:
    """Three B pictures in a row, none referred to: to reach the last P picture of a GoP no B picture is fed."""
    options = {"preset": "veryfast", "threads": "1", "bf": "3", "x264-params": "b-adapt=0:b-pyramid=none:scenecut=0"}
    path = write_clip(tmp_path / "clip.mp4", pan(41, SIZE, (1, 0)), "libx264", options, rate=10)
    found, packets = probe_with_packets(path)
    assert (packets.reference == (packets.picture_type != ord("B"))).all()
    cost = decode_cost(found.frames, found.stream, packets)
    assert cost.count(np.array([40])) == 11  # I and ten P
    assert cost.count(np.array([38])) == 12  # the B picture itself in addition


def test_guessed_order_is_that_of_the_stream(tmp_path: Path) -> None:
    """A frame table alone has picture types, no stream order: without B-pyramid the guess is exact."""
    options = {"preset": "veryfast", "threads": "1", "bf": "2", "g": "20", "x264-params": "b-pyramid=none:open-gop=0"}
    path = write_clip(tmp_path / "clip.mp4", pan(60, SIZE, (1, 0)), "libx264", options, rate=10)
    found, packets = probe_with_packets(path)
    np.testing.assert_array_equal(decode_cost(found.frames, found.stream).packet_of_row, packets.display_order)


def test_query_takes_what_the_scorer_likes(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", visitor(300, 137, 157), "libx264", X264, rate=10)
    asked: list[str] = []

    def redness(pictures: list[NDArray[np.uint8]], question: str) -> list[float]:
        asked.append(question)
        return [float(one[..., 0].astype(int).mean() - one[..., 1].mean()) for one in pictures]

    seconds: dict[str, float] = {}
    choice = choose_frames(path, 2, policy="query", question="Where is red?", scorer=redness, seconds=seconds)
    assert asked == ["Where is red?"] and len(choice) == 2
    assert 137 <= choice.rows[choice.score.argmax()] < 157
    assert np.ptp(choice.times) >= 29.9 / 4 - 2.0  # not twice the same moment
    assert set(seconds) == {"probe", "choose", "decode", "score"}


def test_a_cache_is_a_source(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", visitor(120, 60, 75), "libx264", X264, rate=10)
    meta = extract(path, frames=4)
    meta.save(tmp_path / "clip.codecmeta.h5")
    from_cache = choose_frames(tmp_path / "clip.codecmeta.h5", 5)
    np.testing.assert_array_equal(from_cache.rows, choose_frames(meta, 5).rows)
    assert not from_cache.exact_cost and choose_frames(path, 5, headers=True).exact_cost


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"frames": 0}, "at least 1"),
        ({"frames": True}, "at least 1"),
        ({"frames": 4, "policy": "best"}, "uniform, keyframes"),
        ({"frames": 4, "tolerance": 2}, "from 0 to 1"),
        ({"frames": 4, "policy": "query"}, "a question and a scorer"),
        ({"frames": 4, "candidates": 2}, "at least as many"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        choose_frames(make_metadata(np.full(20, 10)), **arguments)


def test_running_median_of_a_straight_line_and_of_a_step() -> None:
    line = np.arange(200.0)
    np.testing.assert_allclose(running_median(line, 41)[41:-41], line[41:-41])
    step = np.where(np.arange(200) < 100, 1.0, 3.0)
    assert running_median(step, 21)[[10, 190]].tolist() == [1.0, 3.0]


@pytest.mark.parametrize("policy", TABLE_POLICIES)
def test_readers_take_a_policy(tmp_path: Path, policy: str) -> None:
    """read, extract and the cache mean the frames that choose_frames names, and record how they were asked."""
    path = write_clip(tmp_path / "clip.mp4", visitor(120, 60, 80), "libx264", X264 | {"g": "30"}, rate=10)
    expected = choose_frames(path, 6, policy=policy).rows  # type: ignore[arg-type]
    _, rows, pictures = read(path, 6, policy=policy)  # type: ignore[arg-type]
    assert rows.tolist() == expected.tolist() and len(pictures) == 6
    known = extract(path, frames=6, policy=policy)  # type: ignore[arg-type]
    assert known.residual is not None and known.residual.frame.tolist() == expected.tolist()
    asked = {"frames": 6, "policy": policy} if policy != "uniform" else 6
    assert known.settings["frames"] == asked
    cache = extract_to_file(path, frames=6, policy=policy).path  # type: ignore[arg-type]
    assert extract_to_file(path, frames=6, policy=policy).skipped  # type: ignore[arg-type]
    with load(cache) as meta:
        assert meta.residual is not None and meta.residual.frame.tolist() == expected.tolist()
    if policy != "uniform":
        with pytest.raises(CacheError, match=f"made with --frames 6 --choose {policy}, asked for --frames 6;"):
            extract_to_file(path, frames=6)


def test_a_policy_needs_a_number_of_frames(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", visitor(20, 5, 9), "libx264", X264, rate=10)
    choice = choose_frames(path, 4)
    for call in (
        lambda: extract(path, policy="events"),
        lambda: read(path, rows=[1], policy="events"),
        lambda: read(path, choice, policy="cheap"),
        lambda: read(path, 4, policy="query"),
        lambda: read(path, 4, policy="even"),  # type: ignore[arg-type]
    ):
        with pytest.raises(ValueError, match="policy='"):
            call()


def test_exact_events_are_the_cuts_of_the_sample() -> None:
    """truth.json says at which frames the scenes of the clip begin; packets alone find some of them."""
    path = SAMPLES / "cuts.mp4"
    truth = json.loads((SAMPLES / "truth.json").read_text())["cuts.mp4"]["cuts"]
    found = packet_events(path, exact=True)
    assert [one.cut for one in found] == [True] * len(truth)
    assert all(one.first - 2 <= cut <= one.last + 2 for one, cut in zip(found, truth, strict=True)), found
    with pytest.raises(ValueError, match="of all frames, and there are none"):
        packet_events(extract(path, frames=4), exact=True)


def test_the_page_of_events_shows_each(tmp_path: Path) -> None:
    page = tmp_path / "events.html"
    done = CliRunner().invoke(main, ["events", str(SAMPLES / "cuts.mp4"), "--exact", "--json", "--html", str(page)])
    assert done.exit_code == 0, done.output
    events = json.loads(done.stdout)["events"]
    parsed = Page(page.read_text())
    captions = parsed.texts("figcaption")
    assert len(captions) == len(events) == len([one for one in parsed.elements if one[0] == "img"]) == 4
    for caption, event in zip(captions, events, strict=True):
        assert caption == f"{event['start']:.2f} s to {event['stop']:.2f} scut, strength {event['strength']:.1f}"
    done = CliRunner().invoke(main, ["events", str(tmp_path / "a.h5"), "--html", str(page)])
    assert done.exit_code == 1 and "pass that" in done.stderr


def test_the_picture_of_an_event_is_its_cheapest() -> None:
    path = SAMPLES / "cuts.mp4"
    found = packet_events(path, least=1)
    known, packets = probe_with_packets(path)
    cost = decode_cost(known.frames, known.stream, packets)
    rows = cheapest_rows(Candidates(known.stream, known.frames, packets, None, cost), found)
    for event, row in zip(found, rows.tolist(), strict=True):
        assert event.first <= row <= event.last
        assert cost.alone[row] == cost.alone[event.first : event.last + 1].min()


@pytest.mark.parametrize("seed", range(20))
def test_gaps_are_halved_from_the_longest_on(seed: int) -> None:
    """As a plain search for the longest gap finds them, times that repeat and equal gaps among them."""
    rng = np.random.default_rng(seed)
    time = np.cumsum(rng.integers(0, 3, 60)) / 10.0
    reasons: Reasons = {int(row): ("keyframe", 0.0) for row in rng.permutation(60)[: rng.integers(1, 6)]}
    want = set(reasons)
    while len(want) < 25:
        bounds = [-1, *sorted(want), 60]
        spans = [(a, b, time[min(b, 59)] - time[max(a, 0)]) for a, b in pairwise(bounds) if b - a > 1]
        low, high, _ = max(spans, key=lambda one: one[2])  # the first of equal ones
        middle = (time[max(low, 0)] + time[min(high, 59)]) / 2
        want.add(min(range(low + 1, high), key=lambda row: abs(time[row] - middle)))
    _fill(reasons, SimpleNamespace(frames=SimpleNamespace(time=time)), 25, "gap")  # type: ignore[arg-type]
    assert sorted(reasons) == sorted(want)
