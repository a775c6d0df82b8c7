"""F10: any colour matrix gives a picture. F9: pictures of any side data. F19: what nobody wants costs nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import codecmeta
from codecmeta.decoding import estimate
from tests.support.clips import filter_packets, pan, single_thread_export, write_clip
from tests.support.fault_files import fault_file


@pytest.mark.parametrize("matrix", [1, 5, 6, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17])
def test_a_picture_by_every_matrix(matrix: int, tmp_path: Path) -> None:
    """All of ITU-T H.273, Table 4, that mean YCbCr of some kind: no channel is far from what was encoded."""
    given = pan(6, (96, 64), (2, 1))
    clip = write_clip(tmp_path / "x.mp4", given, options={"crf": "5"})
    path = filter_packets(clip, tmp_path / "y.mp4", f"h264_metadata=matrix_coefficients={matrix}")
    meta, rows, pictures = codecmeta.read(path, 3)
    for row, picture in zip(rows, pictures, strict=True):
        assert np.abs(picture.astype(int) - given[row]).mean() < 12
    assert ("pictures" in meta.capability) == (matrix in (8, *range(10, 18)))


def test_side_data_without_a_name() -> None:
    path = fault_file("colors_hdr_srgb.avif")
    meta, rows, pictures = codecmeta.read(path, 1)
    assert len(rows) == 1 and pictures.shape == (1, 200, 200, 3)
    assert len(codecmeta.extract(path).frames) == 1


def test_no_estimate_for_frames_that_nobody_wants(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 60 frames in one GoP three are wanted: luma is taken of those and of what they refer to."""
    path = write_clip(tmp_path / "x.mp4", pan(60, (96, 64), (2, 1)), "mpeg4", {"g": "100"})
    taken: list[int] = []
    original = estimate.luma_plane
    monkeypatch.setattr(estimate, "luma_plane", lambda frame: taken.append(1) or original(frame))
    some = codecmeta.extract(path, frames=3)
    assert len(taken) <= 3 * 2
    whole = codecmeta.extract(path)
    assert some.residual is not None and whole.residual is not None
    for row in some.residual.frame:
        assert np.array_equal(some.residual.of(row), whole.residual.of(row))
    assert len(single_thread_export(path)) == 60
