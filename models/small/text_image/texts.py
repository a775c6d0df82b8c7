"""Texts about single pictures of the built-in world, and which pictures each of them fits.

    text = draw_text(np.random.default_rng(0))
    text.text, text.wanted                  # "Which way does the red object go?", ((0, None),)

A picture fits a text if it shows an object that the text names. That can be said of questions about an object's colour,
shape or direction, about which of two came first, and about the number of objects, which every picture with an object
fits. What is shown after a cut cannot be seen in one picture, so these questions are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codecmeta.models.small.world.questions import TEMPLATES
from codecmeta.models.small.world.scenes import COLOURS, HELD_OUT, NAMELESS, SHAPES, Scene

NAMES = tuple(COLOURS)
DESCRIPTIONS = ("{}", "a {}", "the {}", "a picture of a {}")
"""Wordings beside the questions; the last is never trained on, as the last of every question type."""

KINDS = ("colour", "shape", "direction", "first", "count", "description")

Wanted = tuple[int | None, int | None]
"""An object by number of colour and of shape; None where the text leaves it open."""


@dataclass(frozen=True)
class FrameText:
    """A text about a picture. wanted: the objects that it names, one of which has to be shown."""

    text: str
    wanted: tuple[Wanted, ...]

    def fits(self, shown: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """bool (pictures,): does each picture fit? shown: of `shown_objects`."""
        fits = np.zeros(len(shown), bool)
        for colour, shape in self.wanted:
            colours = slice(None) if colour is None else slice(colour, colour + 1)
            shapes = slice(None) if shape is None else slice(shape, shape + 1)
            fits |= shown[:, colours, shapes].any(axis=(1, 2))
        return fits


def shown_objects(scene: Scene, times: NDArray[np.float64]) -> NDArray[np.bool_]:
    """bool (times, 7, 4): is an object of this colour (the last: of none that has a name) and shape on the screen?"""
    shown = np.zeros((len(times), len(NAMES) + 1, len(SHAPES)), bool)
    for item in scene.objects:
        colour = len(NAMES) if item.colour == NAMELESS else NAMES.index(item.colour)
        shown[:, colour, SHAPES.index(item.shape)] |= item.visible(times)
    return shown


def draw_text(rng: np.random.Generator, *, unseen_wording: bool = False) -> FrameText:
    """One text. unseen_wording: in a wording that training never uses."""
    kind = KINDS[int(rng.choice(len(KINDS), p=(0.2, 0.2, 0.25, 0.1, 0.05, 0.2)))]
    if kind == "count":
        return FrameText(_wording(kind, rng, unseen_wording), ((None, None),))
    if kind == "first":
        by_shape = rng.random() < 0.5
        names = [name_of((None, int(n)) if by_shape else (int(n), None)) for n in rng.permutation(4 if by_shape else 6)]
        return FrameText(_wording(kind, rng, unseen_wording).format(names[0], names[1]), _read(names[:2]))
    how = {"colour": "shape", "shape": "colour"}.get(kind) or str(rng.choice(("shape", "colour", "both", "both")))
    wanted: Wanted = (int(rng.integers(6)), int(rng.integers(4)))
    while how == "both" and (NAMES[wanted[0] or 0], SHAPES[wanted[1] or 0]) in HELD_OUT:
        wanted = (int(rng.integers(6)), int(rng.integers(4)))
    wanted = (None if how == "shape" else wanted[0], None if how == "colour" else wanted[1])
    return FrameText(_wording(kind, rng, unseen_wording).format(name_of(wanted)), (wanted,))


def name_of(wanted: Wanted) -> str:
    """ "circle", "red object", "red circle" or "object"."""
    colour, shape = wanted
    return " ".join(([] if colour is None else [NAMES[colour]]) + ["object" if shape is None else SHAPES[shape]])


def _read(names: Sequence[str]) -> tuple[Wanted, ...]:
    return tuple((None, SHAPES.index(one)) if one in SHAPES else (NAMES.index(one.split()[0]), None) for one in names)


def _wording(kind: str, rng: np.random.Generator, unseen: bool) -> str:
    wordings = DESCRIPTIONS if kind == "description" else TEMPLATES[kind]
    return wordings[-1] if unseen else wordings[int(rng.integers(len(wordings) - 1))]
