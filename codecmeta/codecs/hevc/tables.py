"""The tables of the standard, out of `tables.json`, where each stands beside its ITU-T H.265 table or clause number."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any


@cache
def _file() -> dict[str, Any]:
    return json.loads(Path(__file__).with_name("tables.json").read_text(encoding="ascii"))


def table(name: str) -> Any:
    """The values of one table, nested lists and dicts as the file has them."""
    return _file()[name]["values"]
