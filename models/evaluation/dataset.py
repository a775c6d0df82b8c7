"""Datasets of questions about videos: one JSON object per line.

    {"video": "clips/a.mp4", "question": "What colour is the cross?", "answer": "blue", "type": "colour"}
    {"video": "clips/a.mp4", "question": "Who wins?", "options": ["the cat", "the dog"], "answer": "B"}

Paths are relative to the file. A line that cannot be asked costs itself alone. `answer` is a text, or with `options`
one of them or its letter. `type` and `strata`, an object of names and values, are optional: results are broken down by
them.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from codecmeta.cache.writer import fingerprint


@dataclass(frozen=True)
class DatasetRow:
    """One question. line: its line in the file, from 1. answer: as compared, see `normal`; a letter for questions with
    options. video_sha256: of the video's size, beginning and end, see `codecmeta.cache.writer.fingerprint`. written:
    the answer as a model would write it: as it stands in the file, or the letter.
    """

    line: int
    video: Path
    question: str
    answer: str
    options: tuple[str, ...] = ()
    type: str = ""
    strata: dict[str, str] = field(default_factory=dict)
    video_sha256: str = ""
    written: str = ""

    @property
    def id(self) -> str:
        """What an answer belongs to, wherever its line is: the video's name and bytes, and the prompt."""
        what = json.dumps([self.video.name, self.video_sha256, self.prompt])
        return hashlib.sha256(what.encode()).hexdigest()[:32]

    @property
    def prompt(self) -> str:
        """What the model is asked."""
        if not self.options:
            return self.question
        lettered = [f"{letter}. {text}" for letter, text in zip(ascii_uppercase, self.options, strict=False)]
        return "\n".join([self.question, *lettered, "Answer with the option's letter from the given choices directly."])

    def parse(self, text: str) -> str:
        """A model's answer as it is compared: the letter for questions with options, "" where there is none."""
        return parse_choice(text, self.options) if self.options else normal(text)


def parse_choice(text: str, options: Sequence[str]) -> str:
    """The letter of the option that an answer names, from A on, by the letter or by the option's text; "" for none."""
    letters = ascii_uppercase[: len(options)]
    for pattern in (
        rf"^\W*([{letters}])\b",
        rf"\(([{letters}])\)",
        rf"\b(?:answer|option)\W+(?:is\W+)?([{letters}])\b",
    ):
        if found := re.search(pattern, text, flags=re.I if "answer" in pattern else 0):
            return found[1].upper()
    said = [letter for letter, option in zip(letters, options, strict=True) if normal(option) == normal(text)]
    return said[0] if len(said) == 1 else ""


@dataclass(frozen=True)
class BadRow:
    """A line that has no answers. line: in the file, from 1. video: as far as it is known. reason: why."""

    line: int
    video: str
    reason: str


def normal(text: str) -> str:
    """Text without case, outer punctuation and repeated spaces."""
    return " ".join(text.casefold().split()).strip(" .,:;!?\"'()")


def known_answers(rows: Iterable[DatasetRow]) -> dict[str, set[str]]:
    """Every right answer that a type of question without options has in these rows: anything else cannot be parsed."""
    known: dict[str, set[str]] = {}
    for row in rows:
        known.setdefault(row.type, set()).add(row.answer)
    return known


def read_dataset(path: Path) -> tuple[list[DatasetRow], list[BadRow]]:
    """The rows of a file in order, and the lines that are none, with the reason; empty lines are skipped. Raises
    ValueError where nothing is left to ask."""
    rows: list[DatasetRow] = []
    bad: list[BadRow] = []
    known: dict[Path, str] = {}
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ValueError(
            f"{path}: no such file; a dataset has a row of JSON for each question: video, question, answer "
            "(`python -m benchmarks.heldout FOLDER` in a checkout makes one)"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read: {error}") from error
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            try:
                rows.append(_row(number, json.loads(line), path.parent, known))
            except ValueError as error:
                said = f"not JSON ({error.msg})" if isinstance(error, json.JSONDecodeError) else str(error)
                bad.append(BadRow(number, "", said))
    if not rows:
        first = f"; {len(bad)} bad lines, the first is line {bad[0].line}: {bad[0].reason}" if bad else ""
        raise ValueError(f"{path}: no questions in it{first}")
    return rows, bad


def _fingerprint(video: Path, known: dict[Path, str]) -> str:
    """The fingerprint of a video, read once for all of its questions."""
    if video not in known:
        try:
            known[video] = fingerprint(video)
        except OSError as error:
            raise ValueError(f"{video}: cannot be read ({error.strerror})") from error
    return known[video]


def _row(line: int, values: Any, folder: Path, known: dict[Path, str]) -> DatasetRow:
    if not isinstance(values, dict):
        raise ValueError("expected an object with video, question and answer")
    for name in ("video", "question", "answer"):
        if not isinstance(values.get(name), str) or not values[name].strip():
            raise ValueError(f"{name!r} must be a text; got {values.get(name)!r}")
    strata, options = values.get("strata", {}), values.get("options", [])
    if not isinstance(strata, dict):
        raise ValueError(f"'strata' must be an object; got {strata!r}")
    if (
        not isinstance(options, list)
        or not all(isinstance(one, str) for one in options)
        or len(options) in (1, *range(27, 999))
    ):
        raise ValueError(f"'options' must be 2 to 26 texts; got {options!r}")
    video = folder / values["video"]
    if not video.is_file():
        raise ValueError(f"no such video: {video}")
    row = DatasetRow(
        line=line,
        video=video,
        question=values["question"],
        answer="",
        options=tuple(options),
        type=str(values.get("type", "")),
        strata={str(name): str(value) for name, value in strata.items()},
        video_sha256=_fingerprint(video, known),
    )
    answer = row.parse(values["answer"])
    if not answer:
        raise ValueError(f"'answer' must be one of the options or its letter; got {values['answer']!r}")
    written = answer if options else values["answer"].strip()
    return DatasetRow(**{**row.__dict__, "answer": answer, "written": written})
