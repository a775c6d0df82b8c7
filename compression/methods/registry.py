"""The method names, and strategies made from text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from codecmeta.compression.methods.codecsight import Codecsight
from codecmeta.compression.methods.divprune import Divprune
from codecmeta.compression.methods.dycoke import Dycoke
from codecmeta.compression.methods.evs import Evs
from codecmeta.compression.methods.fastv import FastV
from codecmeta.compression.methods.fastvid import Fastvid
from codecmeta.compression.methods.flashvid import Flashvid
from codecmeta.compression.methods.holitom import Holitom
from codecmeta.compression.methods.metok import Metok
from codecmeta.compression.methods.metom.metom import Metom
from codecmeta.compression.methods.plain import Plain
from codecmeta.compression.methods.random_keep import RandomKeep
from codecmeta.compression.methods.replenish import Replenish
from codecmeta.compression.methods.rlt import Rlt
from codecmeta.compression.methods.scissor import Scissor
from codecmeta.compression.methods.sttm import Sttm
from codecmeta.compression.methods.tome import Tome
from codecmeta.compression.methods.uniform import Uniform
from codecmeta.compression.methods.vidcom2 import Vidcom2
from codecmeta.compression.methods.visionzip import Visionzip
from codecmeta.compression.options import parse_options
from codecmeta.compression.strategy import Strategy

METHODS: dict[str, type[Strategy]] = {
    method.name: method
    for method in (
        *(Plain, Uniform, RandomKeep),
        *(Replenish, Metom, Metok),
        *(Evs, FastV, Tome, Dycoke, Sttm, Holitom),
        *(Vidcom2, Divprune, Fastvid, Flashvid, Visionzip, Scissor, Rlt, Codecsight),
    )
}


def make(
    name: str, *, budget: float | None = None, options: Mapping[str, str] | None = None, **values: Any
) -> Strategy:
    """A strategy by name.

    >>> make("metom", budget=0.3, options={"tau_tem": "0.9"})
    Metom(keep_ids=None, budget=0.3, ...)

    budget: share of visual tokens that may enter the language model, None for the method's own default. options: as
    texts, from a command line. values: as values. Raises ValueError for unknown names and unfit values.
    """
    if name not in METHODS:
        raise ValueError(f"no method {name!r}; there are: {', '.join(METHODS)}")
    cls = METHODS[name]
    values |= parse_options(cls, options or {})
    if budget is not None and name != "none":
        if "budget" not in {field.name for field in fields(cls)}:
            raise ValueError(f"method {name!r} has no budget: how many tokens it keeps is an outcome")
        values["budget"] = budget
    return cls(**values)
