"""Options with which each method has nothing to do."""

from typing import Any

from codecmeta.compression import METHODS

IDLE: dict[str, dict[str, Any]] = {
    "none": {},
    "metom": {"budget": 1.0, "q": 0.0},
    "metok": {
        "key_strides": (2, 2), "other_strides": (2, 2), "newlines": False, "quotas": (1.0,) * 6, "forget": False,
        "layers": (1, 2, 3),
    },
    "holitom": {"budget": 1.0, "inner": 0.0},
    "flashvid": {"budget": 1.0, "inner": 1.0},
    "prunevid": {"tau": 1.0, "cluster": 1.0, "alpha": 1.0},
}  # fmt: skip
"""Where a budget of 1.0 alone does not switch everything off."""


def nothing_to_do(name: str) -> dict[str, Any]:
    """Options of a method under which the model must run as if it were not there."""
    assert set(METHODS) >= set(IDLE)
    return IDLE.get(name, {"budget": 1.0})
