"""`codecmeta extract`: the metadata of videos, into one HDF5 cache file each."""

from __future__ import annotations

import math
import signal
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from codecmeta.cli.doing import move
from codecmeta.cli.failure import Failed, readable
from codecmeta.cli.sources import Video
from codecmeta.cli.summary import Summary
from codecmeta.corpus.batch import extract_many
from codecmeta.corpus.index import IndexWriter, Row, index_path
from codecmeta.corpus.inputs import VIDEO_SUFFIXES, Layout, Task, find_videos, plan, read_manifest, remote_video
from codecmeta.corpus.workers import memory_share
from codecmeta.record.selection import TABLE_POLICIES

_TIMEOUT = 3600.0  # seconds for one of many videos, where nothing else is asked for
_OTHER_FORMATS = {".hdf5", ".hdf", ".json", ".jsonl", ".csv", ".txt", ".npz", ".npy", ".parquet", ".png", ".html"}
_SAY_EVERY = 60.0  # seconds between two lines of progress in a log file


class FrameSelection(click.ParamType):
    """all, keyframes or a number."""

    name = "all|keyframes|N"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> Any:
        if value in ("all", "keyframes"):
            return value
        if str(value).isdecimal() and int(value) > 0:
            return int(value)
        self.fail(f"{value!r}: expected all, keyframes or a positive number of frames", param, context)


class Shard(click.ParamType):
    """I/N with 0 <= I < N."""

    name = "I/N"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        part, slash, parts = str(value).partition("/")
        if slash and part.isdecimal() and parts.isdecimal() and int(part) < int(parts):
            return int(part), int(parts)
        self.fail(f"{value!r}: expected I/N, shard I of N counted from 0, such as 0/8", param, context)


class Seconds(click.FloatRange):
    """More than 0."""

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> Any:
        seconds = super().convert(value, param, context)
        if math.isnan(seconds):  # neither below nor above any bound
            self.fail(f"{value!r}: expected seconds", param, context)
        return seconds


class Bytes(click.ParamType):
    """A number of bytes with K, M, G or T for powers of 1024."""

    name = "BYTES"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> Any:
        if isinstance(value, int):
            return value
        text = str(value).upper().removesuffix("B").removesuffix("I")
        unit = 1024 ** ("KMGT".find(text[-1:]) + 1)
        number = text[:-1] if unit > 1 else text
        try:
            size = int(float(number) * unit)
        except (ValueError, OverflowError):
            size = 0
        if size < 1:
            self.fail(f"{value!r}: expected bytes, such as 500M or 2G", param, context)
        return size


@click.command(short_help="Cache the codec metadata of videos.")
@click.argument("inputs", nargs=-1, type=Video())
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Folder for the caches and their index (or, for one video, a file name ending in .h5). Default: beside each "
    "video.",
)
@click.option(
    "--manifest",
    metavar="FILE",
    help="A list of videos: .txt with a path per line (lines that begin with # are left out), .csv or .jsonl with a "
    "column path, or - for standard input. Relative paths start at the current folder.",
)
@click.option(
    "--null", is_flag=True, help="The paths in --manifest end with a NUL byte, as `find -print0` writes them."
)
@click.option(
    "--layout",
    type=click.Choice(["mirror", "hash"]),
    default="mirror",
    show_default=True,
    help="Under -o: the folders of the inputs, or two levels of folders by a hash of the path, for millions of files.",
)
@click.option(
    "--frames",
    type=FrameSelection(),
    default="all",
    show_default=True,
    help="Frames that get maps: all, the keyframes, or N of them.",
)
@click.option(
    "--choose",
    "policy",
    type=click.Choice(TABLE_POLICIES),
    default="uniform",
    show_default=True,
    help="Which frames N means: see `codecmeta frames`.",
)
@click.option(
    "--details/--no-details",
    default=None,
    help="H.264: also bits per block, the chroma residual and reference distances, and the luma residual unrounded. "
    "Default: not with --frames all, where they would make the cache larger than the video.",
)
@click.option(
    "--stream",
    type=click.IntRange(0),
    default=None,
    help="Which video stream, counted from 0. Default: FFmpeg's best one.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Videos at the same time, each in a process of its own; for a single video, its keyframe segments.",
)
@click.option("--shard", type=Shard(), default=(0, 1), help="Do shard I of N (from 0) of the sorted videos.")
@click.option(
    "--timeout",
    type=Seconds(0, min_open=True),
    help=f"Seconds for one video. Default: {_TIMEOUT:g} for each of several, none for a single one.",
)
@click.option(
    "--memory",
    type=Bytes(),
    help="Memory for one video, such as 2G. Default: an equal share of four fifths of the machine's for each of "
    "several, none for a single one.",
)
@click.option("--overwrite", is_flag=True, help="Extract again what is there already.")
@click.option("--fail-fast", is_flag=True, help="Stop at the first video that fails.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per video on standard output.")
@click.option("-q", "--quiet", is_flag=True, help="No progress and no summary; failures are still said.")
def extract(
    inputs: tuple[Path | str, ...],
    output: Path | None,
    manifest: str | None,
    null: bool,
    layout: Layout,
    shard: tuple[int, int],
    jobs: int,
    timeout: float | None,
    memory: int | None,
    fail_fast: bool,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Cache the codec metadata of INPUT... (videos, http(s) addresses of such, or folders; links to folders inside of
    those are not followed). The cache of an address goes to the current folder.

    A cache that is there already and was made with the same settings is kept, so that the same command goes on where
    another one stopped. One of several videos may crash, hang or run out of memory without costing another. With a
    folder for the caches, its index.jsonl gets a row per video.

    Exit code 0: all done; 1: at least one video failed; 2: wrong usage; 130: interrupted.
    """
    if options["policy"] != "uniform" and isinstance(options["frames"], str):
        raise click.UsageError(f"--choose has no effect on --frames {options['frames']} (it needs a number of frames)")
    try:
        tasks = _tasks(inputs, manifest, null, output, layout, shard)
    except KeyboardInterrupt:
        sys.exit(130)
    alone = shard[1] == 1 and len(tasks) == 1
    isolate = not alone or timeout is not None or memory is not None
    if not alone:
        timeout = timeout or _TIMEOUT
        memory = memory or memory_share(min(jobs, max(len(tasks), 1)))
    summary = Summary(len(tasks))
    bar = _bar(len(tasks), isolate, quiet)
    rows = extract_many(
        tasks,
        jobs=jobs,
        timeout=timeout,
        memory_limit=memory,
        isolate=isolate,
        progress=None if isolate else partial(move, bar),
        **options,
    )
    index = _index_path(inputs, manifest, output, shard)
    try:
        with _terminated_like_interrupted(), _index(index) as writer, closing(rows), bar:
            for row in rows:
                summary.add(row)
                if writer is not None:
                    writer.add(row)
                if isolate:
                    bar.update()
                if bar.disable and not quiet and not alone and summary.due(_SAY_EVERY):
                    click.echo(summary.progress(), err=True)
                _say(row, as_json, alone and not quiet)
                if fail_fast and row.status == "failed":
                    break
    except KeyboardInterrupt:
        summary.interrupted = True
    except BrokenPipeError:  # whoever read our output has enough: click ends quietly
        raise
    except (RuntimeError, OSError) as error:
        raise Failed(error) from error
    if not alone and not quiet or summary.interrupted:
        click.echo(summary.text(index), err=True)
    if summary.interrupted:
        sys.exit(130)
    if summary.failed:
        sys.exit(1)


def _tasks(
    inputs: tuple[Path | str, ...],
    manifest: str | None,
    null: bool,
    output: Path | None,
    layout: Layout,
    shard: tuple[int, int],
) -> list[Task]:
    """What is to be done, or a usage error that says why nothing can be."""
    if not inputs and manifest is None:
        raise click.UsageError("nothing to do: pass videos, folders or --manifest FILE")
    if null and manifest is None:
        raise click.UsageError("--null has no effect (it needs --manifest)")
    if output is not None and output.suffix.lower() in _OTHER_FORMATS | VIDEO_SUFFIXES and not output.is_dir():
        raise click.UsageError(f"-o {output}: caches are HDF5; expected a folder, or for one video a file name in .h5")
    try:
        videos = [
            pair for one in inputs for pair in (find_videos(one) if isinstance(one, Path) else [remote_video(one)])
        ]
        if manifest is not None:
            videos += read_manifest(_text_of(manifest), manifest, null=null)
        if not videos:
            raise click.UsageError(f"no video found in {', '.join([*map(str, inputs), *filter(None, [manifest])])}")
        if output is not None and output.suffix == ".h5" and len(videos) == 1:
            return [Task(*videos[0], str(output))]
        if output is not None and (output.exists() or output.suffix == ".h5") and not output.is_dir():
            raise click.UsageError(f"-o {output}: a file; for several videos pass a folder")
        return plan(videos, output, layout=layout, shard=shard)
    except (ValueError, OSError) as error:
        raise click.UsageError(str(error)) from error


def _text_of(manifest: str) -> str:
    try:
        content = sys.stdin.buffer.read() if manifest == "-" else Path(manifest).read_bytes()
        return content.decode("utf-8-sig", "surrogateescape")
    except OSError as error:
        raise click.UsageError(f"--manifest {manifest}: {error.strerror}") from error


def _index_path(
    inputs: tuple[Path | str, ...], manifest: str | None, output: Path | None, shard: tuple[int, int]
) -> Path | None:
    """The index of the folder that the caches go to; none where there is no such folder."""
    if output is not None:
        return None if output.suffix == ".h5" and not output.is_dir() else index_path(output, shard)
    if manifest is None and len(inputs) == 1 and isinstance(inputs[0], Path) and inputs[0].is_dir():
        return index_path(inputs[0], shard)
    return None


@contextmanager
def _index(path: Path | None) -> Iterator[IndexWriter | None]:
    if path is None:
        yield None
        return
    with IndexWriter(path) as writer:
        yield writer


def _bar(videos: int, isolate: bool, quiet: bool) -> tqdm:
    """Progress with rate and time left on stderr, for terminals; elsewhere a line now and then does. Of a single video
    it goes through the frames, unless a process of its own reads that."""
    shown = (videos > 1 or not isolate) and not quiet and sys.stderr.isatty()
    total, unit = (videos, "video") if isolate else (None, " frames")
    return tqdm(total=total, unit=unit, delay=0 if isolate else 1, file=sys.stderr, leave=isolate, disable=not shown)


def _say(row: Row, as_json: bool, line: bool) -> None:
    """What is printed for one video."""
    if row.status == "failed":
        text = f"failed: {row.reason if row.path in row.reason else f'{row.path}: {row.reason}'}"
        tqdm.write(readable(text), file=sys.stderr)
    if as_json:
        click.echo(row.json())
    elif line and row.status != "failed":
        ratio = row.cache_bytes / max(row.source_bytes, 1)
        what = "kept" if row.status == "skipped" else "wrote"
        sizes = f"{row.cache_bytes:,} bytes, {ratio:.2f} of the video's {row.source_bytes:,}"
        click.echo(f"{what} {readable(row.cache)}: {row.frames} frames, {sizes}")


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """SIGTERM, which schedulers send before they kill, ends a run as Ctrl-C does."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not the main thread: somebody else's signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
