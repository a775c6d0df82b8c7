"""Many videos: what is found, where it goes, what a second run costs, what the index and the summary say."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

import codecmeta
from codecmeta import Corpus
from codecmeta.cache.recognise import kept
from codecmeta.cache.unfinished import begin_unfinished, remove_abandoned
from codecmeta.cli import main
from codecmeta.cli.summary import Summary
from codecmeta.corpus import batch
from codecmeta.corpus.batch import extract_many
from codecmeta.corpus.index import IndexWriter, Row, read_rows
from codecmeta.corpus.inputs import Task, find_videos, plan, read_manifest
from tests.support import faults
from tests.support.clips import pan, write_clip
from tests.support.corpora import extract_command as call
from tests.support.corpora import read_all


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.txt", "# two\nx/a.mp4\n\n/data/b,c.mp4\n"),
        ("-", "x/a.mp4\n/data/b,c.mp4\n"),
        ("list.csv", 'id,path\n1,x/a.mp4\n2,"/data/b,c.mp4"\n'),
        ("-", 'id,path\n1,x/a.mp4\n2,"/data/b,c.mp4"\n'),
        ("list.jsonl", '{"path": "x/a.mp4"}\n{"path": "/data/b,c.mp4", "more": 1}\n'),
        ("-", '{"path": "x/a.mp4"}\n{"path": "/data/b,c.mp4"}\n'),
    ],
)
def test_manifests_of_every_form(name: str, text: str) -> None:
    assert read_manifest(text, name) == [("x/a.mp4", "x/a.mp4"), ("/data/b,c.mp4", "data/b,c.mp4")]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("l.csv", "id,url\n1,x\n", "no column named path; found id, url"),
        ("l.csv", "id,path\n1,x.mp4\n2,\n", "l.csv line 3: a row without a path"),
        ("l.jsonl", '{"path": 3}\n', "l.jsonl line 1"),
        ("l.jsonl", "\n{\n", "l.jsonl line 2: not a JSON object"),
    ],
)
def test_a_manifest_that_is_none_says_where(name: str, text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    done = call("--manifest", tmp_path / name)
    assert done.exit_code == 2 and message in done.stderr and not done.stdout


def test_keys_never_leave_the_output_folder() -> None:
    keys = [key for _, key in read_manifest("../../etc/a.mp4\n./x/../y/b.mp4\n//z/c.mp4\n")]
    assert keys == ["etc/a.mp4", "y/b.mp4", "z/c.mp4"]


def test_layouts(folder: Path, tmp_path: Path) -> None:
    mirrored = plan(find_videos(folder), tmp_path)
    assert [one.cache for one in mirrored] == [
        str(tmp_path / name) for name in ("a.codecmeta.h5", "b.codecmeta.h5", "deep/er/c.codecmeta.h5")
    ]
    hashed = plan(find_videos(folder), tmp_path, layout="hash")
    parts = [Path(one.cache).relative_to(tmp_path).parts for one in hashed]
    # b2sum -l 128 of the keys
    assert ["".join(one).removesuffix(".codecmeta.h5") for one in parts] == [
        "0b7c12e2fcb39df70e05bd014396950b",
        "f43ea9c7f76e9e8618a179c0acd3dc00",
        "625c8170514917722c64a543301abdd4",
    ]
    assert all([len(part) for part in one[:-1]] == [2, 2] for one in parts)
    done = call(folder, "-o", tmp_path / "out", "--layout", "hash", "--frames", 1, "--jobs", 2)
    assert done.exit_code == 0, done.stderr
    expected = {str(Path(*one)) for one in parts}
    assert {str(one.relative_to(tmp_path / "out")) for one in (tmp_path / "out").rglob("*.h5")} == expected


def test_videos_of_one_stem_have_a_cache_each(folder: Path, tmp_path: Path) -> None:
    """Where only the suffix differs it stays in the name; a cache that was there before keeps its own."""
    out = tmp_path / "out"

    def caches() -> dict[str, str]:
        return {one.key: Path(one.cache).name for one in plan(find_videos(folder), out)}

    assert call(folder / "a.mp4", "-o", out, "--frames", 1).exit_code == 0
    before = (out / "a.codecmeta.h5").read_bytes()
    write_clip(folder / "a.avi", pan(9, (32, 32), (1, 0)), "mpeg4")
    write_clip(folder / "b.avi", pan(9, (32, 32), (1, 0)), "mpeg4")
    expected = {
        "a.avi": "a.avi.codecmeta.h5",
        "a.mp4": "a.codecmeta.h5",
        "b.avi": "b.avi.codecmeta.h5",
        "b.mp4": "b.mp4.codecmeta.h5",
        "deep/er/c.mp4": "c.codecmeta.h5",
    }
    assert caches() == expected
    done = call(folder, "-o", out, "--frames", 1)
    assert done.exit_code == 0, done.stderr
    assert (out / "a.codecmeta.h5").read_bytes() == before and caches() == expected
    assert {row.frames for row in Corpus(out).where(codec="mpeg4").rows.values()} == {9}
    assert call(folder / "a.mp4", folder / "deep" / ".." / "a.mp4", "-o", out, "--frames", 1).exit_code == 0  # the same


def test_all_conflicts_are_said_before_anything_is_done(folder: Path, tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        (folder / "deep" / name).write_bytes(b"")
    two = [folder / "deep" / name for name in ("a.mp4", "b.mp4")]
    done = call(folder / "a.mp4", folder / "b.mp4", *two, "-o", tmp_path / "out")
    assert done.exit_code == 2 and not (tmp_path / "out").exists()
    assert "a.codecmeta.h5" in done.stderr and "b.codecmeta.h5" in done.stderr and "deep/b.mp4" in done.stderr


def test_paths_that_end_with_nul_survive_every_name(folder: Path, tmp_path: Path) -> None:
    name = "# new\nline.mp4"
    (folder / name).write_bytes((folder / "a.mp4").read_bytes())
    listed = f"{folder / name}\0{folder / 'b.mp4'}\0"
    done = call("--manifest", "-", "--null", "-o", tmp_path, "--frames", 1, "--json", stdin=listed)
    assert done.exit_code == 0 and {json.loads(line)["path"] for line in done.stdout.splitlines()} == {
        str(folder / name),
        str(folder / "b.mp4"),
    }
    assert call(folder, "--null").exit_code == 2


def test_shards_are_a_partition(folder: Path, tmp_path: Path) -> None:
    videos = find_videos(folder)
    shards = [plan(videos, tmp_path, shard=(part, 2)) for part in (0, 1)]
    assert sorted([*shards[0], *shards[1]], key=lambda one: one.key) == plan(videos[::-1], tmp_path)
    assert [len(one) for one in shards] == [2, 1]
    for part in (0, 1):
        assert call(folder, "-o", tmp_path / "out", "--frames", 1, "--shard", f"{part}/2").exit_code == 0
    lines = {one.name: one.read_text().count("\n") for one in (tmp_path / "out").glob("index*")}
    assert lines == {"index.0-of-2.jsonl": 2, "index.1-of-2.jsonl": 1}
    for wrong in ("2/2", "0", "-1/2", "a/b"):
        assert call(folder, "--shard", wrong).exit_code == 2


def test_the_index_has_one_row_per_video_and_outlives_reruns(folder: Path, tmp_path: Path) -> None:
    (folder / "bad.mp4").write_bytes(b"no video")
    out = tmp_path / "out"
    done = call(folder, "-o", out, "--frames", 2, "--json")
    rows = read_rows((out / "index.jsonl").read_bytes().splitlines())
    assert list(rows) == ["a.mp4", "b.mp4", "bad.mp4", "deep/er/c.mp4"] and done.exit_code == 1
    first = rows["deep/er/c.mp4"]
    assert (first.status, first.cache, first.frames, first.codec) == ("done", "deep/er/c.codecmeta.h5", 6, "h264")
    assert first.seconds > 0 and first.capability["motion"] in ("exact", "estimated")
    assert first.cache_bytes == (out / first.cache).stat().st_size
    assert first.source_bytes == (folder / "deep/er/c.mp4").stat().st_size
    assert rows["bad.mp4"].status == "failed" and "cannot read" in rows["bad.mp4"].reason
    assert {json.loads(line)["key"] for line in done.stdout.splitlines()} == set(rows)
    with open(out / "index.jsonl", "a") as file:
        file.write('{"path": "cut of')  # a run that was killed while it wrote
    call(folder / "a.mp4", "-o", out, "--frames", 2)
    again = read_rows((out / "index.jsonl").read_bytes().splitlines())
    assert again == {**rows, "a.mp4": again["a.mp4"]} and again["a.mp4"].status == "skipped"
    assert again["a.mp4"].seconds == rows["a.mp4"].seconds  # what it took when it was made
    assert (out / "index.jsonl").read_text().count("\n") == 4


def test_an_index_belongs_to_one_run_at_a_time(tmp_path: Path) -> None:
    with IndexWriter(tmp_path / "index.jsonl") as writer:
        with pytest.raises(BlockingIOError, match="another run"):
            IndexWriter(tmp_path / "index.jsonl")
        writer.add(Row("v/a.mp4", "a.mp4", str(tmp_path / "a.h5"), "done"))
    with IndexWriter(tmp_path / "index.jsonl"):
        pass
    assert [one.name for one in tmp_path.iterdir()] == ["index.jsonl"]


def test_what_is_finished_is_recognised_without_reading_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One stat of the video; one open, one stat of what is open and one read of a KiB of the cache."""
    tasks = plan(find_videos(folder), tmp_path / "out")
    list(extract_many(tasks, frames=2))
    calls: list[str] = []

    def count(name: str) -> None:
        real = getattr(os, name)

        def counted(*arguments: object, **named: object) -> object:
            calls.append(name if name != "read" else f"read {arguments[1]}")
            return real(*arguments, **named)

        monkeypatch.setattr(os, name, counted)

    for name in ("stat", "open", "read", "fstat", "scandir", "listdir"):
        count(name)
    monkeypatch.setattr(batch, "isolated_map", None)  # no worker is even started
    rows = list(extract_many(tasks, frames=2))
    monkeypatch.undo()
    assert [one.status for one in rows] == ["skipped"] * 3
    assert calls.count("read 1024") == calls.count("open") == calls.count("stat") == calls.count("fstat") == 3
    assert len(calls) == 12 + 2  # and one look into each folder for unfinished files


def test_other_settings_fail_that_file_and_name_both(folder: Path, tmp_path: Path) -> None:
    call(folder / "a.mp4", folder / "b.mp4", "-o", tmp_path / "out", "--frames", 2)
    before = read_rows((tmp_path / "out/index.jsonl").read_bytes().splitlines())
    done = call(folder, "-o", tmp_path / "out", "--frames", "keyframes", "--json")
    rows = {one["key"]: one for one in map(json.loads, done.stdout.splitlines())}
    assert done.exit_code == 1 and rows["deep/er/c.mp4"]["status"] == "done"
    after = read_rows((tmp_path / "out/index.jsonl").read_bytes().splitlines())
    for key in ("a.mp4", "b.mp4"):
        assert rows[key]["status"] == "failed"
        said = rows[key]["reason"].split(": ", 1)[1]
        assert said.startswith("made with --frames 2, asked for --frames keyframes; --overwrite")
        assert after[key].status == "skipped" and after[key].reason == rows[key]["reason"]
        assert replace(after[key], status="done", reason="") == before[key]
    assert re.search(r"\n +2  cache: made with", done.stderr)  # one group of the summary
    assert list(Corpus(tmp_path / "out")) == ["a.mp4", "b.mp4", "deep/er/c.mp4"]
    again = call(folder / "a.mp4", "-o", tmp_path / "out", "--frames", 2, "--no-details")
    assert "made with --details, asked for --no-details;" in again.stderr and "frames" not in again.stderr


def test_a_failure_does_not_take_good_data_out_of_the_index(folder: Path, tmp_path: Path) -> None:
    """A video that is gone or damaged, also for --overwrite, costs nothing that was read before."""
    out = tmp_path / "out"
    call(folder, "-o", out, "--frames", 2)
    cache = (out / "a.codecmeta.h5").read_bytes()
    (folder / "a.mp4").write_bytes(b"no video any more")
    (folder / "b.mp4").unlink()
    done = call(folder / "a.mp4", folder / "b.mp4", "-o", out, "--frames", 2, "--overwrite")
    assert done.exit_code == 1 and done.stderr.count("failed: ") == 2
    corpus = Corpus(out)
    assert list(corpus) == ["a.mp4", "b.mp4", "deep/er/c.mp4"] and not corpus.failed
    assert {key: row.frames for key, row in corpus.rows.items()} == dict.fromkeys(corpus, 6)
    assert (out / "a.codecmeta.h5").read_bytes() == cache


def test_a_cache_without_a_summary_is_recognised_too(folder: Path, tmp_path: Path) -> None:
    (task,) = plan(find_videos(folder / "a.mp4"), tmp_path)
    (row,) = extract_many([task], frames=2, isolate=False)
    before = kept(task.cache, task.path, {"frames": 2, "details": True, "stream": None})
    with open(task.cache, "r+b") as file:
        file.write(bytes(1024))
    after = kept(task.cache, task.path, {"frames": 2, "details": True, "stream": None})
    assert before == after and after is not None and after.frames == row.frames == 6


def test_a_cache_that_was_cut_off_is_not_taken_for_finished(folder: Path, tmp_path: Path) -> None:
    (task,) = plan(find_videos(folder / "a.mp4"), tmp_path)
    list(extract_many([task], frames=2, isolate=False))
    os.truncate(task.cache, os.path.getsize(task.cache) - 100)
    (row,) = extract_many([task], frames=2, isolate=False)
    assert row.status == "failed" and "overwrite" in row.reason


def test_unfinished_files_live_as_long_as_their_writer(tmp_path: Path) -> None:
    target = tmp_path / "a.codecmeta.h5"
    first, lock = begin_unfinished(target)
    second, other = begin_unfinished(target)
    assert first != second
    remove_abandoned(tmp_path)
    assert first.exists() and second.exists()
    lock.close()
    again, lock = begin_unfinished(target)  # what a killed writer leaves is used again by the next one
    assert again == first
    lock.close()
    other.close()
    remove_abandoned(tmp_path)
    assert not list(tmp_path.iterdir())


def test_ctrl_c_leaves_complete_files_and_no_process_and_the_next_run_goes_on(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (folder / "hang.mp4").write_bytes((folder / "a.mp4").read_bytes())
    command = faults.command("extract", folder, "-o", out, "--jobs", 2, "--frames", 2, "--json")
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert run.stdout is not None
    lines = [run.stdout.readline() for _ in range(3)]
    workers = [int(one) for one in Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()]
    run.send_signal(signal.SIGINT)
    _, said = run.communicate(timeout=60)
    assert run.returncode == 130 and "3 of 4 videos" in said and "the same command goes on" in said, said
    assert "Traceback" not in said
    assert faults.wait_until(lambda: not any(faults.alive(one) for one in workers))
    files = {str(one.relative_to(out)) for one in out.rglob("*") if one.is_file()}
    assert files == {"a.codecmeta.h5", "b.codecmeta.h5", "deep/er/c.codecmeta.h5", "index.jsonl"}
    assert {json.loads(line)["status"] for line in lines} == {"done"}
    done = call(folder, "-o", out, "--frames", 2, "--json")  # without the fault
    assert [json.loads(line)["status"] for line in done.stdout.splitlines()] == ["skipped"] * 3 + ["done"]


def test_progress_is_for_terminals(folder: Path, tmp_path: Path) -> None:
    def stderr_of(*more: str) -> str:
        leader, follower = pty.openpty()
        termios.tcsetwinsize(follower, (24, 100))
        command = [sys.executable, "-m", "codecmeta.cli", "extract", str(folder), "-o", str(tmp_path / "out"), *more]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=follower, cwd=Path(__file__).parents[2])
        os.close(follower)
        assert done.returncode == 0
        text = b""
        try:
            while piece := os.read(leader, 4096):
                text += piece
        except OSError:  # the end, on Linux
            pass
        os.close(leader)
        return text.decode()

    shown = stderr_of("--frames", "1")
    assert "3/3" in shown and "video/s" in shown and "3 of 3 videos" in shown
    assert stderr_of("--frames", "1", "-q") == ""
    done = call(folder, "-o", tmp_path / "out", "--frames", 1)
    assert "video/s" not in done.stderr and "3 there already" in done.stderr and done.stdout == ""


@pytest.mark.parametrize(("codec", "jobs"), [("libx264", 2), ("mpeg4", 1)])
def test_a_single_video_says_how_far_it_is(codec: str, jobs: int, tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", pan(40, (64, 48), (1, 0)), codec=codec, gop=10)
    seen: list[tuple[int, int]] = []
    rows = extract_many(
        plan(find_videos(path), tmp_path), jobs=jobs, isolate=False, progress=lambda *at: seen.append(at)
    )
    assert [one.status for one in rows] == ["done"]
    assert set(seen[:-40]) == {(0, 40)}  # once for each way that is tried: the last one gives the frames
    assert seen[-40:] == [(done, 40) for done in range(1, 41)]


def test_one_video_is_done_in_this_process_unless_a_limit_is_asked_for(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []
    real = batch.isolated_map
    monkeypatch.setattr(batch, "isolated_map", lambda *one, **more: started.append(1) or real(*one, **more))
    assert call(folder / "a.mp4", "-o", tmp_path / "1").exit_code == 0 and not started
    assert call(folder / "a.mp4", "-o", tmp_path / "2", "--timeout", 60).exit_code == 0 and len(started) == 1
    assert call(folder / "a.mp4", "-o", tmp_path / "3", "--memory", "2G").exit_code == 0 and len(started) == 2
    assert (tmp_path / "1" / "index.jsonl").exists()
    for wrong in ("0", "x", "-1G"):
        assert call(folder / "a.mp4", "--memory", wrong).exit_code == 2


def test_the_caches_of_workers_are_those_of_this_process(folder: Path, tmp_path: Path) -> None:
    tasks = [Task(str(folder / "a.mp4"), "a.mp4", str(tmp_path / name / "a.h5")) for name in ("1", "2")]
    list(extract_many(tasks[:1], isolate=False))
    list(extract_many(tasks[1:], timeout=60, jobs=2))
    assert Path(tasks[0].cache).read_bytes() == Path(tasks[1].cache).read_bytes()


def test_a_name_that_is_no_utf8_is_a_name(folder: Path, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.mp4")
    (folder / name).write_bytes((folder / "a.mp4").read_bytes())
    for more in (["--jobs", "2"], ["--overwrite"]):
        done = call(folder, "-o", tmp_path / "out", "--frames", 1, *more)
        assert done.exit_code == 0, done.stderr
        corpus = codecmeta.Corpus(tmp_path / "out")
        assert name in corpus and read_all(corpus)[name] == (6, name)
    listed = tmp_path / "list"
    listed.write_bytes(os.fsencode(folder / name) + b"\n")
    with open(listed, "rb") as file:
        done = CliRunner().invoke(main, ["extract", "--manifest", "-", "-o", str(tmp_path / "listed")], input=file)
    assert done.exit_code == 0 and "caf\ufffd.codecmeta.h5: 6 frames" in done.stdout, done.stderr
    shown = CliRunner().invoke(main, ["show", str(folder / name)])
    assert shown.exit_code == 0 and shown.stdout.startswith("caf\ufffd.mp4\n")


def test_lists_are_cut_into_lines_and_nowhere_else() -> None:
    odd = "a\u2028b\x85c\x0cd.mp4"  # str.splitlines would cut it three times
    assert read_manifest(f"{odd}\r\nb.mp4", "l.txt") == [(odd, odd), ("b.mp4", "b.mp4")]
    assert read_manifest(json.dumps({"path": odd}, ensure_ascii=False), "l.jsonl") == [(odd, odd)]
    assert read_manifest('path,n\n"a\nb.mp4",1\n', "l.csv") == [("a\nb.mp4", "a\nb.mp4")]


def test_reasons_are_grouped_however_the_paths_are_written(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("1.mp4", "2.mp4"):
        (folder / name).write_bytes(b"no video")
    monkeypatch.chdir(folder)
    listed = "\n".join(f"./{one.relative_to(folder)}" for one in folder.rglob("*.mp4"))
    for arguments in (["."], ["--manifest", "-"]):
        done = call(*arguments, "-o", tmp_path / "out", "--frames", 1, stdin="\ufeff" + listed)
        assert re.search(r"\n +2  FFmpeg cannot read this file .*\n +1.mp4, 2.mp4\n", done.stderr), done.stderr
        assert done.stderr.count("failed: ") == 2 and "mp4: 1.mp4" not in done.stderr


def test_a_hash_needs_a_folder_and_workers_need_memory(folder: Path, tmp_path: Path) -> None:
    done = call(folder, "--layout", "hash")
    assert done.exit_code == 2 and "pass -o FOLDER" in done.stderr
    done = call(folder, "-o", tmp_path / "out", "--memory", "10M")
    assert done.exit_code == 1 and "a worker ran out of memory (limit 10 MiB) before its first item" in done.stderr


def test_a_log_file_gets_a_line_of_progress_now_and_then(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert " left\n" not in call(folder, "-o", tmp_path / "out", "--frames", 1).stderr  # less than a minute
    monkeypatch.setattr("codecmeta.cli.extract._SAY_EVERY", 0.0)
    (folder / "bad.mp4").write_bytes(b"no video")
    said = call(folder, "-o", tmp_path / "out", "--frames", 1).stderr
    assert re.search(r"^1 of 4 videos, 0 failed; 0 videos/s, not known how long left$", said, re.MULTILINE)
    assert re.search(r"^4 of 4 videos, 1 failed; [0-9.e-]+ videos/s, 0.0 s left$", said, re.MULTILINE)
    summary = Summary(10)
    summary.count.update({"skipped": 4, "done": 3})
    summary.start -= 1000  # seconds that three videos took
    assert summary.progress().endswith("0.003 videos/s, 0:16:40 left")
