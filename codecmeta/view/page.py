"""An overview, and what a model made of it -> one page that needs nothing else: no script, no request, no file."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from codecmeta.version import __version__
from codecmeta.view.draw import panel
from codecmeta.view.markup import name, node, render
from codecmeta.view.overview import Overview, captions, panel_aspect
from codecmeta.view.panels import NEUTRAL, jpeg, kept_cells, resized, scale_bar, viewed
from codecmeta.view.svg import bar_text, timeline_figure
from codecmeta.view.timeline import clock_text, counted

PICTURE_BYTES = 1_100_000
"""All pictures of a page together, before they are written as text (which takes a third more)."""

SHOWN = 64
"""Sampled frames that a page has pictures of, evenly chosen where there are more."""

STYLE = Path(__file__).with_name("page.css")

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"

_LEVELS = {"exact": "\u25cf", "exported": "\u25d5", "estimated": "\u25d1", "none": "\u25cb"}


@dataclass(frozen=True)
class Report:
    """What a model answered, for the page of `codecmeta run`. question: as asked. answers: one or two (the method's,
    and with --compare the plain model's), as `Answer.as_dict` gives them."""

    question: str
    answers: list[dict[str, Any]]


def page(view: Overview, report: Report | None = None) -> str:
    """The page as HTML: at most about 2 MB whatever the length of the video. report: what a model made of it."""
    facts = view.summary
    body = [
        node(
            "header", node("h1", name(facts["file"])), node("p", _headline(facts), class_="lead"), *_notes(view.notes)
        ),
        *([] if report is None else [_answers(report)]),
        *_frames(view, report),
        _section("What happens when", timeline_figure(view.timeline, view.budget), _bar_table(view)),
        *([] if report is None else [_cost(report)]),
        _section("What can be known of this file", _capability(facts["capability"])),
        _section("Facts", _facts(view)),
        node("footer", node("p", f"Made by codecmeta {__version__}. This page is one file and asks for nothing else.")),
    ]
    return document(str(facts["file"]), body)


def document(title: str, body: Sequence[Element | None]) -> str:
    """A whole page, styled, that loads nothing."""
    head = node(
        "head",
        node("meta", charset="utf-8"),
        node("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        node("meta", name="viewport", content="width=device-width, initial-scale=1"),
        node("meta", name="color-scheme", content="light dark"),
        node("title", f"{title} - codecmeta"),
        node("style", STYLE.read_text(encoding="utf-8")),
    )
    return "<!DOCTYPE html>\n" + render(node("html", head, node("body", node("main", *body)), lang="en")) + "\n"


def _section(title: str, *children: Element | None) -> Element:
    return node("section", node("h2", title), *children)


def _notes(notes: Sequence[str]) -> list[Element]:
    return [node("p", note, class_="note") for note in notes]


def _headline(facts: dict[str, Any]) -> str:
    return (
        f"{facts['codec']}, {facts['width']} \u00d7 {facts['height']} pixels, {counted(facts['frames'], 'frame')}, "
        f"{facts['seconds']:g} s, {facts['packet_bytes']:,} bytes"
    )


def _answers(report: Report) -> Element:
    model = node("p", "Asked: the model ", name(report.answers[0]["model"]), class_="lead")
    parts = [model, node("p", node("b", "Question "), name(report.question), class_="question")]
    for answer in report.answers:
        parts.append(node("p", node("b", f"{answer['method']} "), name(answer["answer"]), class_="answer"))
    if report.answers[0].get("note"):
        parts.append(node("p", f"Note: {report.answers[0]['note']}.", class_="note"))
    return _section("Question and answer", *parts)


def _cost(report: Report) -> Element:
    """What the answer took: tokens, bytes and the seconds of every stage, beside the plain model's."""
    rows = [
        ("budget, share of visual tokens", "budget", "g"),
        ("frames", "frames", ","),
        ("visual tokens, full", "tokens_full", ","),
        ("visual tokens, kept", "tokens_kept", ","),
        ("kept of all", "share_kept", ".1%"),
        ("visual tokens per layer, mean", "tokens_llm_mean", ",.1f"),
        ("encoder tokens, full", "encoder_full", ","),
        ("encoder tokens, kept", "encoder_tokens", ","),
        ("KV cache, bytes", "kv_bytes", ","),
    ]
    lines = [
        [title, *("not set" if answer[key] is None else format(answer[key], how) for answer in report.answers)]
        for title, key, how in rows
    ]
    methods = [answer["method"] for answer in report.answers]
    longest = max(max(answer["seconds"].values()) for answer in report.answers) or 1.0
    stages = [
        node(
            "tr",
            node("th", _STAGES.get(stage, stage), scope="row"),
            *(_bar_cell(answer["seconds"][stage], longest) for answer in report.answers),
            class_="sum" if stage in ("first_token", "total") else None,
        )
        for stage in report.answers[0]["seconds"]
    ]
    return _section(
        "What it cost",
        _table(["", *methods], lines, class_="numbers"),
        node("h3", "Seconds by stage"),
        node("table", _head_row(["stage", *methods]), node("tbody", *stages), class_="stages"),
    )


_STAGES = {
    "probe": "probe: packet table",
    "decode": "decode: pictures",
    "metadata": "metadata: codec signals",
    "preprocess": "preprocess: resize, normalise, tokenise",
    "vision": "vision: encoder and projector",
    "strategy": "strategy: plan and reduce",
    "prefill": "prefill: language model over the prompt",
    "first_token": "until the first token, all before included",
    "total": "total",
}


def _bar_cell(seconds: float, longest: float) -> Element:
    bar = node("i", style=f"width:{100 * seconds / longest:.1f}%")
    return node("td", node("span", f"{seconds:.3f} s"), node("div", bar, class_="meter", aria_hidden="true"))


def _frames(view: Overview, report: Report | None) -> list[Element]:
    """The sampled frames under what was kept of them, after a run, and under their density."""
    samples = view.samples
    shown = np.unique(np.linspace(0, len(samples.rows) - 1, min(len(samples.rows), SHOWN)).round().astype(int))
    width, height = _panel_size(view, len(shown))
    kept = samples.kept if report is not None else None
    room = PICTURE_BYTES if kept is None else PICTURE_BYTES // 2
    heat = [panel(samples, index, width, height) for index in shown]
    more = None
    if len(shown) < len(samples.rows):
        more = node("p", f"{len(shown)} of {len(samples.rows)} sampled frames are shown.", class_="note")
    parts = []
    if report is not None and kept is not None:
        plain = np.full((height, width, 3), NEUTRAL, np.uint8)
        pictures = [plain if samples.pictures is None else viewed(samples.pictures[one], samples.view) for one in shown]
        veiled = [kept_cells(resized(one, width, height), kept[at]) for one, at in zip(pictures, shown, strict=True)]
        words = node("p", _kept_in_words(report.answers[0], kept))
        parts.append(_section("What was kept", words, more, _panels(view, shown, veiled, room, kept)))
        more = None
    cards = _panels(view, shown, heat, room)
    return [*parts, _section("Where something is new", more, _scale(view, report is not None), cards, _table_of(view))]


def _kept_in_words(answer: dict[str, Any], kept: NDArray[np.bool_]) -> str:
    """What the clear and the veiled cells are, and what happened further inside."""
    if kept.all():
        words = f"{answer['method']} let every token into the language model."
    else:
        words = (
            f"{answer['method']} let {answer['tokens_kept']:,} of {answer['tokens_full']:,} visual tokens into the "
            "language model. Clear: cells of the token grid that one of them stands for. Under the veil: cells "
            "without a token of their own; the method may have folded them into others."
        )
    if (own := answer["tokens_kept"] - int(kept.sum())) > 0:
        words += f" {own:,} of them are separators that the method adds."
    if answer["tokens_llm_mean"] < answer["tokens_kept"]:
        words += f" Inside, fewer remain: {answer['tokens_llm_mean']:,.1f} in the mean of its layers."
    return words


def _panel_size(view: Overview, count: int) -> tuple[int, int]:
    """(width, height) of a picture: smaller where there are many."""
    aspect = panel_aspect(view)
    area = {12: 400 * 300, 32: 320 * 240}.get(next((most for most in (12, 32) if count <= most), 0), 240 * 180)
    height = max(1, round((area / aspect) ** 0.5))
    return max(1, round(height * aspect)), height


def _panels(
    view: Overview,
    shown: NDArray[np.int64],
    pictures: Sequence[NDArray[np.uint8]],
    room: int,
    kept: NDArray[np.bool_] | None = None,
) -> Element:
    """Pictures with their captions, as JPEG of the best quality that has room."""
    for quality in (88, 75, 60, 45, 30, 15):
        files = [jpeg(picture, quality) for picture in pictures]
        if sum(map(len, files)) <= room:
            break
    cards = []
    for index, picture, file in zip(shown.tolist(), pictures, files, strict=True):
        caption, residual, *why = captions(view, index)
        if kept is not None:
            residual = f"{int(kept[index].sum()):,} of {kept[index].size:,} cells kept"
        image = node(
            "img",
            src=f"data:image/jpeg;base64,{b64encode(file).decode()}",
            alt=f"{caption}; {residual}. {_merged(view, index) if kept is None else ''}".strip(),
            width=picture.shape[1],
            height=picture.shape[0],
        )
        share = min(100.0, 100 * view.timeline.budgets[index] / max(view.timeline.capacity, 1))
        meter = node("div", node("i", style=f"width:{share:.1f}%"), class_="meter", aria_hidden="true")
        text = node("figcaption", node("b", caption), meter, *(node("span", text) for text in (residual, *why)))
        cards.append(node("figure", image, text, class_="panel"))
    return node("div", *cards, class_="panels")


def _merged(view: Overview, index: int) -> str:
    regions = view.samples.regions
    if regions is None:
        return ""
    sizes = np.bincount(regions[index].ravel())
    return f"{int(sizes[sizes > 1].sum())} of {regions[index].size} patches may share {int((sizes > 1).sum())} tokens."


def _scale(view: Overview, run: bool) -> Element | None:
    """The colours of the density with their values, made by the same function as the pictures. run: patches were merged
    for a model, and not just might be."""
    if view.samples.density is None:
        return None
    bar = scale_bar(320, 16)
    colours = ", ".join(f"#{r:02x}{g:02x}{b:02x}" for r, g, b in bar[0, ::8].tolist())
    values = node("div", *(node("span", value) for value in ("0", "0.25", "0.5", "0.75", "1")), class_="values")
    ramp = node("div", node("div", class_="ramp", style=f"background:linear-gradient(to right, {colours})"), values)
    share = "share" if run else "may share"
    regions = "" if view.samples.regions is None else f"; outlined and hatched: patches that {share} one token"
    words = node("p", view.density_title + regions)
    return node("div", ramp, words, class_="scale")


def _table_of(view: Overview) -> Element:
    """The sampled frames in numbers."""
    line, samples = view.timeline, view.samples
    rows = []
    for index, row in enumerate(samples.rows.tolist()):
        strongest = samples.strongest[index]
        rows.append(
            [
                f"{row:,}",
                f"{line.times[index]:.3f}",
                f"{line.budgets[index]:,}",
                f"{line.capacity:,}",
                "not known" if np.isnan(strongest) else f"{strongest:.3g}",
            ]
        )
    titles = ["frame", "time, s", "tokens", "of", "strongest residual, grey levels rms"]
    return _details("Sampled frames as a table", _table(titles, rows, class_="numbers sampled"))


def _bar_table(view: Overview) -> Element:
    """The timeline in words, for those who cannot see it."""
    line = view.timeline
    bars = [node("li", bar_text(line, bar)) for bar in range(len(line.first) - 1)]
    events = [
        node("li", f"frame {frame:,}, {clock_text(at, line.span[1]) if line.clock else ''}")
        for frame, at in zip(line.event_frames.tolist(), line.events.tolist(), strict=True)
    ]
    parts = [node("p", "Event boundaries:"), node("ul", *events, class_="events")] if events else []
    return _details("Timeline as text", *parts, node("p", f"{line.bars_title}:"), node("ol", *bars, class_="bars"))


def _details(title: str, *children: Element) -> Element:
    return node("details", node("summary", title), node("div", *children, class_="scroll", tabindex="0"))


def _capability(capability: dict[str, dict[str, str]]) -> Element:
    rows = [
        node(
            "tr",
            node("th", signal.replace("_", " "), scope="row"),
            node("td", node("span", _LEVELS.get(entry["level"], ""), aria_hidden="true"), f" {entry['level']}"),
            node("td", entry["why"]),
        )
        for signal, entry in capability.items()
    ]
    return node("table", _head_row(["signal", "level", "why"]), node("tbody", *rows), class_="capability")


def _facts(view: Overview) -> Element:
    facts = view.summary
    types = ", ".join(f"{count:,} {kind}" for kind, count in facts["picture_types"].items())
    gops = facts["gops"]
    rate = f", {8 * facts['packet_bytes'] / facts['seconds'] / 1000:,.1f} kbit/s" if facts["seconds"] else ""
    rows = [
        ("file", facts["file"]),
        ("codec", f"{facts['codec']} {facts['profile']}, {facts['pixel_format']}"),
        ("displayed size", f"{facts['width']} \u00d7 {facts['height']} pixels"),
        ("rotation", f"{facts['rotation']} degrees clockwise"),
        ("frame rate", f"{facts['average_rate']:.3f} frames/s on average" if facts["average_rate"] else "not known"),
        ("duration", f"{facts['seconds']:g} s"),
        ("frames", f"{facts['frames']:,} ({types})"),
        ("corrupt frames", f"{facts['corrupt_frames']:,}"),
        ("packet bytes", f"{facts['packet_bytes']:,} bytes{rate}"),
        ("groups of pictures", f"{gops['count']:,}, of {gops['shortest']:,} to {gops['longest']:,} frames"),
        ("event boundaries", f"{len(view.timeline.events)}"),
        ("tokens", f"{int(view.timeline.budgets.sum()):,}: {view.budget}"),
    ]
    return node(
        "table",
        node("tbody", *(node("tr", node("th", key, scope="row"), node("td", name(text))) for key, text in rows)),
        class_="facts",
    )


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]], class_: str) -> Element:
    body = [node("tr", node("th", row[0], scope="row"), *(node("td", cell) for cell in row[1:])) for row in rows]
    return node("table", _head_row(titles), node("tbody", *body), class_=class_)


def _head_row(titles: Sequence[str]) -> Element:
    cells = [node("th", title, scope="col") if title else node("td") for title in titles]
    return node("thead", node("tr", *cells))
