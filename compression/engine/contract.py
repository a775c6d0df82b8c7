"""What strategies rely on in transformers, and what is said where it does not hold."""

from __future__ import annotations

import sys

import transformers

TESTED = ((5, 10), (5, 24))
"""Oldest and newest minor version of transformers that the test suite has passed with. Nothing is chosen by it: it is
named in messages only."""

_said: set[str] = set()


class ContractError(RuntimeError):
    """A model, or the transformers version under it, is not wired as strategies need it."""

    def __init__(self, expected: str, found: str) -> None:
        super().__init__(
            f"transformers {transformers.__version__} does not fit: expected {expected}; {found} "
            f"(tested with {tested_range()}; install one of these)"
        )


def tested_range() -> str:
    """The tested versions in words."""
    oldest, newest = (".".join(map(str, version)) for version in TESTED)
    return f"transformers {oldest} to {newest}"


def say_if_newer() -> None:
    """One line on stderr, once per process, if what is installed is newer than what was tested."""
    version = transformers.__version__
    minor = tuple(int(part) for part in version.split(".")[:2])
    if minor > TESTED[1] and version not in _said:
        _said.add(version)
        print(f"codecmeta: transformers {version} is newer than tested ({tested_range()})", file=sys.stderr)
