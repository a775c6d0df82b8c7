"""Side data is handed out without keeping frames alive, and a kind nobody has a name for stops nothing."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from codecmeta.container import side_data
from codecmeta.decoding import exported
from tests.support.clips import pan, write_clip
from tests.support.fault_files import fault_file


def frames_of(path: Path) -> Any:
    container = av.open(str(path))
    video = container.streams.video[0]
    video.codec_context.thread_type = "NONE"
    video.codec_context.options = {"flags2": "+export_mvs", "export_side_data": "venc_params"}
    return container.decode(video)


def alive() -> int:
    """How many decoded frames there are in this process."""
    return sum(type(one) is av.VideoFrame for one in gc.get_objects())


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("side") / "x.mp4", pan(12, (64, 48), (2, 0)))


def test_frames_are_freed_without_the_garbage_collector(clip: Path) -> None:
    """Only the decoder holds a frame, its next; PyAV's `frame.side_data` would keep all twelve."""
    gc.collect()
    gc.disable()
    before, count = alive(), 0
    try:
        for frame in frames_of(clip):
            assert exported.exported_qp(frame) is not None
            exported.exported_vectors(frame)
            side_data.display_matrix(frame)
            count += 1
        del frame
        assert count == 12 and alive() <= before + 1
    finally:
        gc.enable()


def test_values_are_those_of_pyav(clip: Path) -> None:
    for frame in frames_of(clip):
        theirs = frame.side_data.get("MOTION_VECTORS")
        ours = exported.exported_vectors(frame)
        if theirs is None:
            assert ours is None
            continue
        assert ours is not None
        for name in ("source", "w", "h", "dst_x", "dst_y", "motion_x", "motion_y"):
            assert np.array_equal(ours[name], theirs.to_ndarray()[name])


def test_an_unknown_kind_is_not_fatal() -> None:
    """FFmpeg gives this picture's frame a kind (EXIF) that PyAV 18 has no name for."""
    frame = next(frames_of(fault_file("colors_hdr_srgb.avif")))
    assert exported.exported_vectors(frame) is None
    assert side_data.display_matrix(frame) is None
