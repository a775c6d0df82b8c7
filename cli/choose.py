"""`codecmeta frames` and `codecmeta events`: what to look at, and where something happens, from packets alone."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from codecmeta.cli.failure import failures
from codecmeta.cli.outputs import by_format, check_output, write_outputs
from codecmeta.cli.sources import Video, files_among
from codecmeta.decisions.choose import TOLERANCE
from codecmeta.decisions.packet_events import PacketEvent
from codecmeta.extraction.choose import CACHE_SUFFIX, choose_frames, packet_events, pictures_of_events
from codecmeta.record.selection import TABLE_POLICIES, Policy


@click.command(short_help="Choose frames of a video before one is decoded.")
@click.argument("video", type=Video())
@click.option("-n", "--number", type=click.IntRange(1), default=32, show_default=True, help="How many frames.")
@click.option(
    "--choose",
    "policy",
    type=click.Choice(TABLE_POLICIES),
    default="events",
    show_default=True,
    help="How; see above.",
)
@click.option(
    "--tolerance",
    type=click.FloatRange(0, 1),
    default=TOLERANCE,
    show_default=True,
    help="Part of a slot of time in which a cheap frame may lie.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
@click.option("--csv", "as_csv", is_flag=True, help="A line per frame: row, time, why, score.")
def frames(video: Path | str, number: int, policy: Policy, tolerance: float, as_json: bool, as_csv: bool) -> None:
    """Choose frames of VIDEO (a path or an http(s) address, or a cache) before a picture is decoded.

    uniform: evenly spread in time, both ends included. keyframes: evenly among the keyframes. cheap: in each equal slot
    of time the frame that costs least to decode. events: a quarter as cheap, the rest behind what changes.
    """
    _one_format(as_json, as_csv)
    with failures():
        choice = choose_frames(video, number, policy=policy, tolerance=tolerance)
    found = choice.as_dict()
    if as_json:
        click.echo(json.dumps({"video": str(video), **found}))
    elif as_csv:
        _csv(found["frames"], ("row", "time", "why", "score"))
    else:
        click.echo(repr(choice))


@click.command(short_help="List where something happens, from packet sizes alone.")
@click.argument("video", type=Video())
@click.option("--most", type=click.IntRange(1), default=64, show_default=True, help="The strongest so many.")
@click.option("--least", type=click.FloatRange(0), default=3.0, show_default=True, help="Weaker ones are left out.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
@click.option("--csv", "as_csv", is_flag=True, help="A line per event: start, stop, first, last, strength, cut.")
@click.option(
    "--exact", is_flag=True, help="Extract the signals of all frames first: slower, and what packets hide is found too."
)
@click.option("--html", type=click.Path(path_type=Path), help="Write a page with a picture of each event, too.")
def events(
    video: Path | str, most: int, least: float, as_json: bool, as_csv: bool, exact: bool, html: Path | None
) -> None:
    """List where something happens in VIDEO, in order of time, from packet sizes alone.

    VIDEO is a path or an http(s) address, or a cache.

    Strength is in deviations from what is usual for pictures of the same kind; 4 is rare by chance. A cut is marked as
    one. What ends is an event too.
    """
    _one_format(as_json, as_csv)
    with failures():
        if html is not None:
            if isinstance(video, Path) and video.suffix == CACHE_SUFFIX:
                raise ValueError(f"{video}: --html shows pictures, which are in the video; pass that")
            by_format((html,), (".html",))
            check_output(html, *files_among(video))
        listed = packet_events(video, most=most, least=least, exact=exact)
        if html is not None:
            write_outputs({".html": html}, {".html": lambda: _page(video, listed, exact)})
    found = [asdict(one) for one in listed]
    if as_json:
        click.echo(json.dumps({"video": str(video), "events": found}))
    elif as_csv:
        _csv(found, ("start", "stop", "first", "last", "strength", "cut"))
    else:
        for one in found:
            kind = "cut" if one["cut"] else ""
            click.echo(f"{one['start']:>10.2f} s  to {one['stop']:>10.2f} s  {one['strength']:>6.1f}  {kind}".rstrip())
        if not found:
            click.echo(f"no event of strength {least:g} or more", err=True)


def _page(video: Path | str, listed: list[PacketEvent], exact: bool) -> bytes:
    """The page of some events, with the cheapest picture of each."""
    from codecmeta.view.event_page import event_page  # OpenCV, needed for this only
    from codecmeta.view.panels import shrunk

    pictures = pictures_of_events(video, listed, exact=exact, transform=shrunk)
    return event_page(Path(video).name, listed, pictures, "all signals" if exact else "packet sizes alone").encode()


def _one_format(as_json: bool, as_csv: bool) -> None:
    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other")


def _csv(rows: Iterable[dict[str, Any]], columns: tuple[str, ...]) -> None:
    writer = csv.DictWriter(sys.stdout, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
