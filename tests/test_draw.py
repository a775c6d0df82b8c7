"""The pictures: what is drawn where, told from the pixels."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from click.testing import CliRunner

from codecmeta import draw
from codecmeta.cli import main

from clips import pan, write_clip
from synthetic import make_metadata


def test_heat_ranks_patches_and_lines_surround_merged_regions() -> None:
    grey = np.full((40, 80, 3), 100, np.uint8)
    density = np.array([[0.0, 1.0]], np.float32)
    heated = draw._heated(grey, density)
    assert heated[:, 50:].sum() > heated[:, :30].sum()  # viridis is brighter where there is more
    labels = np.array([[0, 0, 1, 2]], np.int32)  # the first two patches are one region, the others stand alone
    outlined = draw._outlined(np.zeros((40, 80, 3), np.uint8), labels)
    white = (outlined == 255).all(axis=2)
    assert white[:, 40].all() and not white[:, :40].any() and not white[:, 41:].any()


def test_the_timeline_shows_bytes_by_type_and_the_budget() -> None:
    meta = make_metadata([10_000, 100, 1000, 100], types="IBPB")
    picture = draw.timeline(meta, np.array([0, 2]), np.array([30, 10]), [2])
    heights = {}
    for row, kind in enumerate("IBPB"):
        column = 84 + int((row + 0.25) * (1280 - 24 - 60 - 84) / 4)
        colour = draw.TYPE_COLOURS[ord(kind)]
        heights[row] = int((picture[:, column] == colour).all(axis=1).sum())
    assert heights[0] > heights[2] > heights[1] > 0
    assert abs(heights[2] / heights[0] - 3 / 4) < 0.05  # logarithmic: 1000 is three quarters of the way to 10,000
    assert ((picture == draw.EVENT_COLOUR).all(axis=2)).any()


def test_show_writes_a_picture(tmp_path: Path, made: Path) -> None:
    clip = write_clip(made / "drawn.mp4", pan(30, (160, 96), (2, 0)), options={"x264-params": "bframes=2:keyint=10"})
    done = CliRunner().invoke(main, ["show", str(clip), "--png", str(tmp_path / "o.png")])
    assert done.exit_code == 0, done.output
    picture = cv2.imread(str(tmp_path / "o.png"))
    assert picture.shape[1] == 1280 and (picture != 255).mean() > 0.1
    for kind in "IPB":
        assert (picture == draw.TYPE_COLOURS[ord(kind)]).all(axis=2).sum() > 100
    CliRunner().invoke(main, ["extract", str(clip), "-o", str(tmp_path / "c.h5")])
    done = CliRunner().invoke(main, ["show", str(tmp_path / "c.h5"), "--png", str(tmp_path / "p.png")])
    assert done.exit_code == 1 and "pass the video itself" in done.stderr
    done = CliRunner().invoke(main, ["show", str(clip), "--png", str(tmp_path / "no" / "folder.png")])
    assert done.exit_code == 1 and "cannot be written" in done.stderr
