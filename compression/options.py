"""Options of a strategy from text: `--set tau_mode=target` -> the value that the dataclass field expects."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from difflib import get_close_matches
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

Effects = Mapping[str, tuple[str, Callable[[Any], object]]]
"""Options that count only beside others: name -> (what they need, in words; whether a strategy has it)."""


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """ " (did you mean X?)" where a known name is like the given one, else "".

    >>> did_you_mean("metmo", ["metom", "metok"])
    " (did you mean 'metom'?)"
    """
    close = get_close_matches(given.lower(), list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def without_effect(strategy: Any, names: Iterable[str]) -> dict[str, str]:
    """Of these options of a strategy those that change nothing as it is, and what they need to."""
    effects: Effects = strategy.effects
    return {name: effects[name][0] for name in names if name in effects and not effects[name][1](strategy)}


def parse_options(cls: type, texts: Mapping[str, str]) -> dict[str, Any]:
    """Turn option texts into values by the type hints of a dataclass.

    >>> parse_options(Metom, {"tau_mode": "target", "temporal_span": "2", "keep_ids": "true"})
    {'tau_mode': 'target', 'temporal_span': 2, 'keep_ids': True}

    Raises ValueError for an unknown name or a text that does not fit, naming what would.
    """
    hints = get_type_hints(cls)
    known = [field.name for field in fields(cls) if field.init]
    values = {}
    for name, text in texts.items():
        if name not in known:
            called = getattr(cls, "name", cls.__name__)
            raise ValueError(
                f"method {called!r} has no option {name!r}{did_you_mean(name, known)}; it has: {', '.join(known)}"
            )
        try:
            values[name] = _parse(hints[name], text)
        except ValueError:
            raise ValueError(f"option {name}={text}: expected {describe_hint(hints[name])}") from None
    return values


def check_literals(instance: Any) -> None:
    """Raise ValueError where a field that has a closed list of values holds another one."""
    for name, hint in get_type_hints(type(instance)).items():
        if get_origin(hint) is Literal and getattr(instance, name) not in get_args(hint):
            raise ValueError(f"{name} must be {describe_hint(hint)}; got {getattr(instance, name)!r}")


def _parse(hint: Any, text: str) -> Any:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        choices = get_args(hint)
        if type(None) in choices and text.lower() in ("none", ""):
            return None
        for choice in choices:
            if choice is not type(None):
                try:
                    return _parse(choice, text)
                except ValueError:
                    continue
        raise ValueError(text)
    if origin is Literal:
        for value in get_args(hint):
            if str(value) == text:
                return value
        raise ValueError(text)
    if origin is tuple:
        inner = get_args(hint)[0]
        return tuple(_parse(inner, part.strip()) for part in text.split(",") if part.strip())
    if hint is bool:
        if text.lower() not in ("true", "false", "1", "0", "yes", "no"):
            raise ValueError(text)
        return text.lower() in ("true", "1", "yes")
    return hint(text)


def describe_hint(hint: Any) -> str:
    """Which values a type takes, in words."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(describe_hint(choice) for choice in get_args(hint))
    if origin is Literal:
        return " or ".join(str(value) for value in get_args(hint))
    if origin is tuple:
        return f"a comma-separated list of {describe_hint(get_args(hint)[0])}"
    if hint is type(None):
        return "none"
    return {bool: "true or false", int: "a whole number", float: "a number"}.get(
        hint, getattr(hint, "__name__", "text")
    )
