"""Methods and models of other packages: found by `module:Class`, or by the entry points that a package declares.

    [project.entry-points."codecmeta.methods"]
    mine = "my_package.methods:Mine"

    [project.entry-points."codecmeta.models"]
    MyVideoForConditionalGeneration = "my_package.adapter:MyVideo"

A method is a `Strategy`, a model an `Adapter` under the name of the transformers class that it is for.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

METHOD_GROUP, MODEL_GROUP = "codecmeta.methods", "codecmeta.models"


@cache
def declared(group: str) -> dict[str, EntryPoint]:
    """What installed packages declare, by name; nothing of them is imported."""
    return {one.name: one for one in entry_points(group=group)}


def load_class(where: str, base: type) -> Any:
    """The class at `package.module:Class`; modules of the current folder are found too.

    Raises ValueError where it cannot be imported or is no subclass of `base`.
    """
    module, _, name = where.partition(":")
    try:
        found: Any = _imported(module)
        for part in name.split("."):
            found = getattr(found, part)
    except Exception as error:  # whatever a foreign module does when it is imported
        raise ValueError(f"{where}: cannot be imported ({type(error).__name__}: {error})") from error
    if not (isinstance(found, type) and issubclass(found, base)):
        raise ValueError(f"{where}: expected a subclass of {base.__module__}.{base.__qualname__}")
    return found


def _imported(module: str) -> Any:
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or module.split(".")[0] != error.name or os.getcwd() in sys.path:
            raise
    sys.path.append(os.getcwd())  # behind everything else: nothing installed is hidden
    return import_module(module)
