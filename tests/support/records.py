"""What tests ask of a record as a whole."""

from __future__ import annotations

from dataclasses import fields

import numpy as np

from codecmeta.record.metadata import Metadata


def arrays(meta: Metadata) -> dict[str, np.ndarray]:
    """Every array of a record by name."""
    found = {}
    for part in ("frames", "gops", "motion", "residual", "qp"):
        table = getattr(meta, part)
        for one in fields(table) if table is not None else ():
            if isinstance(value := getattr(table, one.name), np.ndarray):
                found[f"{part}.{one.name}"] = value
    return found
