"""A timeline -> a figure of a page: three plots over one axis of time, as SVG that stretches with the page.

The plots hold no text, so they may be stretched along time without harm; labels stand beside them as HTML and keep
their size on every screen. Lines and points keep theirs by `vector-effect`.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element

import numpy as np

from codecmeta.view.markup import node
from codecmeta.view.timeline import (
    TYPE_LETTERS,
    TYPE_NAMES,
    Timeline,
    axis_labels,
    clock_text,
    compact,
    root_ticks,
)

WIDE = 1000
"""Length of the time axis in the SVG's own units."""

HIGH = 200
"""Height of a plot in the SVG's own units."""

FEW = 16
"""Up to so many sampled frames have their tokens written beside them."""


def timeline_figure(line: Timeline, budget: str) -> Element:
    """The timeline with its legend, axes and units. budget: what the tokens per frame are, in words."""
    present = [column for column in range(len(TYPE_NAMES)) if line.pictures[:, column].any()]
    largest = max(float(line.mean_bytes.max()), 1.0)
    lanes = [*(TYPE_LETTERS[column] for column in present), "GoP"]
    return node(
        "figure",
        _legend(line, present),
        node("h3", line.bars_title),
        _plot(
            "bars", _bars(line, largest), [(root(value, largest), compact(value)) for value in root_ticks(largest, 0.1)]
        ),
        _plot(
            "lanes",
            _lanes(line, present),
            [(1 - (number + 0.5) / len(lanes), text) for number, text in enumerate(lanes)],
            style=f"height:{1.1 * len(lanes):.1f}rem",
        ),
        node("h3", f"tokens per sampled frame: {budget}"),
        _plot(
            "tokens",
            _tokens(line),
            [(value / line.most_tokens, compact(value)) for value in line.token_ticks],
            _token_labels(line),
        ),
        _time_axis(line),
        class_="timeline",
    )


def root(value: float, largest: float) -> float:
    """Share of an axis of square roots."""
    return float((value / largest) ** 0.5)


def _plot(kind: str, picture: Element, labels: list[tuple[float, str]], *over: Element, style: str = "") -> Element:
    """A plot with the labels of its upright axis: (share of the height, text)."""
    marks = [node("span", text, style=f"bottom:{100 * share:.2f}%") for share, text in labels]
    if kind != "lanes":
        for share, _ in labels:
            y = f"{HIGH * (1 - share):.1f}"
            picture.insert(2, node("line", x1=0, x2=WIDE, y1=y, y2=y, class_="grid"))
    upright = node("div", *marks, class_="upright", aria_hidden="true")
    return node("div", upright, node("div", picture, *over, class_="field"), class_=f"plot {kind}", style=style or None)


def _svg(title: str, description: str, *children: Element) -> Element:
    return node(
        "svg",
        node("title", title),
        node("desc", description),
        *children,
        viewBox=f"0 0 {WIDE} {HIGH}",
        preserveAspectRatio="none",
        role="img",
        aria_label=f"{title}. {description}",
    )


def _bars(line: Timeline, largest: float) -> Element:
    """One path per picture type. Where types share a bar each shows from the next smaller one up to its own height."""
    left = line.share(line.edges[:-1]) * WIDE
    width = np.diff(line.share(line.edges)) * WIDE * (0.9 if len(left) <= 240 else 1)
    height = np.sqrt(line.mean_bytes / largest) * HIGH
    order = np.sort(height, axis=1)
    paths = []
    for column in range(len(TYPE_NAMES)):
        below = np.where(order < height[:, [column]], order, 0).max(axis=1)
        parts = [
            f"M{x:.2f} {HIGH - low:.2f}h{w:.2f}V{HIGH - top:.2f}h-{w:.2f}z"
            for x, w, low, top in zip(left, width, below, height[:, column], strict=True)
            if top > 0
        ]
        if parts:
            paths.append(node("path", d="".join(parts), class_=f"t{column}"))
    kinds = [
        f"{int(line.pictures[:, column].sum()):,} {TYPE_NAMES[column]} with {int(line.bytes[:, column].sum()):,} bytes"
        for column in range(len(TYPE_NAMES))
        if line.pictures[:, column].any()
    ]
    description = f"{'; '.join(kinds)}. Largest bar: {largest:,.0f} bytes per frame. {_events_text(line)}"
    return _svg(f"Timeline of {line.bars_title}", description, *paths, *_event_lines(line), *_hover(line))


def bar_text(line: Timeline, bar: int) -> str:
    """What a bar says, in words: its frames, their time, and pictures and mean bytes by type."""
    first, last = int(line.first[bar]), int(line.first[bar + 1]) - 1
    frames = f"frame {first}" if first == last else f"frames {first} to {last}"
    time = f", {clock_text(float(line.edges[bar]), line.span[1])}" if line.clock else ""
    kinds = [
        f"{TYPE_LETTERS[column]} {line.bytes[bar, column]:,} bytes"
        if line.frames_per_bar == 1
        else f"{line.pictures[bar, column]} {TYPE_LETTERS[column]} of {line.mean_bytes[bar, column]:,.0f} bytes"
        for column in range(len(TYPE_LETTERS))
        if line.pictures[bar, column]
    ]
    return f"{frames}{time}: {', '.join(kinds)}"


def _hover(line: Timeline) -> list[Element]:
    """Places without colour that tell their bar under the pointer, without any script."""
    edges = line.share(line.edges) * WIDE
    return [
        node(
            "rect",
            node("title", bar_text(line, bar)),
            x=f"{edges[bar]:.2f}",
            width=f"{edges[bar + 1] - edges[bar]:.2f}",
            height=HIGH,
            class_="hover",
        )
        for bar in range(len(edges) - 1)
    ]


def _event_lines(line: Timeline) -> list[Element]:
    places = (line.share(line.events) * WIDE).tolist()
    return [node("line", x1=f"{x:.2f}", x2=f"{x:.2f}", y1=0, y2=HIGH, class_="event") for x in places]


def _events_text(line: Timeline) -> str:
    if not len(line.events):
        return "No event boundary found."
    times = [clock_text(at, line.span[1]) if line.clock else f"frame {at:.0f}" for at in line.events.tolist()]
    return f"Event boundaries at {', '.join(times)}."


def _lanes(line: Timeline, present: list[int]) -> Element:
    """Picture types by position, and the groups of pictures in two greys."""
    edges = line.share(line.edges) * WIDE
    tall = HIGH / (len(present) + 1)
    paths = []
    for lane, column in enumerate(present):
        parts = [
            f"M{edges[bar]:.2f} {(lane + 0.15) * tall:.1f}H{edges[bar + 1]:.2f}v{0.7 * tall:.1f}H{edges[bar]:.2f}z"
            for bar in np.flatnonzero(line.pictures[:, column])
        ]
        paths.append(node("path", d="".join(parts), class_=f"t{column}"))
    groups = line.share(line.gop_blocks) * WIDE
    for shade in range(min(2, len(groups) - 1)):
        parts = [
            f"M{groups[group]:.2f} {(len(present) + 0.15) * tall:.1f}H{groups[group + 1]:.2f}"
            f"v{0.7 * tall:.1f}H{groups[group]:.2f}z"
            for group in range(shade, len(groups) - 1, 2)
        ]
        paths.append(node("path", d="".join(parts), class_=f"gop{shade}"))
    description = f"A row for each picture type, and one for {line.gops_title}."
    return _svg("Picture types and groups of pictures over time", description, *paths, *_event_lines(line))


def _tokens(line: Timeline) -> Element:
    """A line through the sampled frames; a point is a stroke without length, which stays round when stretched."""
    x = line.share(line.at) * WIDE
    y = HIGH * (1 - line.budgets / line.most_tokens)
    points = " ".join(f"{a:.2f},{b:.2f}" for a, b in zip(x, y, strict=True))
    dots = "".join(f"M{a:.2f} {b:.2f}h0" for a, b in zip(x, y, strict=True))
    description = (
        f"{len(line.budgets)} sampled frames with {int(line.budgets.min()):,} to {int(line.budgets.max()):,} tokens of "
        f"{line.capacity:,} each, {int(line.budgets.sum()):,} in all."
    )
    shapes = [node("polyline", points=points, class_="budget"), node("path", d=dots, class_="rim")]
    shapes.append(node("path", d=dots, class_="dot"))
    return _svg("Tokens per sampled frame", description, *_event_lines(line), *shapes)


def _token_labels(line: Timeline) -> Element:
    labels = []
    if len(line.budgets) <= FEW:
        for share, tokens in zip(line.share(line.at).tolist(), line.budgets.tolist(), strict=True):
            up = 100 * tokens / line.most_tokens
            side = " first" if share < 0.02 else " last" if share > 0.98 else ""
            place = f"left:{100 * share:.2f}%;bottom:{up:.2f}%"
            labels.append(node("span", f"{tokens:,}", style=place, class_=f"value{side}"))
    crowd = " many" if len(labels) > 8 else ""
    return node("div", *labels, class_=f"values{crowd}", aria_hidden="true")


def _time_axis(line: Timeline) -> Element:
    labels = [
        node("span", text, style=f"left:{100 * share:.2f}%", class_="last" if share > 0.97 else None)
        for share, text in axis_labels(line, 7)
    ]
    name = "time" if line.clock else "frame number (the file's clock runs backwards)"
    return node("div", node("div", *labels, class_="ticks"), node("p", name), class_="time")


def _legend(line: Timeline, present: list[int]) -> Element:
    entries = [node("li", node("i", class_=f"swatch t{column}"), TYPE_NAMES[column]) for column in present]
    if len(line.events):
        entries.append(node("li", node("i", class_="swatch event"), "event boundary"))
    else:
        entries.append(node("li", "no event boundary found"))
    apart = "" if line.gops_told_apart else ", too many to tell apart"
    entries.append(node("li", f"GoP: {line.gops_title}{apart}"))
    return node("ul", *entries, class_="legend")
