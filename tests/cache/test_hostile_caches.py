"""Cache files made to do harm: each is refused with one line, by everything that opens caches, and fills no memory."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

import codecmeta
from codecmeta.cache import check as cache_check
from codecmeta.cli import main
from codecmeta.errors import CacheError
from codecmeta.extraction.to_file import extract_to_file
from tests.support.clips import pan, write_clip

MEGABYTES = 100  # that refusing any of them may take; the smallest bomb would take 512


def replace(name: str, **how: object) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        del file[name]
        file.create_dataset(name, **how)

    return edit


def link(name: str, target: object) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        del file[name]
        file[name] = target

    return edit


def attribute(name: str, value: object, where: str = "/") -> Callable[[h5py.File], None]:
    return lambda file: file[where].attrs.__setitem__(name, value)


def values(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[h5py.File], None]:
    return lambda file: file[name].write_direct(np.ascontiguousarray(change(file[name][:])))


def bomb(file: h5py.File) -> None:
    """64 M rows of zeros, 512 MB, in half a MB of compressed chunks: everything it says is true."""
    del file["frames/pts"]
    rows, count = 1 << 20, 64
    table = file.create_dataset("frames/pts", (rows * count,), "<i8", chunks=(rows,), compression="gzip")
    packed = zlib.compress(bytes(8 * rows), 9)
    for index in range(count):
        table.id.write_direct_chunk((rows * index,), packed)


def virtual(file: h5py.File) -> None:
    del file["frames/pts"]
    layout = h5py.VirtualLayout((30,), "<i8")
    layout[:] = h5py.VirtualSource("elsewhere.h5", "data", (30,))
    file.create_virtual_dataset("frames/pts", layout)


def group_for_table(file: h5py.File) -> None:
    del file["frames/pts"]
    file.create_group("frames/pts")


def table_for_group(file: h5py.File) -> None:
    del file["residual"]
    file["residual"] = np.zeros(3)


def maps_of_zeros(rows: int, columns: int) -> Callable[[h5py.File], None]:
    """30 maps, each a chunk that deflate made 1,000 times smaller, of a picture that is said to be large enough."""

    def edit(file: h5py.File) -> None:
        del file["residual/luma_rms"]
        shape = {"shape": (30, rows, columns), "chunks": (1, rows, columns)}
        maps = file.create_dataset("residual/luma_rms", dtype="<f2", compression="gzip", **shape)
        packed = zlib.compress(bytes(2 * rows * columns), 9)
        for index in range(30):
            maps.id.write_direct_chunk((index, 0, 0), packed)
        file["residual"].attrs.update({"block": 1, "origin_x": 0, "origin_y": 0})
        file.attrs.update({"width": 1 << 16, "height": 1 << 16})

    return edit


def not_stored(size: int) -> dict[str, object]:
    return {"shape": (size,), "dtype": "<i8", "chunks": (4096,), "compression": "gzip"}


text = h5py.string_dtype()
HOSTILE: dict[str, tuple[Callable[[h5py.File], None], str]] = {
    "floats for whole numbers": (replace("frames/pts", data=np.zeros(30)), "frames/pts is of type float64, not int64"),
    "texts for numbers": (replace("frames/pts", data=["x"] * 30, dtype=text), "frames/pts is of type object"),
    "lists of any length": (replace("frames/pts", shape=(30,), dtype=h5py.vlen_dtype("i8")), "is of type object"),
    "references": (replace("qp/frame", shape=(30,), dtype=h5py.ref_dtype), "is of type object"),
    "a table of two dimensions": (replace("frames/pts", data=np.zeros((30, 2), np.int64)), "not 1 dimensions"),
    "a map of one": (replace("qp/map", data=np.zeros(30, np.int8)), "not 3 dimensions"),
    "a shape nobody stored": (replace("frames/pts", **not_stored(1 << 45)), "says 281,474,976,710,656 bytes"),
    "a scalar": (replace("frames/pts", data=np.int64(3)), "not 1 dimensions"),
    "nothing": (replace("frames/pts", data=h5py.Empty("<i8")), "not 1 dimensions"),
    "a bomb": (bomb, "67,108,864 rows in a file of"),
    "a chunk that fills the memory": (
        replace("residual/luma_rms", shape=(1, 1 << 15, 1 << 12), dtype="<f2", chunks=(1, 1 << 15, 1 << 12)),
        "has chunks of",
    ),
    "a link within": (link("frames/pts", h5py.SoftLink("/frames/packet_bytes")), "frames/pts is a link to elsewhere"),
    "a link to another file": (link("frames", h5py.ExternalLink("/etc/hosts", "/")), "frames is a link to elsewhere"),
    "data in another file": (
        replace("frames/pts", shape=(30,), dtype="<i8", external=[("/etc/passwd", 0, 240)]),
        "keeps its data in another file",
    ),
    "data collected from files": (virtual, "keeps its data in another file"),
    "a filter to be loaded": (
        replace("frames/pts", data=np.zeros(30, np.int64), chunks=(30,), compression="lzf"),
        "needs the HDF5 filters [32000]",
    ),
    "a group for a table": (group_for_table, "frames/pts is a group, not a dataset"),
    "a table for a group": (table_for_group, "residual is a dataset, not a group"),
    "a text for the width": (attribute("width", "wide"), "attribute width"),
    "a list for the width": (attribute("width", np.arange(5)), "attribute width"),
    "three numbers for two": (attribute("time_base", [1, 2, 3]), "attribute time_base"),
    "numbers for a text": (attribute("settings", np.arange(5)), "attribute settings"),
    "a negative width": (attribute("width", -5), "a picture of -5x64"),
    "a name with a path": (attribute("source_name", "../../x.mp4"), "damaged"),
    "endless brackets": (attribute("settings", "[" * 60_000), "damaged"),
    "a list for the report": (attribute("capability", "[]"), "damaged"),
    "a report of nothing": (attribute("capability", '{"motion": {}}'), "a capability report"),
    "vectors from outside": (values("motion/indptr", lambda old: old * 1000), "vectors that do not belong"),
    "vectors from before": (values("motion/indptr", lambda old: -old), "vectors that do not belong"),
    "frames from outside": (values("qp/frame", lambda old: old + 30), "qp: frames that do not exist"),
    "frames out of order": (values("qp/frame", lambda old: old[::-1]), "qp: frames that do not exist, or not in order"),
    "a GoP from outside": (values("frames/gop", lambda old: old + 99), "a GoP that does not exist"),
    "a GoP of no frames": (values("gops/stop", lambda old: old + 99), "a GoP of frames that do not exist"),
    "columns that end early": (replace("frames/corrupt", data=np.zeros(5, bool)), "columns of different lengths"),
    "times without end": (values("frames/time", lambda old: old + np.inf), "times or"),
    "blocks of nothing": (attribute("block", 0, "qp"), "qp: 4x6 blocks of 0 pixels"),
    "blocks beside the picture": (attribute("block", 4096, "qp"), "for a smaller picture"),
    "times in the far future": (values("frames/time", lambda old: old * 1e300), "times or"),
    "a video without end": (attribute("duration_seconds", np.nan), "times or"),
    "packets of less than nothing": (values("frames/packet_bytes", lambda old: -old), "packets of an impossible size"),
    "packets that overflow": (
        values("frames/packet_bytes", lambda old: old * 0 + (1 << 62)),
        "packets of an impossible size",
    ),
    "packets of no size": (
        values("gops/packet_bytes_mean", lambda old: old * np.nan),
        "packets of an impossible size",
    ),
    "a rate by zero": (attribute("average_rate", [1, 0]), "a frame rate of (1, 0)"),
    "a time base of zero": (attribute("time_base", [0, 1]), "a time base of (0, 1)"),
    "maps of nothing": (replace("residual/luma_rms", data=np.zeros((30, 0, 0), np.float16)), "maps of 0x0 blocks"),
    "maps that fill the memory": (maps_of_zeros(5000, 6000), "residual: maps of 5000x6000 blocks"),
    "a picture of 2 GPixel": (attribute("height", 1 << 31), "a picture of 96x2147483648"),
    "sources without names": (values("residual/frame_source", lambda old: old + 200), "sources that are not named"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus in which each video's cache was replaced by one of the hostile ones."""
    root = tmp_path_factory.mktemp("hostile")
    clip = write_clip(root / "clip.mp4", pan(30, (96, 64), (3, 1)), options={"x264-params": "bframes=2:keyint=10"})
    extract_to_file(clip, root / "good.h5", details=True)
    for name, (edit, _) in HOSTILE.items():
        shutil.copy(root / "good.h5", root / f"{name}.h5")
        with h5py.File(root / f"{name}.h5", "r+") as file:
            edit(file)
    shutil.copy(root / "good.h5", root / "holes.h5")
    os.truncate(root / "holes.h5", 1 << 30)
    return root


@pytest.mark.parametrize("name", HOSTILE)
def test_it_is_refused_with_one_line_that_says_why(name: str, folder: Path) -> None:
    path = folder / f"{name}.h5"
    with pytest.raises(CacheError) as caught:
        codecmeta.load(path)
    said = str(caught.value)
    assert HOSTILE[name][1] in said and said.startswith(str(path)) and "\n" not in said
    shown = CliRunner().invoke(main, ["show", str(path)])
    assert (
        shown.exit_code == 1 and not shown.stdout and shown.stderr.count("\n") == 1 and HOSTILE[name][1] in shown.stderr
    )


def test_the_good_one_is_not(folder: Path) -> None:
    with codecmeta.load(folder / "good.h5") as meta:
        assert len(meta.frames) == 30


def test_what_nobody_reads_costs_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attributes by the thousand (opening 60,000 by their position took minutes), and a root that is its own child."""
    path = folder / "crowded"
    shutil.copy(folder / "good.h5", path)
    with h5py.File(path, "r+") as file:
        for index in range(500):
            file.attrs[f"x{index}"] = index
        file["frames/root"] = file["/"]
    opened: list[bytes] = []
    real = cache_check.h5py.h5a.open
    monkeypatch.setattr(cache_check.h5py.h5a, "open", lambda item, name: opened.append(name) or real(item, name))
    with codecmeta.load(path) as meta:
        assert len(meta.frames) == 30 and b"width" in opened and not any(name.startswith(b"x") for name in opened)


def test_texts_of_a_file_do_not_command_the_terminal(folder: Path) -> None:
    path = folder / "texts"
    shutil.copy(folder / "good.h5", path)
    with h5py.File(path, "r+") as file:
        file.attrs.update({"codec": "h264\x1b]0;title\x07", "profile": "\x9b2J", "source_name": "a\nb\x1b[2J.mp4"})
    shown = CliRunner().invoke(main, ["show", str(path)])
    assert shown.exit_code == 0 and shown.stdout.startswith(
        "a\ufffdb\ufffd[2J.mp4\n  codec               h264\ufffd]0;title\ufffd "
    )
    assert all(one.isprintable() or one == "\n" for one in shown.stdout)


def test_a_file_of_holes_is_refused(folder: Path) -> None:
    with pytest.raises(CacheError, match="mostly holes"):
        codecmeta.load(folder / "holes.h5")


def test_refusing_takes_no_memory(folder: Path) -> None:
    script = (
        "import sys, json, codecmeta\n"
        "from pathlib import Path\n"
        "most = lambda: int(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])\n"
        "with codecmeta.load(sys.argv[1]): pass\n"
        "before = most()\n"
        "refused = 0\n"
        "for one in sys.argv[2:]:\n"
        "    try: codecmeta.load(one)\n"
        "    except codecmeta.CacheError: refused += 1\n"
        "print(json.dumps([refused, most() - before]))"
    )
    bad = [str(one) for one in sorted(folder.glob("*.h5")) if one.name != "good.h5"]
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder / "good.h5"), *bad],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    refused, kilobytes = json.loads(done.stdout)
    assert refused == len(bad) == len(HOSTILE) + 1 and kilobytes < MEGABYTES * 1024
