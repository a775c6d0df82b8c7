"""A question -> whether the built-in model was trained for it.

It is a demonstration model: it knows six kinds of question about synthetic moving shapes, in a few wordings, and it
answers anything else all the same.
"""

from __future__ import annotations

import re

from codecmeta.models.small.world.questions import NUMBERS, TEMPLATES
from codecmeta.models.small.world.scenes import COLOURS, DIRECTIONS, SHAPES

KNOWN = "colour, shape, direction of motion, number, which came first, and what is shown after a cut"


def note_on(question: str) -> str:
    """What has to be known beside every answer of the built-in model."""
    reason = outside_training(question)
    if reason:
        return f"the built-in model cannot be trusted here: {reason}; --model takes others"
    return (
        "the built-in model knows synthetic clips of moving shapes and nothing else; about any other film its answer "
        "means nothing, and --model takes others"
    )


def note_on_fine(question: str) -> str:
    """What has to be known beside every answer of the fine model."""
    return (
        "the fine model is there to compare methods: it knows synthetic clips of small moving shapes and the questions "
        "of models/small/world/fine.py, and nothing else; --model takes others"
    )


def outside_training(question: str) -> str | None:
    """One sentence that says why the built-in model cannot know the answer, or None for a question it was made for.

    >>> outside_training("Which shape is the red object?")
    >>> outside_training("Why is the dog barking?")
    "it was trained on ...; it never saw the words 'barking', 'dog', 'why'"
    """
    asked = _words(question)
    unknown = sorted(set(asked) - _vocabulary())
    about = f"it was trained on synthetic clips of moving shapes and knows {KNOWN}"
    if unknown:
        named = ", ".join(repr(word) for word in unknown[:4])
        return f"{about}; it never saw {'the words ' if len(unknown) > 1 else 'the word '}{named}"
    if not any(re.fullmatch(pattern, " ".join(asked)) for pattern in _patterns()):
        return f"{about}; it was never asked in this wording"
    return None


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


def _names() -> list[str]:
    """Everything that may stand in a wording's gap."""
    return [*COLOURS, *SHAPES, "colour", "color", "shape", "object"]


def _vocabulary() -> set[str]:
    wordings = [word for texts in TEMPLATES.values() for text in texts for word in _words(text)]
    return {*wordings, *_names(), *DIRECTIONS, *NUMBERS}


def _patterns() -> list[str]:
    """Every wording as a regular expression over lower-case words; a gap takes one or two of the names."""
    name = f"(?:{'|'.join(_names())})"
    gap = f"{name}(?: {name})?"
    wordings = [text.format("gap", "gap") for texts in TEMPLATES.values() for text in texts]
    return [" ".join(gap if word == "gap" else word for word in _words(wording)) for wording in wordings]
