"""An overview, and what a model made of it -> one page that needs nothing else: no script, no request, no file."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from codecmeta.record.facts import headline, in_words
from codecmeta.version import __version__
from codecmeta.view.draw import panel
from codecmeta.view.markup import name, node, render
from codecmeta.view.overview import Overview, captions, panel_aspect
from codecmeta.view.panels import NEUTRAL, jpeg, kept_cells, resized, scale_bar, viewed
from codecmeta.view.report import STAGES, Report, costs, looked_at, waited_for
from codecmeta.view.svg import bar_text, timeline_figure
from codecmeta.view.timeline import clock_text

PICTURE_BYTES = 1_100_000
"""All pictures of a page together, before they are written as text (which takes a third more)."""

SHOWN = 64
"""Sampled frames that a page has pictures of, evenly chosen where there are more."""

STYLE = Path(__file__).with_name("page.css")

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"

_LEVELS = {"exact": "\u25cf", "exported": "\u25d5", "estimated": "\u25d1", "none": "\u25cb"}


def page(view: Overview, report: Report | None = None) -> str:
    """The page as HTML: at most about 2 MB whatever the length of the video. report: what a model made of it."""
    facts = view.summary
    about = [node("p", headline(facts), class_="lead"), *_notes(view.notes)]
    if report is None:
        first: list[Element | None] = [node("header", node("h1", name(facts["file"])), *about), *_density(view)]
        about, last = [], []
    else:
        first, last = [_answer(view, report), *_kept(view, report), *_density(view, True)], [_cost(report)]
    body = [
        *first,
        _section("What happens when", *about, timeline_figure(view.timeline, view.budget), _bar_table(view)),
        *last,
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


def _answer(view: Overview, report: Report) -> Element:
    """The question, the answers, and what they rest on."""
    answers = report.answers
    parts = [node("p", name(view.summary["file"]), ", asked of the model ", name(answers[0]["model"]), class_="lead")]
    parts.append(node("h1", name(report.question)))
    parts += [node("p", node("b", f"{one['method']} "), name(one["answer"]), class_="answer") for one in answers]
    if answers[0]["note"]:
        parts.append(node("p", f"Note: {answers[0]['note']}.", class_="note small"))
    return node("header", *parts, node("p", looked_at(answers[0]), class_="small"), class_="asked")


def _cost(report: Report) -> Element:
    """What the answer took: tokens, bytes and the seconds of every stage, beside the plain model's."""
    methods = [answer["method"] for answer in report.answers]
    longest = max(max(answer["seconds"].values()) for answer in report.answers) or 1.0
    stages = [
        node(
            "tr",
            node("th", STAGES.get(stage, stage), scope="row"),
            *(_bar_cell(answer["seconds"][stage], longest) for answer in report.answers),
            class_="sum" if stage in ("first_token", "total") else None,
        )
        for stage in report.answers[0]["seconds"]
    ]
    return _section(
        "What it cost",
        _table(["", *methods], costs(report.answers), class_="numbers"),
        node("h3", "Seconds by stage"),
        node("table", _head_row(["stage", *methods]), node("tbody", *stages), class_="stages"),
        node("p", f"{waited_for(report.waited)}.", class_="note"),
    )


def _bar_cell(seconds: float, longest: float) -> Element:
    bar = node("i", style=f"width:{100 * seconds / longest:.1f}%")
    return node("td", node("span", f"{seconds:.3f} s"), node("div", bar, class_="meter", aria_hidden="true"))


def _shown(view: Overview) -> tuple[NDArray[np.int64], Element | None]:
    """Which of the sampled frames have pictures, and a note where these are not all."""
    every = len(view.samples.rows)
    shown = np.unique(np.linspace(0, every - 1, min(every, SHOWN)).round().astype(int))
    note = f"{len(shown)} of {every} sampled frames are shown."
    return shown, node("p", note, class_="note") if len(shown) < every else None


def _density(view: Overview, run: bool = False) -> list[Element | None]:
    """The sampled frames under their density."""
    (shown, more), room = _shown(view), PICTURE_BYTES // 2 if run else PICTURE_BYTES
    cards = _panels(view, shown, [panel(view.samples, index, *_panel_size(view, len(shown))) for index in shown], room)
    return [_section("Where something is new", more, _scale(view, run), cards, _table_of(view))]


def _kept(view: Overview, report: Report) -> list[Element | None]:
    """The sampled frames with what was kept of them, what was folded and where it went, and what was dropped."""
    samples, (shown, more) = view.samples, _shown(view)
    assert samples.kept is not None
    width, height = _panel_size(view, len(shown))
    plain = np.full((height, width, 3), NEUTRAL, np.uint8)
    pictures = [plain if samples.pictures is None else viewed(samples.pictures[one], samples.view) for one in shown]
    grid = samples.kept.shape[1:]
    drawn = [
        kept_cells(resized(picture, width, height), samples.kept[at], report.homes[at].reshape(grid), at)
        for picture, at in zip(pictures, shown.tolist(), strict=True)
    ]
    cards = _panels(view, shown, drawn, PICTURE_BYTES // 2, report.homes)
    return [_section("What was kept", _kinds(report), more, cards, *_folded(view, report))]


def _kinds(report: Report) -> Element | None:
    """The three kinds of cells with their numbers, as a legend."""
    cells, kept, folded = _numbers(report.homes, np.arange(len(report.homes)))
    if kept == cells:
        return None
    entries = [
        ("kept", kept, "kept"),
        ("folded", folded, "folded into kept ones"),
        ("dropped", cells - kept - folded, "dropped"),
    ]
    items = [
        node("li", node("i", class_=f"swatch {kind}"), f"{count:,} {text}") for kind, count, text in entries if count
    ]
    return node("ul", *items, class_="legend")


def _numbers(homes: NDArray[np.int64], frames: NDArray[np.int64]) -> tuple[int, int, int]:
    """(cells, kept, folded) of some frames."""
    own = np.arange(homes.size).reshape(homes.shape)
    kept = int((homes == own)[frames].sum())
    return homes[frames].size, kept, int((homes >= 0)[frames].sum()) - kept


def _folded(view: Overview, report: Report) -> list[Element | None]:
    """Where folded tokens went: what the lines mean, and the numbers from frame to frame."""
    _, kept, folded = _numbers(report.homes, np.arange(len(report.homes)))
    own = report.answers[0]["tokens_kept"] - kept
    more = f"{own:,} more tokens are separators, or several in one cell." if own > 0 else ""
    if not folded:
        return [node("p", more, class_="small")] if more else []
    words = "A line leads from a folded cell to the one whose token took it in; a triangle points to another frame. "
    per_frame, rows = report.homes.shape[1], []
    names = [captions(view, at)[0].partition(": ")[0] for at in range(len(report.homes))]
    for at, homes in enumerate(report.homes):
        gone = homes[(homes >= 0) & (homes != np.arange(per_frame) + at * per_frame)]
        into, count = np.unique(gone // per_frame, return_counts=True)
        text = ", ".join(
            f"{n:,} into {'itself' if frame == at else names[frame]}" for frame, n in zip(into, count, strict=True)
        )
        rows.append([names[at], f"{len(gone):,}", text or "none"])
    table = _table(["frame", "folded", "where they went"], rows, class_="folds")
    return [node("p", words + more, class_="small"), _details("Where folded tokens went, as a table", table)]


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
    homes: NDArray[np.int64] | None = None,
) -> Element:
    """Pictures with their captions, as JPEG of the best quality that has room."""
    for quality in (88, 75, 60, 45, 30, 15):
        files = [jpeg(picture, quality) for picture in pictures]
        if sum(map(len, files)) <= room:
            break
    cards = []
    for index, picture, file in zip(shown.tolist(), pictures, files, strict=True):
        caption, residual, *why = captions(view, index)
        if homes is not None:
            cells, kept, folded = _numbers(homes, np.array([index]))
            residual = f"{kept:,} of {cells:,} cells kept" + (f", {folded:,} folded" if folded else "")
        image = node(
            "img",
            src=f"data:image/jpeg;base64,{b64encode(file).decode()}",
            alt=f"{caption}; {residual}. {_merged(view, index) if homes is None else ''}".strip(),
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
    rows = {
        **in_words(view.summary),
        "event boundaries": f"{len(view.timeline.events)}",
        "tokens": f"{int(view.timeline.budgets.sum()):,}: {view.budget}",
    }
    cells = [node("tr", node("th", key, scope="row"), node("td", name(text))) for key, text in rows.items()]
    return node("table", node("tbody", *cells), class_="facts")


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]], class_: str) -> Element:
    body = [node("tr", node("th", row[0], scope="row"), *(node("td", cell) for cell in row[1:])) for row in rows]
    return node("table", _head_row(titles), node("tbody", *body), class_=class_)


def _head_row(titles: Sequence[str]) -> Element:
    cells = [node("th", title, scope="col") if title else node("td") for title in titles]
    return node("thead", node("tr", *cells))
