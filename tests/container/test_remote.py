"""Videos behind an address: the bytes that are needed and no others, and one line for every server that does wrong."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

import numpy as np
import pytest
from click.testing import CliRunner

import codecmeta
from codecmeta.cli import main
from codecmeta.container.remote import remote
from codecmeta.container.source import opened
from codecmeta.errors import VideoError
from tests.support.clips import needs_index, pan, write_clip
from tests.support.films import long_film
from tests.support.server import Served, served


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some 60 MB: ten minutes of GoPs of a second, with sound between the pictures, the index at the end."""
    return long_film(tmp_path_factory.mktemp("film") / "film.mov", seconds=640)


@pytest.fixture
def server(film: Path) -> Iterator[Served]:
    with served(film) as found:
        yield found


@needs_index
@pytest.mark.parametrize("policy", ["uniform", "cheap", "events"])
def test_frames_of_a_long_film_take_few_bytes_and_questions(policy: str, film: Path, server: Served) -> None:
    choice = codecmeta.choose_frames(server.url, 32, policy=policy)  # type: ignore[arg-type]
    meta, rows, pictures = codecmeta.read(server.url, choice)
    gops = len(np.unique(meta.frames.gop[rows]))
    assert len(rows) == 32
    assert server.sent <= 0.05 * film.stat().st_size
    assert len(server.asked) <= 3 * gops
    if policy == "events":
        np.testing.assert_array_equal(pictures, codecmeta.read(film, rows=rows)[2])
    assert meta.capability["packets"]["level"] == "estimated" and "index" in meta.capability["packets"]["why"]


@needs_index
def test_what_was_fetched_is_not_fetched_again(film: Path, server: Served) -> None:
    with opened(server.url) as video:
        choice = codecmeta.choose_frames(video, 4)
        codecmeta.read(video, choice)
        before = server.sent
        again = codecmeta.read(video, choice)
    assert server.sent == before and server.connections == 1
    covered = np.zeros(film.stat().st_size, np.int64)
    for start, stop in server.asked:
        covered[start:stop] += 1
    assert covered.max() == 1
    assert len(again[1]) == 4


@needs_index
def test_an_address_is_a_video_everywhere(film: Path, server: Served, tmp_path: Path) -> None:
    probe, local = codecmeta.probe(server.url), codecmeta.probe(film)
    for name in ("pts", "time", "keyframe", "packet_bytes", "gop"):
        np.testing.assert_array_equal(getattr(probe.frames, name), getattr(local.frames, name))
    assert probe.path.name == "film.mov" and probe.stream == local.stream
    assert server.sent < 0.03 * film.stat().st_size
    whole = codecmeta.extract(server.url, frames=5)
    expected = codecmeta.extract(film, frames=5)
    np.testing.assert_array_equal(whole.residual.values, expected.residual.values)
    written = codecmeta.extract_to_file(server.url, tmp_path / "film.codecmeta.h5", frames=5)
    assert written.source_bytes == film.stat().st_size
    assert codecmeta.extract_to_file(server.url, tmp_path / "film.codecmeta.h5", frames=5).skipped
    assert codecmeta.extract_to_file(film, tmp_path / "film.codecmeta.h5", frames=5).skipped  # the same video
    with pytest.raises(ValueError, match="pass cache=PATH"):
        codecmeta.extract_to_file(server.url)


@pytest.mark.parametrize(
    ("behaviour", "says"),
    [
        ("no ranges", "does not serve ranges"),
        ("slow", "silent or slow"),
        ("trickle", "silent or slow"),
        ("hangs up", "hangs up .after"),
        ("changes", "changed while it was read"),
        ("other bytes", "the server sent"),
        ("elsewhere", "redirects to ftp"),
        ("to a file", "redirects to file"),
        ("in a circle", "redirects in a circle"),
        ("missing", "404"),
    ],
)
def test_a_server_that_does_wrong_is_one_line(behaviour: str, says: str, film: Path) -> None:
    with served(film, behaviour) as server:
        start = perf_counter()
        with pytest.raises(VideoError, match=says) as raised, remote(server.url, timeout=0.3) as video:
            codecmeta.choose_frames(video, 4)
        assert perf_counter() - start < 3
        assert str(raised.value).startswith(server.url) and "\n" not in str(raised.value)


@pytest.mark.parametrize("behaviour", ["hangs up once", "closes"])
def test_a_connection_that_ends_is_made_again(behaviour: str, film: Path) -> None:
    with served(film, behaviour) as server:
        assert len(codecmeta.choose_frames(server.url, 4)) == 4


def test_nobody_there_and_no_address() -> None:
    with pytest.raises(VideoError, match="cannot be reached"):
        codecmeta.probe("http://127.0.0.1:9/film.mp4")
    for address, says in (
        ("http://user:secret@127.0.0.1:9/film.mp4", "credentials"),
        ("http://127.0.0.1:9/a b.mp4", "written with %"),
        ("http:///film.mp4", "no address"),
    ):
        with pytest.raises(VideoError, match=says) as raised:
            codecmeta.probe(address)
        assert "secret" not in str(raised.value)


def call(*arguments: object) -> str:
    done = CliRunner().invoke(main, [str(one) for one in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_commands_take_addresses(film: Path, server: Served, tmp_path: Path) -> None:
    asked = ("-n", 4, "--json")
    found, local = (json.loads(call("frames", one, *asked)) for one in (server.url, film))
    assert found["frames"] == local["frames"] and found["video"] == server.url
    assert json.loads(call("show", server.url, "--json"))["frames"] == 6400
    call("extract", server.url, "--frames", 2, "-o", tmp_path)
    assert (tmp_path / "film.codecmeta.h5").is_file()


def test_a_quote_takes_an_address(film: Path, server: Served) -> None:
    pytest.importorskip("transformers")
    quoted, here = (json.loads(call("quote", one, "--json")) for one in (server.url, film))
    assert quoted["tokens_full"] == here["tokens_full"] and quoted["packets_to_decode"] == here["packets_to_decode"]


def test_only_a_string_asks_for_the_network(server: Served) -> None:
    """A `Path` is a path, whatever it looks like; so is what lists and data sets name, as they make paths of it."""
    with pytest.raises(VideoError, match="no such file"):
        codecmeta.probe(Path(server.url))
    assert not server.asked
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{server.url}\n#EXT-X-ENDLIST\n".encode()
    script = f"ffconcat version 1.0\nfile {server.url}\n".encode()
    for content in (playlist, script):
        for source in (content, io.BytesIO(content)):
            with pytest.raises(VideoError, match="cannot read this file"):
                codecmeta.probe(source)
    assert not server.asked


def test_a_playlist_behind_an_address_is_not_followed(film: Path, tmp_path: Path, server: Served) -> None:
    (tmp_path / "list.m3u8").write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{server.url}\n#EXT-X-ENDLIST\n")
    with served(tmp_path / "list.m3u8") as list_, pytest.raises(VideoError, match="cannot read this file"):
        codecmeta.read(list_.url, 2)
    assert not server.asked


def test_other_containers_are_read_whole(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mkv", pan(20, (64, 48), (1, 0)))
    with served(path) as server:
        found = codecmeta.probe(server.url)
        assert np.array_equal(found.frames.time, codecmeta.probe(path).frames.time)
        assert "index is no help" in found.capability["packets"]["why"]
        np.testing.assert_array_equal(codecmeta.read(server.url, 3)[2], codecmeta.read(path, 3)[2])
