"""F1, F2, F18: orientation by the container's matrix, whichever packet comes out first, or by the stream itself."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

import codecmeta
from codecmeta.decoding.pictures import read_pictures
from tests.support.clips import filter_packets, pan, write_clip
from tests.support.fault_files import MATRICES, F, fault_file, with_matrix

WIDTH, HEIGHT = 96, 64


@pytest.fixture(scope="module")
def upright(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("turned") / "upright.mp4"
    return write_clip(path, pan(12, (WIDTH, HEIGHT), (3, 1)), options={"x264-params": "keyint=6:bframes=2"})


def turned(picture: np.ndarray, matrix: tuple[int, ...]) -> np.ndarray:
    """ISO/IEC 14496-12, 8.3.2, pixel by pixel."""
    a, b, c, d = (matrix[at] // F for at in (0, 1, 3, 4))
    rows, columns = np.indices(picture.shape[:2])
    x, y = a * columns + c * rows, b * columns + d * rows
    x, y = x - x.min(), y - y.min()
    shown = np.zeros((y.max() + 1, x.max() + 1, 3), np.uint8)
    shown[y, x] = picture
    return shown


def decoded(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.mark.parametrize("name", MATRICES)
def test_pictures_by_every_matrix(name: str, upright: Path, tmp_path: Path) -> None:
    path = with_matrix(upright, tmp_path / f"{name}.mp4", MATRICES[name])
    meta, rows, pictures = codecmeta.read(path, 4)
    again = read_pictures(path, meta, rows)
    plain = decoded(path)
    for row, picture, other in zip(rows, pictures, again, strict=True):
        assert np.array_equal(picture, turned(plain[row], MATRICES[name]))
        assert np.array_equal(other, picture)
    assert (meta.stream.width, meta.stream.height) == pictures[0].shape[1::-1]
    assert codecmeta.probe(path).stream == meta.stream == codecmeta.extract(path).stream


@pytest.mark.parametrize("name", MATRICES)
def test_a_turned_cache_comes_back(name: str, upright: Path, tmp_path: Path) -> None:
    path = with_matrix(upright, tmp_path / f"{name}.mp4", MATRICES[name])
    codecmeta.extract_to_file(path, tmp_path / "x.h5")
    with codecmeta.load(tmp_path / "x.h5") as meta:
        assert meta.stream == codecmeta.probe(path).stream


def test_a_trimmed_phone_video_stands_upright() -> None:
    """Cut with `-ss -c copy`: an edit list hides its first keyframe. Every frame says rotation -90 (anticlockwise)."""
    path = fault_file("trimrot264.mp4")
    with av.open(str(path)) as container:
        assert {frame.rotation for frame in container.decode(video=0)} == {-90}
    stream = codecmeta.probe(path).stream
    assert (stream.rotation, stream.mirrored, stream.width, stream.height) == (90, False, 108, 192)


@pytest.mark.parametrize(
    ("options", "rotation", "mirrored"),
    [("rotate=90", 270, False), ("rotate=180", 180, False), ("flip=horizontal", 0, True)],
)
@pytest.mark.parametrize("suffix", ["ts", "h264", "mp4"])
def test_orientation_in_the_stream(
    options: str, rotation: int, mirrored: bool, suffix: str, upright: Path, tmp_path: Path
) -> None:
    """A display orientation SEI message (anticlockwise degrees) is heeded in every container."""
    path = filter_packets(
        upright, tmp_path / f"x.{suffix}", f"h264_mp4toannexb,h264_metadata=display_orientation=insert:{options}"
    )
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        assert frame.rotation % 360 == (-rotation % 360 if not mirrored else 180)
    stream = codecmeta.probe(path).stream
    assert (stream.rotation, stream.mirrored) == (rotation, mirrored)
