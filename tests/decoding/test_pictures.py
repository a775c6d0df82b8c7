"""Chosen pictures are those of a full decode in one thread, bit by bit, whatever policy chose them and who decoded."""

from __future__ import annotations

from functools import cache

import av
import numpy as np
import pytest
from numpy.typing import NDArray

import codecmeta
from codecmeta.decoding.pictures import read_pictures
from tests.support.clips import REAL_NAMES, real_clip


@cache
def decoded(name: str) -> list[NDArray[np.int64]]:
    """Every picture that a plain decoder shows, from the start, in one thread; small enough to keep."""
    with av.open(str(real_clip(name))) as container:
        video = container.streams.best("video")
        video.thread_type, video.thread_count = "NONE", 1
        return [small(frame.to_ndarray(format="rgb24")) for frame in container.decode(video)]


def small(picture: NDArray[np.uint8]) -> NDArray[np.int64]:
    """How often each value stands in each channel: what stays the same when a picture is turned is compared."""
    return np.stack([np.bincount(channel.ravel(), minlength=256) for channel in np.moveaxis(picture, 2, 0)])


LEFT_OUT = ("openh264_error_i_p.264", "vali_bad_packets.mkv")  # two sizes; a plain decode ends at the damage
NAMES = [name for name in REAL_NAMES if name not in LEFT_OUT]


@pytest.mark.parametrize("policy", ["uniform", "keyframes", "cheap", "events"])
@pytest.mark.parametrize("name", NAMES or ["none"])
def test_pictures_of_a_choice_are_those_of_a_full_decode(name: str, policy: str) -> None:
    path = real_clip(name)
    choice = codecmeta.choose_frames(path, 6, policy=policy)
    meta, rows, images = codecmeta.read(path, choice, transform=small, jobs=2)
    again = read_pictures(path, meta, rows, transform=small, jobs=1)
    whole = decoded(name)
    for row, image, other in zip(rows, images, again, strict=True):
        np.testing.assert_array_equal(image, other)
        np.testing.assert_array_equal(image, whole[row])
