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
from tests.support.page import Page


@pytest.fixture(scope="module")
def answers(folder, clip):  # noqa: F811
    model = models.load(str(folder))
    return [model.ask(clip, QUESTION, strategy=name, max_new_tokens=3) for name in ("metom", "none")]


def test_answers_tokens_and_seconds_are_those_reported(answers, clip):  # noqa: F811
    answers = [replace(answers[0], text="a <b>red</b> & \u05d0 one"), answers[1]]
    parsed = Page(_page(clip, answers))
    assert parsed.texts("p", "question") == [f"Question {QUESTION}"]
    assert parsed.texts("p", "answer") == [f"{one.method} {one.text}" for one in answers]
    rows = parsed.rows()
    for title, name in (("visual tokens, kept", "tokens_kept"), ("KV cache, bytes", "kv_bytes"), ("frames", "frames")):
        assert rows[title] == " ".join(f"{getattr(one, name):,}" for one in answers), title
    stages = [one for one in parsed.texts("td") if one.endswith(" s")]
    expected = [f"{one.seconds[stage]:.3f} s" for stage in answers[0].seconds for one in answers]
    assert expected in [stages[at : at + len(expected)] for at in range(len(stages))]
    heads = parsed.texts("h2")
    assert heads[0] == "Question and answer" and heads.index("What it cost") > heads.index("What happens when")


def test_what_was_kept_is_drawn_for_every_frame(answers, clip):  # noqa: F811
    answer = answers[0]
    parsed = Page(_page(clip, answers[:1]))
    assert answer.trace.counts.sum() == answer.trace.kept.sum() == answer.tokens_kept < 128
    captions = parsed.texts("figcaption")
    assert len(captions) == 32  # 16 under what was kept, 16 under their density
    assert [int(re.search(r": (\d+) of 16 tokens", one)[1]) for one in captions[:16]] == answer.trace.counts.tolist()
    assert [int(re.search(r"tokens(\d+) of 16 cells", one)[1]) for one in captions[:16]] == answer.trace.counts.tolist()
    for image, kept in zip([one for one in parsed.elements if one[0] == "img"], answer.trace.kept, strict=False):
        file = b64decode(image[1]["src"].partition(",")[2])
        picture = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_GRAYSCALE).astype(float)
        rows, columns = (np.linspace(0, side, 5).astype(int) for side in picture.shape)
        spread = [
            picture[rows[r] + 8 : rows[r + 1] - 8, columns[c] + 8 : columns[c + 1] - 8].std()
            for r in range(4)
            for c in range(4)
        ]  # the clip is noise; a veil leaves a fifth of it
        clear = np.array(spread) > 4
        assert np.array_equal(clear, kept), (np.round(spread, 1), kept)


def test_run_writes_the_page_after_the_answer(folder, clip, tmp_path):  # noqa: F811
    def call(*arguments):
        common = ["run", str(clip), QUESTION, "--model", str(folder), "--max-new-tokens", "2", "--frames", "4"]
        return CliRunner().invoke(main, [*common, *arguments])

    out = tmp_path / "o.html"
    done = call("--json", "--compare", "--html", str(out))
    assert done.exit_code == 0 and "wrote" in done.stderr, done.output
    row, parsed = json.loads(done.stdout), Page(out.read_text())
    assert parsed.rows()["visual tokens, kept"] == f"{row['tokens_kept']} {row['plain']['tokens_kept']}"
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
    assert "let every token into" in out.read_text()


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium here: the layout is not looked at")
@pytest.mark.parametrize("width, dark", [(360, True), (1280, False)])
def test_the_page_of_an_answer_in_a_browser(answers, clip, tmp_path, width, dark):  # noqa: F811
    long = replace(answers[0], text="word " * 80 + "x" * 200)
    check_layout(look(tmp_path, _page(clip, [long, answers[1]]), width, dark=dark), width, dark)


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
