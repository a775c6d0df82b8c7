"""The command line as a user meets it: what goes to which stream, exit codes, one clear line for bad input."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

import codecmeta
from codecmeta.cli import main
from tests.support.clips import REAL_NAMES, pan, real_clip, write_clip


def call(*arguments: object, stdin: str | None = None) -> Result:
    return CliRunner().invoke(main, [str(one) for one in arguments], input=stdin)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two good videos, one of them in a subfolder, a broken one, and a file that is none."""
    root = tmp_path_factory.mktemp("videos")
    (root / "sub").mkdir()
    write_clip(root / "a.mp4", pan(12, (64, 48), (1, 0)))
    write_clip(root / "sub" / "b.mkv", pan(12, (64, 48), (1, 0)), "mpeg4")
    (root / "bad.mp4").write_bytes(b"not a video")
    (root / "notes.txt").write_text("not a video either")
    return root


def test_a_folder_is_extracted_and_its_layout_mirrored(folder: Path, tmp_path: Path) -> None:
    done = call("extract", folder, "-o", tmp_path, "--frames", 4, "--json")
    rows = {Path(row["path"]).name: row for row in map(json.loads, done.stdout.splitlines())}
    assert done.exit_code == 1  # one of three failed
    assert {name: row["status"] for name, row in rows.items()} == {
        "a.mp4": "done",
        "b.mkv": "done",
        "bad.mp4": "failed",
    }
    assert "cannot read" in rows["bad.mp4"]["reason"] and "1 of 3 videos failed" in done.stderr
    assert sorted(str(one.relative_to(tmp_path)) for one in tmp_path.rglob("*.h5")) == [
        "a.codecmeta.h5",
        "sub/b.codecmeta.h5",
    ]
    with codecmeta.load(tmp_path / "a.codecmeta.h5") as meta:
        assert len(meta.frames) == rows["a.mp4"]["frames"] == 12 and meta.residual.values.shape[0] == 4
    again = call("extract", folder, "-o", tmp_path, "--frames", 4, "--json")
    assert [json.loads(line)["status"] for line in again.stdout.splitlines()].count("skipped") == 2


def test_manifests_come_from_files_and_from_standard_input(folder: Path, tmp_path: Path) -> None:
    listed = f"# two of them\n{folder / 'a.mp4'}\n\n{folder / 'sub' / 'b.mkv'}\n"
    (tmp_path / "list.txt").write_text(listed)
    for source, stdin in ((tmp_path / "list.txt", None), ("-", listed)):
        done = call(
            "extract", "--manifest", source, "-o", tmp_path / "out", "--frames", "keyframes", "--json", stdin=stdin
        )
        assert done.exit_code == 0 and len(done.stdout.splitlines()) == 2


def test_fail_fast_stops_at_the_first_failure(folder: Path, tmp_path: Path) -> None:
    done = call("extract", folder / "bad.mp4", folder / "sub", "-o", tmp_path, "--fail-fast", "--json")
    assert done.exit_code == 1 and len(done.stdout.splitlines()) == 2  # sorted by name: b.mkv, bad.mp4
    again = call("extract", folder / "bad.mp4", folder / "bad.mp4.copy", "-o", tmp_path, "--fail-fast", "--json")
    assert again.exit_code == 1 and len(again.stdout.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("extract",),
        ("extract", "a.mp4", "--frames", "some"),
        ("extract", "a.mp4", "--jobs", "0"),
        ("extract", "a.mp4", "--frames", "0"),
        ("extract", "a.mp4", "--frames", "²"),
        ("extract", "a.mp4", "--shard", "¹/²"),
        ("extract", "a.mp4", "--timeout", "nan"),
    ],
    ids=" ".join,
)
def test_wrong_usage_ends_with_two(arguments: tuple[str, ...]) -> None:
    done = call(*arguments)
    assert done.exit_code == 2 and not done.stdout


def test_several_videos_do_not_go_into_one_cache(folder: Path, tmp_path: Path) -> None:
    done = call("extract", folder / "a.mp4", folder / "sub" / "b.mkv", "-o", tmp_path / "c.h5", "--frames", 2)
    assert done.exit_code == 2 and "for several videos pass a folder" in done.stderr
    assert not (tmp_path / "c.h5").exists()


@pytest.mark.parametrize("command", ["frames", "events", "show"])
def test_what_is_no_file_is_said_by_every_command_alike(command: str, tmp_path: Path) -> None:
    for path, says in ((tmp_path, "is a folder"), (tmp_path / "none.mp4", "no such file")):
        done = call(command, path)
        assert done.exit_code == 1 and done.stderr == f"failed: {path}: {says}; pass the path of a video file\n"


def test_settings_that_differ_are_an_error_that_names_both(folder: Path, tmp_path: Path) -> None:
    assert call("extract", folder / "a.mp4", "-o", tmp_path / "c.h5").exit_code == 0
    done = call("extract", folder / "a.mp4", "-o", tmp_path / "c.h5", "--frames", 4)
    assert done.exit_code == 1 and "made with --frames all, asked for --frames 4;" in done.stderr
    assert call("extract", folder / "a.mp4", "-o", tmp_path / "c.h5", "--frames", 4, "--overwrite").exit_code == 0


def test_show_says_the_same_of_a_video_and_of_its_cache(folder: Path, tmp_path: Path) -> None:
    call("extract", folder / "a.mp4", "-o", tmp_path / "c.h5")
    video, cache = (json.loads(call("show", one, "--json").stdout) for one in (folder / "a.mp4", tmp_path / "c.h5"))
    for key in ("codec", "width", "height", "frames", "picture_types", "packet_bytes", "gops", "seconds"):
        assert video[key] == cache[key], key
    assert cache["stored"]["residual"]["frames"] == 12
    assert cache["settings"] == {"frames": "all", "details": False, "stream": None}
    text = call("show", tmp_path / "c.h5").stdout
    assert "h264" in text and "64 x 48" in text and "exact" in text


def test_show_of_bad_files_is_one_line_and_exit_code_one(folder: Path) -> None:
    for name in ("bad.mp4", "nothing.mp4", "notes.txt"):
        done = call("show", folder / name)
        assert done.exit_code == 1 and not done.stdout and done.stderr.count("\n") == 1 and name in done.stderr


@pytest.mark.parametrize("name", REAL_NAMES or ["none"])
def test_every_real_clip_ends_with_a_cache(name: str, tmp_path: Path) -> None:
    done = call("extract", real_clip(name), "-o", tmp_path / "c.h5", "--frames", 8, "--json")
    row = json.loads(done.stdout)
    assert done.exit_code == 0 and row["status"] == "done" and row["frames"] > 0


@pytest.mark.parametrize("command", sorted(main.commands))
def test_every_command_and_option_is_explained(command: str) -> None:
    assert main.commands[command].help
    for option in main.commands[command].params:
        assert not isinstance(option, click.Option) or option.help, option.name
    assert call(command, "-h").exit_code == 0


def test_files_get_the_format_of_their_suffix_or_an_error(folder: Path, tmp_path: Path) -> None:
    files = {suffix: tmp_path / f"o{suffix}" for suffix in (".json", ".txt", ".html", ".png")}
    done = call("show", folder / "a.mp4", "--json", *(part for one in files.values() for part in ("-o", one)))
    assert done.exit_code == 0, done.stderr
    assert json.loads(files[".json"].read_text()) == json.loads(done.stdout)
    assert "h264" in files[".txt"].read_text() and files[".html"].read_text().startswith("<!")
    assert files[".png"].read_bytes().startswith(b"\x89PNG")
    for arguments, said in (
        (("-o", tmp_path / "o.jpg"), "ends in .jpg; expected .png, .html, .json, .txt"),
        (("--png", tmp_path / "o.html"), "ends in .html; expected .png"),
        (("-o", tmp_path / "x.png", "--png", tmp_path / "y.png"), "is to hold the same already"),
    ):
        done = call("show", folder / "a.mp4", *arguments)
        assert done.exit_code == 1 and said in done.stderr and done.stderr.startswith("failed: ")
    assert call("extract", folder / "a.mp4", "-o", tmp_path / "a.json").exit_code == 2
    assert not {"o.jpg", "a.json", "x.png"} & {one.name for one in tmp_path.iterdir()}


@pytest.mark.parametrize("command", sorted(main.commands))
def test_every_command_that_writes_has_the_same_option_for_it(command: str) -> None:
    names = {name for one in main.commands[command].params for name in one.opts}
    assert not names & {"--out", "--output", "-o"} or {"-o", "--output"} <= names


def test_ctrl_c_ends_every_command_with_130(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: object, **named: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("codecmeta.cli.show.probe", interrupted)
    done = call("show", folder / "a.mp4")
    assert done.exit_code == 130 and done.stderr == "interrupted\n" and not done.stdout


@pytest.mark.parametrize("width", [60, 80, 200])
def test_help_is_never_cut(width: int) -> None:
    shown = CliRunner().invoke(main, ["--help"], terminal_width=width).stdout
    assert "..." not in shown.replace("[ARGS]...", "")


def test_names_that_command_a_terminal_are_one_line_of_plain_text(tmp_path: Path) -> None:
    name = "two\nlines\x1b[31m\x9b.mp4"
    (tmp_path / name).write_text("no video")
    for arguments in (
        ("extract", tmp_path, "-o", tmp_path / "out"),
        ("extract", tmp_path / name),
        ("show", tmp_path / name),
    ):
        done = call(*arguments)
        said = done.stdout + done.stderr
        assert done.exit_code == 1 and "two" in said and not set(said) & {"\x1b", "\x9b"}, arguments
        assert not [line for line in said.splitlines() if line.startswith("lines")], arguments


def test_caches_do_not_go_into_a_folder_that_looks_like_a_video(folder: Path, tmp_path: Path) -> None:
    done = call("extract", folder / "a.mp4", "-o", tmp_path / "o.mp4")
    assert done.exit_code == 2 and "expected a folder, or for one video a file name in .h5" in done.stderr
    assert not (tmp_path / "o.mp4").exists()
