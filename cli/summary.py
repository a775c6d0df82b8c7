"""The end of a run on one screen: how many, how fast, how large, and the failures by reason."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from time import perf_counter

from codecmeta.cli.failure import readable
from codecmeta.corpus.index import Row

_REASONS = 8
_EXAMPLES = 2


class Summary:
    """Counts rows as they come; `text` says what they come to."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.interrupted = False
        self.start = self.said = perf_counter()
        self.count: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.examples: dict[str, list[str]] = {}
        self.cache_bytes = self.source_bytes = self.frames = 0

    @property
    def failed(self) -> int:
        """How many videos failed."""
        return self.count["failed"]

    def add(self, row: Row) -> None:
        """Count one video."""
        self.count[row.status] += 1
        if row.status == "failed":
            reason = _without_names(row)
            self.reasons[reason] += 1
            self.examples.setdefault(reason, [])
            if len(self.examples[reason]) < _EXAMPLES:
                self.examples[reason].append(row.path)
        else:
            self.cache_bytes += row.cache_bytes
            self.source_bytes += row.source_bytes
            self.frames += row.frames

    def due(self, seconds: float) -> bool:
        """Whether so long nothing was said; if so, it now is."""
        now = perf_counter()
        if now - self.said < seconds:
            return False
        self.said = now
        return True

    def progress(self) -> str:
        """How far the run is: one line. What was there already took no time and says nothing about the time left."""
        seen = self.count.total()
        rate = (seen - self.count["skipped"]) / max(perf_counter() - self.start, 1e-9)
        left = duration((self.total - seen) / rate) if rate else "not known how long"
        return f"{seen:,} of {self.total:,} videos, {self.failed:,} failed; {rate:.3g} videos/s, {left} left"

    def text(self, index: Path | None) -> str:
        """The summary, a few lines whatever the number of videos."""
        seconds = perf_counter() - self.start
        seen = self.count.total()
        counts = f"{self.count['done']:,} done, {self.count['skipped']:,} there already, {self.failed:,} failed"
        lines = [
            f"{seen:,} of {self.total:,} videos in {duration(seconds)} ({seen / max(seconds, 1e-9):.3g}/s): {counts}",
            f"{self.frames:,} frames; caches {_size(self.cache_bytes)}, "
            f"{self.cache_bytes / max(self.source_bytes, 1):.2f} of the videos' {_size(self.source_bytes)}",
        ]
        if self.failed:
            lines.append(f"{self.failed:,} of {seen:,} videos failed:")
        for reason, count in self.reasons.most_common(_REASONS):
            more = ", ..." if count > len(self.examples[reason]) else ""
            examples = ", ".join(map(readable, self.examples[reason]))
            lines += [f"  {count:>6,}  {readable(reason)}", f"          {examples}{more}"]
        if len(self.reasons) > _REASONS:
            rest = self.failed - sum(count for _, count in self.reasons.most_common(_REASONS))
            lines.append(f"  {rest:>6,}  for {len(self.reasons) - _REASONS} other reasons")
        if index is not None:
            lines.append(f"{'every video has' if seen == self.total else 'these have'} a row in {index}")
        if self.interrupted:
            lines.append("interrupted; the same command goes on from here")
        return "\n".join(lines)


def _without_names(row: Row) -> str:
    """A reason as it reads for every file it is true of."""
    reason = row.reason.replace(row.cache, "cache").replace(row.path, "").lstrip(": ")
    return (
        re.sub(r"(?<![\w.-])\d+(\.\d+)?", "N", reason)[:160]
        if not reason.startswith(("timed out", "out of memory"))
        else reason
    )


def duration(seconds: float) -> str:
    """Seconds as people read them."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds) // 3600}:{int(seconds) // 60 % 60:02}:{int(seconds) % 60:02}"


def _size(count: float) -> str:
    for unit in ("bytes", "KB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            return f"{count:,.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError
