"""Events as a page: one picture for each, in order of time."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from codecmeta.decisions.packet_events import PacketEvent
from codecmeta.version import __version__
from codecmeta.view.markup import name, node
from codecmeta.view.page import document
from codecmeta.view.panels import jpeg, resized
from codecmeta.view.timeline import clock_text

WIDE = 320
"""Pixels across a picture."""


def event_page(video: str, events: Sequence[PacketEvent], pictures: Sequence[NDArray[np.uint8]], signals: str) -> str:
    """The page as HTML. pictures: of each event, uint8 RGB. signals: what the events were found in, in words."""
    last = events[-1].stop if events else 0.0
    cards = []
    for event, picture in zip(events, pictures, strict=True):
        small = resized(picture, WIDE, max(1, round(WIDE * picture.shape[0] / picture.shape[1])))
        caption = f"{clock_text(event.start, last)} to {clock_text(event.stop, last)}"
        what = f"{'cut, ' if event.cut else ''}strength {event.strength:.1f}"
        image = node(
            "img",
            src=f"data:image/jpeg;base64,{b64encode(jpeg(small, 75)).decode()}",
            alt=f"{caption}; {what}",
            width=small.shape[1],
            height=small.shape[0],
        )
        cards.append(node("figure", image, node("figcaption", node("b", caption), node("span", what)), class_="panel"))
    lead = f"{len(events)} events, found in {signals}; strength in deviations from what is usual"
    return document(
        video,
        [
            node("header", node("h1", name(video)), node("p", lead, class_="lead")),
            node("section", node("h2", "What happens when"), node("div", *cards, class_="panels")),
            node(
                "footer",
                node("p", f"Made by codecmeta {__version__}. This page is one file and asks for nothing else."),
            ),
        ],
    )
