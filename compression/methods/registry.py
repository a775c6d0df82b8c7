"""Every method in one row, and strategies made from text.

Nothing of a method is imported before it is used: most need torch, which a plain install does not bring.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from importlib import import_module
from typing import Any

from codecmeta.compression.options import did_you_mean, parse_options, without_effect
from codecmeta.compression.plugins import METHOD_GROUP, declared, load_class
from codecmeta.compression.strategy import Strategy


@dataclass(frozen=True)
class Method:
    """cls: name of the class, public in `codecmeta.compression`. module: where it is, in
    `codecmeta.compression.methods`. line: what it does, for help texts and docs/methods.md."""

    cls: str
    module: str
    line: str

    def load(self) -> type[Strategy]:
        """The class."""
        found: type[Strategy] = getattr(import_module(f"codecmeta.compression.methods.{self.module}"), self.cls)
        return found


ROWS: dict[str, Method] = {
    "none": Method("Plain", "plain", "the plain model, measured like the others"),
    "uniform": Method("Uniform", "uniform", "control: every n-th frame, a coarser grid, or every n-th token"),
    "random": Method(
        "RandomKeep", "random_keep", "control: tokens drawn with a seed, before the model or at one of its layers"
    ),
    "replenish": Method(
        "Replenish", "replenish", "places that changed or were not seen for long, by the bitstream; the project's own"
    ),
    "metom": Method(
        "Metom", "metom.metom", "merges where the codec found nothing new, before, after and inside (MeToM)"
    ),
    "metok": Method("Metok", "metok", "events decide how finely frames are seen, attention what stays (METok)"),
    "evs": Method("Evs", "evs", "tokens that differ most from the frame before (EVS)"),
    "fastv": Method("FastV", "fastv", "tokens that the last one looks at, early inside (FastV)"),
    "tome": Method("Tome", "tome", "bipartite merging of the most similar tokens, early inside (ToMe)"),
    "dycoke": Method("Dycoke", "dycoke", "every fourth frame whole, of the others what differs (DyCoke)"),
    "sttm": Method("Sttm", "sttm", "quadtrees in space, then links over time, early inside (STTM)"),
    "holitom": Method("Holitom", "holitom", "windows that stand still, vision attention, merging inside (HoliTom)"),
    "vidcom2": Method("Vidcom2", "vidcom2", "tokens unlike the clip and unlike their frame (VidCom2)"),
    "divprune": Method("DivPrune", "divprune", "tokens as different from each other as can be (DivPrune)"),
    "fastvid": Method("Fastvid", "fastvid", "segments, salient tokens, anchors that take in the rest (FastVID)"),
    "flashvid": Method("Flashvid", "flashvid", "diverse attended tokens, trees over time for the others (FlashVID)"),
    "prunevid": Method("Prunevid", "prunevid", "still places merge over scenes, then the question chooses (PruneVid)"),
    "dart": Method("Dart", "dart", "tokens that repeat least what a few pivots show, early inside (DART)"),
    "sparsevlm": Method(
        "Sparsevlm", "sparsevlm", "what telling words look at, at three layers, a few for the rest (SparseVLM)"
    ),
    "visionzip": Method(
        "Visionzip", "visionzip", "what the vision encoder looks at, and a few for all else (VisionZip)"
    ),
    "scissor": Method("Scissor", "scissor", "one token for what hangs together by similarity (LLaVA-Scissor)"),
    "rlt": Method("Rlt", "rlt", "places whose pixels changed (Run-Length Tokenization)"),
    "codecsight": Method("Codecsight", "codecsight", "what the codec touched, until the next I picture (CodecSight)"),
}
"""Name -> row. A new method of this package is one file and one row here; see `codecmeta.compression.plugins` for those
of others."""


class Methods(Mapping[str, type[Strategy]]):
    """Name -> class, imported when it is asked for: of this package, of others that declare it, or `module:Class`.

    Raises ValueError for a class of others that cannot be imported or is no `Strategy`.
    """

    def __getitem__(self, name: str) -> type[Strategy]:
        if name in ROWS:
            return ROWS[name].load()
        where = name if ":" in name else declared(METHOD_GROUP)[name].value
        found: type[Strategy] = load_class(where, Strategy)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter([*ROWS, *(name for name in declared(METHOD_GROUP) if name not in ROWS)])

    def __len__(self) -> int:
        return len(list(iter(self)))


METHODS = Methods()
"""Every method by name: a mapping to its class, which is imported when it is asked for."""


def make(
    name: str, *, budget: float | None = None, options: Mapping[str, str] | None = None, **values: Any
) -> Strategy:
    """A strategy by name.

    >>> make("metom", budget=0.3, options={"tau_tem": "0.9"})
    Metom(keep_ids=None, budget=0.3, ...)

    name: one of `METHODS`, or "package.module:Class" for a method of your own.
    budget: share of visual tokens that may enter the language model, None for the method's own default. options: as
    texts, from a command line. values: as values. Raises ValueError for unknown names, unfit values,
    and options that change nothing as the others are set.
    """
    if name not in METHODS:
        raise ValueError(
            f"no method {name!r}{did_you_mean(name, METHODS)}; there are: {', '.join(METHODS)}, or module:Class"
        )
    cls = METHODS[name]
    values |= parse_options(cls, options or {})
    if budget is not None:
        if "budget" not in {field.name for field in fields(cls)}:
            why = "it keeps everything" if name == "none" else "how many tokens it keeps is an outcome"
            raise ValueError(f"method {name!r}: option budget has no effect ({why})")
        values["budget"] = budget
    made = cls(**values)
    for option, needed in without_effect(made, values).items():
        raise ValueError(f"method {name!r}: option {option} has no effect (it needs {needed})")
    return made
