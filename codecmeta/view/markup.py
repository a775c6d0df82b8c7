"""Elements of a page, escaped by construction: whatever is text here is text in the browser."""

from __future__ import annotations

import unicodedata
from xml.etree.ElementTree import Element, tostring

_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def node(tag: str, *children: Element | str | None, **attributes: object) -> Element:
    """An element with children and attributes; None stands for no child and no attribute.

    >>> render(node("a", "1 < 2 ", node("b", "!"), class_="sum", data_unit="s"))
    '<a class="sum" data-unit="s">1 &lt; 2 <b>!</b></a>'
    """
    named = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items() if value is not None}
    element = Element(tag, {name: readable(str(value)) for name, value in named.items()})
    for child in children:
        if isinstance(child, str):
            if len(element):
                element[-1].tail = (element[-1].tail or "") + readable(child)
            else:
                element.text = (element.text or "") + readable(child)
        elif child is not None:
            element.append(child)
    return element


def name(text: str) -> Element:
    """Text from outside, such as a file name, that must not turn the direction of what stands beside it."""
    return node("bdi", text)


def readable(text: str) -> str:
    """The text with a mark in the place of control characters, half characters and marks that turn the direction."""
    return "".join(
        "\ufffd" if one in _TURNING or (unicodedata.category(one) in ("Cc", "Cs") and one not in "\n\t") else one
        for one in text
    )


def render(element: Element) -> str:
    """The HTML of an element."""
    return tostring(element, encoding="unicode", method="html")
