"""What a method's options mean, read from where it is written: docstrings and type hints."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, fields
from typing import Any, get_type_hints

from codecmeta.compression.options import describe_hint
from codecmeta.compression.strategy import Strategy


@dataclass(frozen=True)
class Option:
    """One option of a method. kind: which values it takes, in words. default: as a text. needs: what it has no effect
    without, "" for nothing. meaning: from the docstring."""

    name: str
    kind: str
    default: str
    needs: str
    meaning: str


def source_of(method: type[Strategy]) -> str:
    """Where a method comes from: the first line of its module."""
    text = (sys.modules[method.__module__].__doc__ or "").strip()
    return text.splitlines()[0] if text else method.__module__


def summary_of(method: type[Strategy]) -> str:
    """The docstring before its options."""
    paragraphs = re.split(r"\n\s*\n", (method.__doc__ or "").strip())
    said = [" ".join(one.split()) for one in paragraphs]
    return "\n\n".join(one for one in said if not _heads(method, one) or _heads(method, one)[0].start() > 0)


def options_of(method: type[Strategy]) -> list[Option]:
    """Every option in the order of the dataclass, those that all methods have last."""
    hints, meanings = get_type_hints(method), _meanings(method)
    own = [one for one in fields(method) if one.init]
    own.sort(key=lambda one: one.name in Strategy.__dataclass_fields__)
    return [
        Option(
            one.name,
            describe_hint(hints[one.name]),
            _as_text(one.default),
            method.effects[one.name][0] if one.name in method.effects else "",
            meanings.get(one.name, ""),
        )
        for one in own
    ]


def _meanings(method: type[Strategy]) -> dict[str, str]:
    """Option -> what the docstrings of the class and its bases say after "option:" or "option, option:"."""
    found: dict[str, str] = {}
    for owner in reversed(method.__mro__):
        for paragraph in re.split(r"\n\s*\n", owner.__dict__.get("__doc__") or ""):
            text = " ".join(paragraph.split())
            heads = _heads(method, text)
            for head, stop in zip(heads, [*(one.start() for one in heads), len(text)][1:], strict=True):
                found |= dict.fromkeys(head[1].split(", "), text[head.end() : stop].strip())
    return found


def _heads(method: type[Strategy], text: str) -> list[re.Match[str]]:
    names = "|".join(sorted((one.name for one in fields(method)), key=len, reverse=True))
    return list(re.finditer(rf"(?:^|(?<=[.;)] ))((?:{names})(?:, (?:{names}))*): ", text))


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "none" if value is None else str(value)
