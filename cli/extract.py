"""`codecmeta extract`: the metadata of videos, into one HDF5 cache file each."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from codecmeta.cache import SUFFIX, Written, default_cache_path, extract_to_file
from codecmeta.corpus import find_videos, read_manifest
from codecmeta.errors import CacheError, VideoError


class FrameSelection(click.ParamType):
    """all, keyframes or a number."""

    name = "all|keyframes|N"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> Any:
        if value in ("all", "keyframes"):
            return value
        if str(value).isdigit() and int(value) > 0:
            return int(value)
        self.fail(f"{value!r}: expected all, keyframes or a positive number of frames", param, context)


@click.command()
@click.argument("inputs", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Folder for the caches (or, for one video, a file name ending in .h5). Default: beside each video.",
)
@click.option("--manifest", help="A list of videos: a text file with a path per line, or - for standard input.")
@click.option(
    "--frames",
    type=FrameSelection(),
    default="all",
    show_default=True,
    help="Frames that get maps: all, the keyframes, or N spread evenly over time.",
)
@click.option(
    "--details/--no-details",
    default=None,
    help="H.264: also bits per block, the chroma residual and reference distances, and the luma residual unrounded. "
    "Default: not with --frames all, where they would make the cache larger than the video.",
)
@click.option(
    "--jobs", type=click.IntRange(1), default=1, show_default=True, help="Keyframe segments decoded at the same time."
)
@click.option(
    "--stream",
    type=click.IntRange(0),
    default=None,
    help="Which video stream, counted from 0. Default: FFmpeg's best one.",
)
@click.option("--overwrite", is_flag=True, help="Extract again what is there already.")
@click.option("--fail-fast", is_flag=True, help="Stop at the first video that fails.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per video on standard output.")
@click.option("-q", "--quiet", is_flag=True, help="No progress bar and no summary.")
def extract(
    inputs: tuple[Path, ...],
    output: Path | None,
    manifest: str | None,
    frames: Any,
    details: bool | None,
    jobs: int,
    stream: int | None,
    overwrite: bool,
    fail_fast: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Cache the codec metadata of INPUT... (videos or folders).

    A cache that is there already and was made with the same settings is kept. Exit code 0: all done; 1: at least one
    video failed; 2: wrong usage.
    """
    videos = _videos(inputs, manifest)
    failures: list[str] = []
    bar = tqdm(videos, unit="video", file=sys.stderr, disable=quiet or not sys.stderr.isatty())
    for video, relative in bar:
        row: dict[str, Any] = {"path": str(video)}
        try:
            target = _target(video, relative, output, len(videos))
            written = extract_to_file(
                video, target, frames=frames, details=details, jobs=jobs, stream=stream, overwrite=overwrite
            )
            row.update(_row(written))
        except (VideoError, CacheError, OSError) as error:
            reason = str(error)
            failures.append(reason)
            row.update({"status": "failed", "reason": reason})
            click.echo(f"failed: {reason}", err=True)
        if as_json:
            click.echo(json.dumps(row))
        elif row["status"] != "failed" and not quiet:
            click.echo(_line(row))
        if failures and fail_fast:
            break
    if failures:
        if len(videos) > 1:
            click.echo(f"{len(failures)} of {len(videos)} videos failed", err=True)
        sys.exit(1)


def _videos(inputs: tuple[Path, ...], manifest: str | None) -> list[tuple[Path, Path]]:
    """(video, path relative to the folder it was found in) for every input, in a stable order."""
    if not inputs and manifest is None:
        raise click.UsageError("nothing to do: pass videos, folders or --manifest FILE")
    found = [pair for one in inputs for pair in find_videos(one)]
    if manifest is not None:
        try:
            lines = sys.stdin.read() if manifest == "-" else Path(manifest).read_text()
        except OSError as error:
            raise click.UsageError(f"--manifest {manifest}: {error.strerror}") from error
        found += [(path, Path(path.name)) for path in read_manifest(lines)]
    if not found:
        raise click.UsageError(f"no video found in {', '.join(str(one) for one in inputs)}")
    return found


def _target(video: Path, relative: Path, output: Path | None, videos: int) -> Path:
    if output is None:
        return default_cache_path(video)
    if videos == 1 and output.suffix == ".h5":
        return output
    return output / relative.with_name(relative.stem + SUFFIX)


def _row(written: Written) -> dict[str, Any]:
    return {
        "status": "skipped" if written.skipped else "done",
        "cache": str(written.path),
        "frames": written.frames,
        "cache_bytes": written.cache_bytes,
        "source_bytes": written.source_bytes,
    }


def _line(row: dict[str, Any]) -> str:
    ratio = row["cache_bytes"] / max(row["source_bytes"], 1)
    what = "kept" if row["status"] == "skipped" else "wrote"
    sizes = f"{row['cache_bytes']:,} bytes, {ratio:.2f} of the video's {row['source_bytes']:,}"
    return f"{what} {row['cache']}: {row['frames']} frames, {sizes}"
