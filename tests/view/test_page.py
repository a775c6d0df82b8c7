"""The page: well formed, whole in itself, and every number on it that of the metadata."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from codecmeta.cli import main
from codecmeta.extraction.choose import choose_frames
from codecmeta.view import draw
from codecmeta.view.markup import node, render
from codecmeta.view.overview import captions, overview, overview_of_file
from codecmeta.view.page import page
from tests.support.browser import CHROMIUM, check_layout, look, print_pages
from tests.support.page import Page
from tests.support.synthetic import make_metadata

SAMPLES = Path(__file__).resolve().parents[2] / "data_samples"


@pytest.fixture(scope="module")
def cuts() -> tuple[Any, str]:
    view = overview_of_file(SAMPLES / "cuts.mp4")
    return view, page(view)


def test_the_page_is_whole_in_itself(cuts: tuple[Any, str]) -> None:
    parsed = Page(cuts[1])
    assert cuts[1].startswith("<!DOCTYPE html>") and not re.search(
        r"https?:|//[a-z]|@import|url\(", re.sub(r"base64,[^\"]*", "", cuts[1])
    )
    for tag, attributes, _ in parsed.elements:
        assert tag not in {"script", "link", "iframe", "object", "embed", "base", "form", "a"}
        assert not any(name.startswith("on") or name in {"href", "srcset", "xlink:href"} for name in attributes)
        assert attributes.get("src", "data:image/jpeg;base64,").startswith("data:image/jpeg;base64,")
    policy = [one[1]["content"] for one in parsed.elements if one[1].get("http-equiv") == "Content-Security-Policy"]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]


def test_facts_and_capability_are_those_of_the_metadata(cuts: tuple[Any, str]) -> None:
    view, text = cuts
    rows = Page(text).rows()
    frames = 100  # truth.json
    assert rows["frames"].startswith(f"{frames} (") and rows["displayed size"] == "320 x 180 pixels"
    assert rows["packet bytes"].startswith(f"{int(view.timeline.bytes.sum()):,} bytes")
    assert rows["tokens"].startswith(f"{int(view.timeline.budgets.sum()):,}: 30% of a grid of 20 x 11")
    assert view.timeline.budgets.sum() == int(0.3 * 20 * 11 * 8)
    for signal, entry in view.summary["capability"].items():
        row = rows[signal.replace("_", " ")]
        assert entry["level"] in row and row.endswith(entry["why"])


def test_facts_are_the_same_in_text_json_picture_and_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever JSON says is what people read, with the separators of thousands that they read."""
    written: list[str] = []
    write = draw._write
    monkeypatch.setattr(draw, "_write", lambda *given, **how: written.append(given[1]) or write(*given, **how))
    source = SAMPLES / "long.mp4"
    files = [tmp_path / f"o{suffix}" for suffix in (".json", ".txt", ".png", ".html")]
    done = CliRunner().invoke(main, ["show", str(source), "--frames", "2", *(f"-o{one}" for one in files)])
    assert done.exit_code == 0, done.output
    facts, text, parsed = json.loads(files[0].read_text()), files[1].read_text(), Page(files[3].read_text())
    table = dict(re.split("  +", line.strip(), maxsplit=1) for line in text.splitlines()[1:] if "  " in line.strip())
    rows = parsed.rows()
    assert facts["frames"] == 5760 and facts["seconds"] == 240  # truth.json
    types = ", ".join(f"{count:,} {kind}" for kind, count in facts["picture_types"].items())
    size_of = facts["packet_bytes"]
    size, gops = f"{facts['width']} x {facts['height']} pixels", facts["gops"]
    for name, words in {
        "codec": f"h264 {facts['profile']}, {facts['pixel_format']}",
        "displayed size": size,
        "frame rate": f"{facts['average_rate']:.3f} frames/s on average",
        "duration": "240 s",
        "frames": f"5,760 ({types})",
        "corrupt frames": f"{facts['corrupt_frames']}",
        "packet bytes": f"{size_of:,} bytes, {size_of / 30000:.1f} kbit/s",
        "groups of pictures": f"{gops['count']:,}, of {gops['shortest']:,} to {gops['longest']:,} frames",
        **{name.replace("_", " "): f"{one['level']} {one['why']}" for name, one in facts["capability"].items()},
    }.items():
        assert " ".join(rows[name].split()[-len(words.split()) :]) == words, name
        assert " ".join(table[name.replace(" ", "_") if name not in table else name].split()) == words, name
    line = f"h264 {facts['profile']}, {size}, 5,760 frames, 240 s, {size_of:,} bytes in {gops['count']:,} GoPs"
    assert line in written and line in parsed.texts("p", "lead")


def test_every_bar_is_a_packet(cuts: tuple[Any, str]) -> None:
    view, text = cuts
    parsed = Page(text)
    told = [one for one in parsed.texts("title")[1:] if one.startswith("frame ")]  # the first one is the page's
    sizes = [int(re.search(r"([\d,]+) bytes", one)[1].replace(",", "")) for one in told]
    assert len(told) == 100 and sizes == view.timeline.bytes.sum(axis=1).tolist()
    assert sum(sizes) == view.summary["packet_bytes"]
    letters = [re.search(r": (\w) ", one)[1] for one in told]
    assert {kind: letters.count(kind) for kind in "IPB"} == view.summary["picture_types"]
    assert parsed.texts("ol", "bars")[0].count("bytes") == 100
    heights: dict[int, list[float]] = {}
    for _, attributes, _ in parsed.elements:
        kind = re.fullmatch(r"t(\d)", attributes.get("class", ""))
        if kind and "d" in attributes:
            boxes = re.findall(r"M([\d.]+) ([\d.]+)h[\d.]+V([\d.]+)h-[\d.]+z", attributes["d"])
            if boxes:
                heights[int(kind[1])] = [float(low) - float(top) for _, low, top in boxes]
    for column, found in heights.items():
        own = view.timeline.bytes[:, column][view.timeline.bytes[:, column] > 0]
        assert np.allclose(found, 200 * np.sqrt(own / view.timeline.bytes.max()), atol=0.02)
    assert sum(map(len, heights.values())) == 100


def test_events_are_at_the_cuts_that_were_made(cuts: tuple[Any, str]) -> None:
    parsed = Page(cuts[1])
    assert re.findall(r"frame (\d+)", parsed.texts("ul", "events")[0]) == ["17", "41", "58", "80"]  # truth.json
    lines = [float(one[1]["x1"]) for one in parsed.elements if one[0] == "line" and one[1]["class"] == "event"]
    assert np.allclose(lines, [10 * cut for cut in (17, 41, 58, 80)] * 3, atol=0.02)  # a thousandth of 100 frames


def test_tokens_and_pictures_are_the_same_as_in_the_png(cuts: tuple[Any, str]) -> None:
    view, text = cuts
    parsed = Page(text)
    assert [int(one) for one in parsed.texts("span", "value")] == view.timeline.budgets.tolist()
    assert parsed.texts("figcaption") == ["".join(captions(view, index)) for index in range(8)]
    files = [one[1]["src"].partition(",")[2] for one in parsed.elements if one[0] == "img"]
    for index, file in enumerate(files):
        picture = cv2.imdecode(np.frombuffer(b64decode(file), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        drawn = draw.panel(view.samples, index, picture.shape[1], picture.shape[0])
        assert np.abs(picture.astype(int) - drawn).mean() < 6  # JPEG
    alts = [one[1]["alt"] for one in parsed.elements if one[0] == "img"]
    merged = [int((np.bincount(labels.ravel()) > 1).sum()) for labels in view.samples.regions]
    assert [int(re.search(r"share (\d+) tokens", one)[1]) for one in alts] == merged
    assert "outlined and hatched: patches that may share one token" in text  # nothing was merged: no model was asked


def test_every_plot_has_a_title_and_a_description(cuts: tuple[Any, str]) -> None:
    view, text = cuts
    plots = [one for one in Page(text).elements if one[0] == "svg"]
    assert len(plots) == 3
    for _, attributes, words in plots:
        assert attributes["role"] == "img" and words[0] in attributes["aria-label"] and words[1]
    for column, letter in enumerate("IPB"):
        count, size = view.timeline.pictures[:, column].sum(), view.timeline.bytes[:, column].sum()
        assert f"{count:,} {letter} pictures with {size:,} bytes" in plots[0][1]["aria-label"]


HOSTILE = [
    "<script>alert(1)</script>.mp4",
    "\"onload='x' <img src=x onerror=y>&amp;.mp4",
    "\u05e9\u05dc\u05d5\u05dd \u202egnp.exe.mp4",
    "\u4e2d\u6587 \U0001f600 \udcff \x00\x1b[31m.mp4",
    "</style></title><!-- ]]>.mp4",
]


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_names_are_text_whatever_they_hold(name: str) -> None:
    meta = make_metadata([700, 100], types="IP")
    view = overview(meta, np.arange(2), None)
    plain = [one[:2] for one in Page(page(view)).elements]
    capability = {"residual": {"level": "none", "why": name}, name: {"level": name, "why": ""}}
    view = replace(view, summary={**view.summary, "file": name, "codec": name, "capability": capability})
    text = page(view)
    text.encode()  # no half characters are left
    parsed = Page(text)
    shown = re.sub("[\x00\x1b\u202e\udcff]", "\ufffd", name)
    assert parsed.texts("h1") == [shown] and parsed.texts("title")[0] == f"{shown} - codecmeta"
    assert [tag for tag, _ in plain] == [one[0] for one in parsed.elements]  # not one element more
    assert not any(one in text for one in "\x00\x1b\u202e")


def test_markup_escapes_text_and_attributes() -> None:
    made = render(node("p", "a < b & c ", node("b", "!"), " d", title="\"'<>&", hidden=None, data_x=1, class_="y"))
    assert made == '<p title="&quot;\'&lt;&gt;&amp;" data-x="1" class="y">a &lt; b &amp; c <b>!</b> d</p>' or (
        Page(made).elements[0] == ("p", {"title": "\"'<>&", "data-x": "1", "class": "y"}, ["a < b & c ", "!", " d"])
    )


def test_the_size_is_bounded_whatever_the_length() -> None:
    rng = np.random.default_rng(0)
    count = 18_000
    meta = make_metadata(rng.integers(50, 90_000, count), types="IPBB" * (count // 4), keyframes=np.arange(0, count, 4))
    rows = np.arange(0, count, 180)
    noise = rng.integers(0, 256, (48, 64, 3), np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    noise = noise ^ rng.integers(0, 256, noise.shape, np.uint8)
    text = page(overview(meta, rows, [noise] * len(rows)))
    assert len(text.encode()) < 2_000_000
    parsed = Page(text)
    assert len([one for one in parsed.elements if one[0] == "img"]) == 64 and "64 of 100 sampled frames" in text
    assert "frames 17950 to 17999" in parsed.texts("ol", "bars")[0]


def test_show_writes_the_page_of_a_video_and_of_a_cache_alone(tmp_path: Path) -> None:
    clip = tmp_path / "a.mp4"
    clip.write_bytes((SAMPLES / "pan.mp4").read_bytes())
    done = CliRunner().invoke(main, ["show", str(clip), "--html", str(tmp_path / "a.html")])
    assert done.exit_code == 0 and "72" in Page((tmp_path / "a.html").read_text()).rows()["frames"]
    CliRunner().invoke(main, ["extract", str(clip), "-o", str(tmp_path / "c.h5"), "--frames", "3"])
    clip.unlink()
    done = CliRunner().invoke(main, ["show", str(tmp_path / "c.h5"), "--html", str(tmp_path / "c.html")])
    parsed = Page((tmp_path / "c.html").read_text())
    assert done.exit_code == 0 and "a.mp4 is not beside the cache" in parsed.texts("p", "note")[0]
    assert len([one for one in parsed.elements if one[0] == "img"]) == 3


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium here: layout, contrast and printing are not looked at")
@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_page_in_a_browser(cuts: tuple[Any, str], tmp_path: Path, width: int, dark: bool) -> None:
    check_layout(look(tmp_path, cuts[1], width, dark=dark), width, dark)


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium here: printing is not looked at")
def test_many_samples_leave_room_on_a_telephone(tmp_path: Path) -> None:
    meta = make_metadata(np.arange(16) ** 2 * 100 + 500, types="IPPPPPPP" * 2, size=(1280, 720))
    check_layout(look(tmp_path, page(overview(meta, np.arange(16), None)), 360), 360, False)


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium here: printing is not looked at")
def test_the_page_prints_on_a_few_sheets(cuts: tuple[Any, str], tmp_path: Path) -> None:
    assert 2 <= print_pages(tmp_path, cuts[1]) <= 4


def test_chosen_frames_say_why(tmp_path: Path) -> None:
    """The words under each frame of page and picture are those of the choice."""
    path = SAMPLES / "cuts.mp4"
    choice = choose_frames(path, 6)
    assert set(choice.why) == {"event", "floor"}
    done = CliRunner().invoke(
        main, ["show", str(path), "--choose", "events", "--frames", "6", "--html", str(tmp_path / "o.html")]
    )
    assert done.exit_code == 0, done.output
    found = Page((tmp_path / "o.html").read_text()).texts("figcaption")
    for caption, time, why, score in zip(found, choice.times, choice.why, choice.score, strict=True):
        assert caption.startswith(f"{time:.2f} s") and caption.endswith(
            f"chosen: {why}" + (f" {score:.2f}" if score else "")
        )
    view = overview_of_file(path, 6, "events")
    assert [captions(view, at)[2] for at in range(6)] == [
        f"chosen: {choice.reasons[row]}" for row in choice.rows.tolist()
    ]
    higher = [draw._panels(one).shape[0] for one in (replace(view, samples=replace(view.samples, why=())), view)]
    assert higher[1] - higher[0] == 2 * 20  # a line more under each of two rows
    done = CliRunner().invoke(main, ["show", str(path), "--choose", "events"])
    assert done.exit_code == 2 and "needs a picture or page" in done.stderr
