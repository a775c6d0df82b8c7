"""Requests of the harness -> questions about videos, those about one video together."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from codecmeta.models.evaluation.dataset import parse_choice

_OPTION = re.compile(r"^[ \t]*(?:\(([A-Z])\)|([A-Z])[.):])[ \t]*(\S.*)$", re.M)


@dataclass(frozen=True)
class Question:
    """One request. video: a path, None where it is none, and then problem says why. text: the prompt. longest: tokens
    of an answer. until: where an answer ends. padding: repeated so that every rank has equally many."""

    task: str
    split: str
    doc_id: Any
    video: str | None
    text: str
    longest: int
    until: tuple[str, ...]
    padding: bool
    problem: str = ""

    @property
    def asks(self) -> tuple[Any, ...]:
        """What the answer depends on."""
        return self.video, self.text, self.longest, self.until

    @property
    def options(self) -> tuple[str, ...]:
        """Lettered options in the prompt, from A on; none where it has no list of them."""
        found: list[str] = []
        for one in _OPTION.finditer(self.text):
            if (one[1] or one[2]) == ascii_uppercase[len(found) % 26]:
                found.append(one[3].strip())
        return tuple(found) if len(found) > 1 else ()

    @property
    def query(self) -> str:
        """The question alone, without instructions and options: the last line before them that is no heading."""
        first = _OPTION.search(self.text) if self.options else None
        lines = (self.text[: first.start()] if first else self.text).splitlines()
        lines = [line.strip() for line in lines if line.strip() and not line.strip().endswith(":")]
        return lines[-1] if first and lines else self.text

    def unparsable(self, answer: str) -> bool | None:
        """Whether an answer names none of the options; None where the prompt has none."""
        return not parse_choice(answer, self.options) if self.options else None


def read_request(request: Any, documents: Mapping[str, Any], simple: bool, longest: int) -> Question:
    """One `Instance` of the harness in its simple or its chat form. documents: by task, split and id. longest: tokens
    of an answer where the task does not say. Raises ValueError for answers that are drawn by chance."""
    if simple:
        text, settings, visuals, doc_id, task, split = request.args
        found = visuals(documents[task][split][doc_id])
        videos = list(found) if isinstance(found, (list, tuple)) else [found]
    else:
        _, messages, settings, doc_id, task, split = request.args
        text, videos = _parts(messages(documents[task][split][doc_id]))
    if settings.get("do_sample") or (settings.get("num_beams") or 1) != 1:
        raise ValueError(f"{task}: answers are the likeliest ones; do_sample and num_beams cannot be served")
    until = settings.get("until") or []
    problem = _problem(videos)
    return Question(
        task=task,
        split=split,
        doc_id=doc_id,
        video=None if problem else str(videos[0]),
        text=text,
        longest=int(settings.get("max_new_tokens") or longest),
        until=tuple(one for one in ([until] if isinstance(until, str) else until) if one),
        padding=bool((request.metadata or {}).get("__padding_only__")),
        problem=problem,
    )


def _parts(messages: Iterable[Mapping[str, Any]]) -> tuple[str, list[Any]]:
    """The text of a chat of one turn, and everything that is shown in it."""
    texts, shown = [], []
    for message in messages:
        if message["role"] != "user":
            raise ValueError(f"a message of the role {message['role']!r}: one question at a time can be asked, no chat")
        content = message["content"]
        for part in [{"type": "text", "text": content}] if isinstance(content, str) else content:
            if part["type"] == "text":
                texts.append(part["text"])
            else:
                shown.append(part["url"])
    return "\n".join(texts), shown


def _problem(videos: Sequence[Any]) -> str:
    if len(videos) != 1:
        return f"expected one video, got {len(videos)} pictures or videos"
    if not isinstance(videos[0], (str, Path)):
        return f"expected the path of a video, got a {type(videos[0]).__name__}"
    return "" if Path(videos[0]).is_file() else f"no such video: {videos[0]}"


def by_video(questions: Iterable[Question]) -> dict[str | None, list[Question]]:
    """Questions about each video, in the order in which the videos come first; padding is left out."""
    groups: dict[str | None, list[Question]] = {}
    for one in questions:
        if not one.padding:
            groups.setdefault(one.video, []).append(one)
    return groups
