"""The page of `codecmeta run`: the answer, what was kept, and what it took, as the model reported them."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from dataclasses import replace

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

import codecmeta
from codecmeta import models
from codecmeta.cli import main
from codecmeta.cli.run import _page
from codecmeta.view.draw import panel
from codecmeta.view.overview import overview_of_run
from tests.support.asking import QUESTION
from tests.support.browser import CHROMIUM, check_layout, look
from tests.support.clips import real_clip
from tests.support.page import Page


@pytest.fixture(scope="module")
def answers(folder, clip):  # noqa: F811
    model = models.load(str(folder))
    return [model.ask(clip, QUESTION, strategy=name, max_new_tokens=3) for name in ("metom", "none")]


WAITED = {"imports": 1.0, "model": 2.0, "kernels": 3.0, "all": 10.0}


def test_answers_tokens_and_seconds_are_those_reported(answers, clip):  # noqa: F811
    answers = [replace(answers[0], text="a <b>red</b> & \u05d0 one"), answers[1]]
    parsed = Page(_page(clip, answers, WAITED))
    assert parsed.texts("h1") == [QUESTION]
    assert parsed.texts("p", "answer") == [f"{one.method} {one.text}" for one in answers]
    rows = parsed.rows()
    for title, name in (("tokens, kept", "tokens_kept"), ("KV cache, bytes", "kv_bytes")):
        assert rows[title] == " ".join(f"{getattr(one, name):,}" for one in answers), title
    stages = [one for one in parsed.texts("td") if one.endswith(" s")]
    expected = [f"{one.seconds[stage]:.3f} s" for stage in answers[0].seconds for one in answers]
    assert expected in [stages[at : at + len(expected)] for at in range(len(stages))]
    heads = parsed.texts("h2")
    assert heads[0] == "What was kept" and heads.index("What it cost") > heads.index("What happens when")


def test_what_was_kept_is_drawn_for_every_frame(answers, clip):  # noqa: F811
    answer = answers[0]
    parsed = Page(_page(clip, answers[:1], WAITED))
    assert answer.trace.counts.sum() == answer.trace.kept.sum() == answer.tokens_kept < 128
    captions = parsed.texts("figcaption")
    assert len(captions) == 32  # 16 under what was kept, 16 under their density
    assert [int(re.search(r": (\d+) of 16 tokens", one)[1]) for one in captions[:16]] == answer.trace.counts.tolist()
    assert [int(re.search(r"tokens(\d+) of 16 cells", one)[1]) for one in captions[:16]] == answer.trace.counts.tolist()
    images = [one for one in parsed.elements if one[0] == "img"][:16]
    for image, kept, homes in zip(images, answer.trace.kept, answer.trace.homes, strict=True):
        file = b64decode(image[1]["src"].partition(",")[2])
        picture = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR).astype(float)
        rows, columns = (np.linspace(0, side, 5).astype(int) for side in picture.shape[:2])
        blue = [
            np.median(np.diff(picture[rows[r] + 8 : rows[r + 1] - 8, columns[c] + 8 : columns[c + 1] - 8], axis=2))
            for r in range(4)
            for c in range(4)
        ]  # the clip is grey noise; a fold turns it blue
        assert np.array_equal(np.array(blue) < -10, (homes >= 0) & ~kept), np.round(blue, 1)


def test_a_damaged_video_has_a_page_that_says_why_its_frames_were_chosen(folder):  # noqa: F811
    """Its packets promise 63 frames, of which a decoder shows 49."""
    path = real_clip("vali_bad_packets.mkv")
    answer = models.load(str(folder)).ask(path, QUESTION, choose="events", max_new_tokens=1)
    np.testing.assert_array_equal(np.unique(answer.trace.rows), answer.choice.rows)
    np.testing.assert_array_equal(answer.choice.times, answer.trace.meta.frames.time[answer.choice.rows])
    assert "chosen: " in _page(path, [answer], WAITED)


def test_the_table_says_how_many_tokens_went_where(answers, clip):  # noqa: F811
    trace = answers[0].trace
    parsed = Page(_page(clip, answers[:1], WAITED))
    table = [text for tag, given, text in parsed.elements if given.get("class") == "folds"]
    rows = "".join(table[0]).split("where they went")[1]
    counts = np.zeros((16, 16), int)
    for at, home in enumerate(trace.homes.ravel().tolist()):
        counts[at // 16, home // 16] += home not in (-1, at)
    for at, row in enumerate(counts):
        words = ", ".join(
            f"{n} into {'itself' if to == at else f'{trace.meta.frames.time[trace.rows[to]]:.2f} s'}"
            for to, n in enumerate(row) if n
        )  # fmt: skip
        assert f"{row.sum()}{words}" in rows
    assert answers[0].as_dict()["tokens_folded"] == counts.sum() > 0


def test_facts_are_the_same_in_text_json_and_page(folder, clip, tmp_path):  # noqa: F811
    files = [tmp_path / name for name in ("a.json", "a.txt", "a.html")]
    common = ["run", str(clip), QUESTION, "--model", str(folder), "--max-new-tokens", "2", "--compare"]
    done = CliRunner().invoke(main, [*common, *(f"-o{one}" for one in files)])
    assert done.exit_code == 0, done.output
    row, text, parsed = json.loads(files[0].read_text()), files[1].read_text(), Page(files[2].read_text())
    both, rows, lines = (row, row["plain"]), parsed.rows(), text.splitlines()
    table = {line.split("  ")[0]: line.split()[-2:] for line in lines if "  " in line}
    for line in """tokens, full: tokens_full: ,
        tokens, kept: tokens_kept: ,
        tokens, folded into these: tokens_folded: ,
        kept of all: share_kept: .1%
        budget: budget: .1%
        tokens per layer, mean: tokens_llm_mean: ,.1f
        encoder tokens, full: encoder_full: ,
        encoder tokens, kept: encoder_tokens: ,
        KV cache, bytes: kv_bytes: ,""".splitlines():
        title, key, how = line.strip().split(": ")
        wanted = [format(one[key], how) for one in both]
        assert table[title] == wanted == rows[title].split(), title
    stages = {name.partition(":")[0]: cells for name, cells in rows.items()}
    for stage in row["seconds"]:
        wanted = [f"{one['seconds'][stage]:.3f}" for one in both]
        assert table["seconds until the first token" if stage == "first_token" else f"seconds, {stage}"] == wanted
        name = "until the first token, all before included" if stage == "first_token" else stage
        assert stages[name].replace(" s", "").split() == wanted, stage
    for index, one in enumerate(both):
        assert lines[index] == f"{one['method']}: {one['answer']}"
        assert parsed.texts("p", "answer")[index] == f"{one['method']} {one['answer']}"
    times = codecmeta.probe(clip).frames.time
    wanted = (
        f"Looked at 16 of {len(times)} frames, {min(row['times']):.2f} s to {max(row['times']):.2f} s, chosen by "
        "events. "
    )
    assert set(row["times"]) <= set(times.round(3).tolist()) and row["frames_of_video"] == len(times)
    assert lines[2].startswith(wanted) and parsed.texts("p", "small")[0] == lines[2]
    assert (
        f"{row['tokens_kept']} of 256 visual tokens" in lines[2] and f"with {row['tokens_folded']} others" in lines[2]
    )
    assert f"{lines[-1]}." in parsed.texts("p", "note") and f"waited {row['waited']['all']:.1f} s" in lines[-1]


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium here: the layout is not looked at")
def test_on_a_telephone_the_first_kept_picture_is_within_a_screen(answers, clip, tmp_path):  # noqa: F811
    note = "the built-in model knows synthetic clips of moving shapes and nothing else; about any other film its "
    told = [
        replace(one, model="small", note=note + "answer means nothing, and --model takes others") for one in answers
    ]
    seen = look(tmp_path, _page(clip, told, WAITED), 360)
    left, top, right, bottom = seen["places"][0]
    assert 0 <= left < right <= 360 and bottom <= 640 < seen["height"]
    assert all(word["box"][1] < top for word in seen["texts"] if word["text"] in (QUESTION, told[0].text))


def test_run_writes_the_page_after_the_answer(folder, clip, tmp_path):  # noqa: F811
    def call(*arguments):
        common = ["run", str(clip), QUESTION, "--model", str(folder), "--max-new-tokens", "2", "--frames", "4"]
        return CliRunner().invoke(main, [*common, *arguments])

    out = tmp_path / "o.html"
    done = call("--json", "--compare", "--html", str(out))
    assert done.exit_code == 0 and "wrote" in done.stderr, done.output
    row, parsed = json.loads(done.stdout), Page(out.read_text())
    assert parsed.rows()["tokens, kept"] == f"{row['tokens_kept']} {row['plain']['tokens_kept']}"
    assert "trace" not in row and "plan" not in row
    (tmp_path / "link.html").symlink_to(clip)
    for target, reason in (
        (clip, "expected .html"),
        (tmp_path / "link.html", "not overwritten"),
        (tmp_path / "no" / "o.html", "cannot be written"),
    ):
        done = call("--html", str(target))
        assert done.exit_code == 1 and reason in done.stderr and done.stderr.count("\n") == 1 and not done.stdout
    call("--method", "none", "--html", str(out))
    assert "let every visual token into" in out.read_text()


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium here: the layout is not looked at")
@pytest.mark.parametrize("width, dark", [(360, True), (1280, False)])
def test_the_page_of_an_answer_in_a_browser(answers, clip, tmp_path, width, dark):  # noqa: F811
    long = replace(answers[0], text="word " * 80 + "x" * 200)
    check_layout(look(tmp_path, _page(clip, [long, answers[1]], WAITED), width, dark=dark), width, dark)


def test_positions_of_two_pictures_show_the_first_and_mean_both(clip):  # noqa: F811
    meta, rows, pictures = codecmeta.read(clip, 8)
    counts, kept = np.array([4, 1, 2, 3]), np.zeros((4, 16), bool)
    for at, count in enumerate(counts):
        kept[at, :count] = True
    view = overview_of_run(
        meta, rows, pictures, counts=counts, kept=kept, regions=None, tokens=(4, 4), view=(16, 0, 112, 96), budget=""
    )
    every = codecmeta.patch_density(meta, rows, (4, 4), view=(16, 0, 112, 96))
    assert np.allclose(view.samples.density, (every[::2] + every[1::2]) / 2)
    assert np.array_equal(view.samples.pictures, pictures[::2]) and view.samples.rows.tolist() == rows[::2].tolist()
    assert view.timeline.times.tolist() == meta.frames.time[rows[::2]].tolist()
    drawn = panel(replace(view.samples, density=None), 0, 96, 96)  # the middle of 128 pixels, as the model saw it
    assert np.array_equal(drawn, pictures[0][:, 16:112])
