"""An HTML page as a list of elements."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """Elements as (tag, attributes, text of its own and of what is in it); fails on tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[tuple[str, dict[str, Any], list[str]]] = []
        self.elements: list[tuple[str, dict[str, Any], list[str]]] = []
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        one: tuple[str, dict[str, Any], list[str]] = (tag, dict(attributes), [])
        self.elements.append(one)
        if tag not in VOID:
            self.open.append(one)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1][0] == tag, (tag, [one[0] for one in self.open])
        self.open.pop()

    def handle_data(self, text: str) -> None:
        for one in self.open:
            one[2].append(text)

    def texts(self, tag: str, class_: str = "") -> list[str]:
        return [
            "".join(text) for name, given, text in self.elements if name == tag and class_ in given.get("class", "")
        ]

    def rows(self) -> dict[str, str]:
        """First cell of every table row: the rest of it."""
        found = {}
        for text in (one[2] for one in self.elements if one[0] == "tr"):
            found.setdefault(text[0] if text else "", " ".join(text[1:]))
        return found
