"""What every question took: one JSON line each, per rank, and the means for the harness's log."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from codecmeta.models.answer import Answer
from codecmeta.models.lmms_eval.requests import Question

_MEANS = ("tokens_full", "tokens_kept", "tokens_llm_mean", "kv_bytes")


class Statistics:
    """Rows of one rank, each in the file as soon as it is there. path: NAME.jsonl, written as NAME.rank0.jsonl; None
    for no file. What an earlier run left there is replaced."""

    def __init__(self, path: str | None, rank: int) -> None:
        self.rows: list[dict[str, Any]] = []
        self._rank = rank
        self._file: Any = None
        if path is not None:
            whole = Path(path)
            whole.parent.mkdir(parents=True, exist_ok=True)
            self._file = whole.with_name(f"{whole.stem}.rank{rank}{whole.suffix or '.jsonl'}").open("w")

    def add(self, question: Question, answer: Answer | None, generated: int, problem: str = "") -> None:
        """A question and what came of it. generated: tokens of the answer."""
        row: dict[str, Any] = {
            "task": question.task,
            "split": question.split,
            "doc_id": question.doc_id,
            "rank": self._rank,
            "video": question.video,
            "options": len(question.options),
            "unparsable": question.unparsable("" if answer is None else answer.text),
            "tokens_generated": generated,
        }
        if answer is None:
            row |= {"answer": "", "question": question.text, "problem": problem}
        else:
            row |= answer.as_dict()
        self.rows.append(row)
        if self._file is not None:
            self._file.write(json.dumps(row, default=str) + "\n")
            self._file.flush()

    def means(self) -> dict[str, float]:
        """Over the questions that were answered: tokens, bytes, seconds to the first token; and how many could not be
        parsed or not be asked."""
        answered = [row for row in self.rows if "problem" not in row]
        parsable = [row["unparsable"] for row in self.rows if row["unparsable"] is not None]
        counts = {
            "total_requests": len(self.rows),
            "unparsable": sum(parsable),
            "not_asked": len(self.rows) - len(answered),
        }
        if not answered:
            return counts
        seconds = [row["seconds"]["first_token"] for row in answered]
        means = {name: _mean([row[name] for row in answered]) for name in _MEANS}
        return counts | means | {"first_token_seconds": _mean(seconds)}

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def seconds_of(rows: Sequence[Mapping[str, Any]]) -> float:
    """Seconds that all answers took together."""
    return sum(row["seconds"]["total"] for row in rows if "seconds" in row)
