"""`codecmeta show`: what is known about a video, or what is in a cache."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click
import h5py
from tqdm import tqdm

from codecmeta.cache.store import load
from codecmeta.cli.doing import move
from codecmeta.cli.failure import failures, readable
from codecmeta.cli.outputs import by_format, check_output, output_option, write_outputs
from codecmeta.cli.sources import Video, files_among
from codecmeta.container.packets import Progress
from codecmeta.container.probe import probe
from codecmeta.record.facts import in_words, summarise
from codecmeta.record.selection import TABLE_POLICIES, Policy


@click.command(short_help="Summarise a video or a cache, also as picture or page.")
@click.argument("file", type=Video())
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
@click.option("--png", type=click.Path(path_type=Path), help="Draw density, budgets and the timeline into this file.")
@click.option("--html", type=click.Path(path_type=Path), help="Write the same and all facts as a page into this file.")
@click.option("--frames", type=click.IntRange(1), default=None, help="How many frames are drawn. Default: 8.")
@click.option(
    "--choose",
    type=click.Choice(TABLE_POLICIES),
    default=None,
    help="How the frames that are drawn are chosen: see `codecmeta frames`. Default: uniform.",
)
@output_option(".png, .html, .json or .txt")
def show(
    file: Path | str,
    as_json: bool,
    png: Path | None,
    html: Path | None,
    frames: int | None,
    choose: Policy | None,
    outputs: tuple[Path, ...],
) -> None:
    """Print a readable summary of FILE, a video (a path or an http(s) address) or a cache.

    The pictures of a cache come from the video beside it; without it density is drawn over plain grey. Chosen frames
    (--choose) have under them why they were.
    """
    with failures():
        files = by_format(outputs, (".png", ".html", ".json", ".txt"), **{".png": png, ".html": html})
        for output in files.values():
            check_output(output, *files_among(file))
        drawn = {".png", ".html"} & files.keys()
        for name, value in (("--frames", frames), ("--choose", choose)):
            if value is not None and not drawn:
                raise click.UsageError(f"{name} has no effect (it needs a picture or page: --png, --html)")
        cached = isinstance(file, Path) and (h5py.is_hdf5(file) or file.suffix == ".h5")
        summary = _of_cache(Path(file)) if cached else {}
        pictures: dict[str, Callable[[], bytes]] = {}
        with tqdm(unit="B", unit_scale=True, delay=1, leave=False, disable=not sys.stderr.isatty()) as bar:
            if drawn:  # what was found out while drawing is in the text, too
                known, pictures = _drawn(file, frames, choose, partial(move, bar))
                summary = known | summary
            elif not cached:
                summary = summarise(probe(file, progress=partial(move, bar)))
        texts = {".json": lambda: json.dumps(summary).encode(), ".txt": lambda: _text(summary).encode()}
        write_outputs(files, {**texts, **pictures})
    click.echo(json.dumps(summary) if as_json else _text(summary))


def _drawn(
    file: Path | str, frames: int | None, choose: Policy | None, progress: Progress
) -> tuple[dict[str, Any], dict[str, Callable[[], bytes]]]:
    """The facts that are drawn, and both pictures from one overview."""
    from codecmeta.view import draw, overview, page  # OpenCV, needed for this only

    view = overview.overview_of_file(file, frames or overview.FRAMES, choose or "uniform", progress)
    return view.summary, {".png": lambda: draw.png(view), ".html": lambda: page.page(view).encode()}


def _of_cache(file: Path) -> dict[str, Any]:
    with load(file) as meta:
        summary = summarise(meta)
        summary["settings"] = meta.settings
        summary["cache_bytes"] = file.stat().st_size
        for name, maps in (("residual", meta.residual), ("qp", meta.qp), ("bits", meta.bits)):
            if maps is not None:
                summary["stored"][name] = {
                    "frames": len(maps.frame),
                    "shape": list(maps.values.shape[1:]),
                    "block": maps.block,
                }
        if meta.motion is not None:
            summary["stored"]["motion"] = {"frames": len(meta.motion.frame), "vectors": int(meta.motion.indptr[-1])}
    return summary


def _text(summary: dict[str, Any]) -> str:
    words = in_words(summary)
    lines = [words.pop("file"), *(f"  {name:18}  {text}" for name, text in words.items())]
    if "settings" in summary:
        made = f"{summary['cache_bytes']:,} bytes, made with {json.dumps(summary['settings'])}"
        lines.append(f"  {'cache':18}  {made}")
    for name, entry in summary["stored"].items():
        lines.append(f"  {name:18}  " + ", ".join(f"{key} {value}" for key, value in entry.items()))
    lines.append("  signals")
    for name, entry in summary["capability"].items():
        lines.append(f"    {name:16}  {entry['level']:10} {entry['why']}")
    return "\n".join(readable(line) for line in lines)
