"""What the encoder itself noted down: x265's analysis file against the parsed blocks.

Samples do not tell a wrong vector in a flat area; the encoder's own decisions do. The file (analysis-save of x265 4,
reuse level 10) is not documented; its layout was found by experiment, and a library that writes another is skipped.
"""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest

from codecmeta.codecs.hevc import state
from codecmeta.codecs.hevc.sequence import Sequence
from tests.support.hevc_encodes import encode
from tests.support.hevc_ffmpeg import decode_file

OUTSIDE, INTER, INTRA, SKIP = 0, 1, 2, 5  # of x265's modes
MODES = {INTER: state.MODE_INTER, INTRA: state.MODE_INTRA, SKIP: state.MODE_SKIP}


@dataclass
class Noted:
    """One picture: an entry per coding unit in decoding order."""

    depth: np.ndarray
    mode: np.ndarray
    part: np.ndarray
    merge: np.ndarray
    reference: list[np.ndarray]  # per list ref_idx of the first prediction unit, -1 none
    vector: list[np.ndarray]  # per list (n, 2): x, y in quarter samples


def analysis(data: bytes) -> dict[int, Noted]:
    """The P and B pictures of an analysis file by order count; skips where the layout is another."""
    result, at = {}, 80
    while at < len(data):
        size, n, poc, kind, _, _, ctus, parts = struct.unpack_from("<IIiiiqii", data, at)
        lists = {3: 1, 4: 2, 5: 2}.get(kind)
        if lists:
            body = data[at + 36 + 48 * lists : at + size]
            with_intra = n * (7 + 10 * lists) + parts * ctus
            if len(body) not in (with_intra, n * (6 + 10 * lists)):
                pytest.skip("this x265 writes another analysis file")
            columns = np.frombuffer(body, np.int8, 6 * n).reshape(6, n)
            place = n * (7 if len(body) == with_intra else 6)
            reference, vector = [], []
            for _ in range(lists):
                reference.append(np.frombuffer(body, np.int8, n, place + n))
                vector.append(np.frombuffer(body, "<i4", 2 * n, place + 2 * n).reshape(n, 2))
                place += 10 * n
            inside = columns[1] != OUTSIDE
            result[poc] = Noted(
                columns[0][inside],
                columns[1][inside],
                columns[3][inside],
                columns[4][inside],
                [one[inside] for one in reference],
                [one[inside] for one in vector],
            )
        at += size
    return result


def _first_parts(picture) -> np.ndarray:
    """The row of the first prediction unit of each coding unit; -1 in intra ones."""
    cu = picture.cu
    counts = np.array([1, 2, 2, 4, 2, 2, 2, 2])[cu[:, state.CU_PART]] * (cu[:, state.CU_MODE] != state.MODE_INTRA)
    first = np.cumsum(counts) - counts
    return np.where(counts > 0, first, -1)


@pytest.mark.parametrize(
    "params, preset",
    [
        ("bframes=3:b-adapt=0", "medium"),
        ("bframes=0:ref=4:rect=1:amp=1", "slower"),
        ("bframes=4:b-adapt=0:b-pyramid=1:weightb=1", "fast"),
    ],
)
def test_blocks_and_vectors_are_those_that_the_encoder_noted(tmp_path, monkeypatch, params, preset):
    monkeypatch.chdir(tmp_path)  # x265-params has no colons in paths
    params += ":analysis-save=analysis.dat:analysis-save-reuse-level=10"
    data = encode.__wrapped__(preset, params=params, size=(320, 208), frames=12, smooth=preset == "medium")
    noted = analysis((tmp_path / "analysis.dat").read_bytes())
    extradata, packets, _ = decode_file(data)
    sequence, counts = Sequence(extradata, trace=True), Counter()
    for packet in packets:
        picture = sequence.parse(packet)
        if picture.poc not in noted:
            assert picture.picture_type == "I"
            continue
        theirs, cu = noted[picture.poc], picture.cu
        np.testing.assert_array_equal(picture.sps.ctb_log2_size_y - cu[:, state.CU_LOG2], theirs.depth)
        np.testing.assert_array_equal(cu[:, state.CU_MODE], [MODES[mode] for mode in theirs.mode])
        inter = theirs.mode != INTRA
        np.testing.assert_array_equal(cu[inter][:, state.CU_PART], theirs.part[inter])
        pu = picture.pu[_first_parts(picture)[inter]]
        coded = theirs.mode[inter] == INTER
        np.testing.assert_array_equal(pu[coded][:, state.PU_MERGE] >= 0, theirs.merge[inter][coded] > 0)
        for one, (reference, vector) in enumerate(zip(theirs.reference, theirs.vector, strict=True)):
            ours, packed = pu[:, state.PU_REF0 + one], pu[:, state.PU_MV0 + one]
            np.testing.assert_array_equal(ours, reference[inter], err_msg=f"picture {picture.poc}, list {one}")
            used = ours >= 0
            mine = np.column_stack([(packed & 0xFFFF ^ 0x8000) - 0x8000, packed >> 16])
            np.testing.assert_array_equal(mine[used], vector[inter][used], err_msg=f"picture {picture.poc}")
            counts["vectors"] += int(used.sum())
        counts["units"] += len(cu)
    assert counts["units"] > 400 and counts["vectors"] > 400, counts
