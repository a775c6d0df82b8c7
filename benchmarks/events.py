"""How often known cuts, fades and entrances are found from codec metadata, by encoder; beside packet sizes alone.

    python -m benchmarks.events --json benchmarks/results/events.json --markdown benchmarks/results/events.md

Clips of 200 frames are made from seeds (tests/synthetic.py): textured scenes under a still, panning, zooming or shaking
camera, with noise and moving objects; half of the cuts keep colours and brightness. Every clip is encoded in every way
in ENCODERS. Detection: a score over a threshold that is the largest of its neighbourhood; the threshold of each method
and kind of event is chosen on the tuning seeds, one for all encoders, and applied to the held-out seeds. "found" needs
no threshold: the true number of events is given and the largest scores are taken (`event_boundaries`).
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from codecmeta.decisions.events import ONE_EVENT, change_scores, event_boundaries  # noqa: E402
from codecmeta.extraction.read import extract  # noqa: E402
from codecmeta.record.metadata import Metadata, Probe  # noqa: E402
from tests.support.synthetic import Story, write_clip  # noqa: E402

TUNING, HELD_OUT = range(6), range(100, 108)

TOLERANCE = {
    "cut": "within 1 frame of the first frame of the new scene",
    "fade": "from 2 frames before the first mixed picture to 2 after the last",
    "entrance": "from 2 frames before the first pixel of the object to 12 after",
}


@dataclass(frozen=True)
class Encoder:
    """group: row of the short table. quality: name of the option that takes the constant quality."""

    group: str
    codec: str
    options: dict[str, str]
    quality: str = "crf"
    suffix: str = "mp4"


ENCODERS = {
    f"H.264, scene cuts {word}, GoP {gop}, {bframes} B": Encoder(
        f"H.264, scene-cut detection {word}",
        "libx264",
        {"sc_threshold": threshold, "g": str(gop), "bf": str(bframes)},
    )
    for word, threshold in (("on", "40"), ("off", "0"))
    for gop in (12, 30, 250)
    for bframes in (0, 3)
}
ENCODERS |= {
    f"HEVC, scene cuts {word}, GoP {gop}": Encoder(
        f"HEVC, scene-cut detection {word}",
        "libx265",
        {"preset": "fast", "x265-params": f"keyint={gop}:min-keyint=1:scenecut={threshold}:log-level=none"},
    )
    for word, threshold in (("on", "40"), ("off", "0"))
    for gop in (30, 250)
}
ENCODERS |= {
    "MPEG-4 part 2, GoP 12, 0 B": Encoder("MPEG-4 part 2", "mpeg4", {"g": "12", "bf": "0", "flags": "+qscale"}, "q"),
    "MPEG-4 part 2, GoP 12, 2 B": Encoder("MPEG-4 part 2", "mpeg4", {"g": "12", "bf": "2", "flags": "+qscale"}, "q"),
    "VP9, realtime, GoP 30": Encoder(
        "VP9", "libvpx-vp9", {"g": "30", "b": "0", "deadline": "realtime", "cpu-used": "6"}, "cq", "webm"
    ),
    "VP9, two layers (hidden frames), GoP 128": Encoder(
        "VP9", "libvpx-vp9", {"g": "128", "b": "0", "deadline": "good", "cpu-used": "5"}, "cq", "webm"
    ),
}


def all_signals(meta: Metadata) -> NDArray[np.float32]:
    return change_scores(meta, np.arange(len(meta.frames)))


def packets(meta: Metadata) -> NDArray[np.float32]:
    """The same scores with nothing but the packet table: sizes against their own type, keyframes against the clock."""
    return change_scores(Probe(meta.path, meta.stream, meta.frames, meta.gops, {}), np.arange(len(meta.frames)))


def size_jump(meta: Metadata) -> NDArray[np.float32]:
    """Packet size alone: how much larger a packet is than the one before, as a ratio."""
    return np.diff(np.log(np.maximum(meta.frames.packet_bytes, 1))).astype(np.float32)


METHODS: dict[str, Callable[[Metadata], NDArray[np.float32]]] = {
    "all signals": all_signals,
    "packet table": packets,
    "packet size jump": size_jump,
}


@dataclass(frozen=True)
class Scored:
    """One encoded clip. events: (first, last) rows that count as a find. scores: float32 (T - 1,) per method. peaks:
    rows of their local maxima."""

    kind: str
    encoder: str
    events: list[tuple[int, int]]
    scores: dict[str, NDArray[np.float32]]
    peaks: dict[str, NDArray[np.int64]]


def clips(seeds: range, folder: Path, seconds: dict[str, float]) -> Iterator[Scored]:
    """Render, encode, extract and score every clip of some seeds."""
    for seed in seeds:
        crf = int(np.random.default_rng(seed).integers(20, 32))
        for kind in TOLERANCE:
            story = Story(seed, kind)
            pictures = list(story.render())
            if kind == "cut":
                events = [(row - 1, row + 1) for row in story.cuts]
            elif kind == "fade":
                events = [(first - 2, last + 2) for first, last in story.fades]
            else:
                events = [(row - 2, row + 12) for row in story.entrances]
            for name, encoder in ENCODERS.items():
                quality = {"crf": ("crf", crf), "cq": ("crf", crf + 8), "q": ("global_quality", 118 * (crf - 16) // 3)}
                option, value = quality[encoder.quality]
                path = folder / f"clip.{encoder.suffix}"
                write_clip(path, pictures, encoder.codec, encoder.options | {option: str(value)})
                meta = extract(path)
                begin = time.perf_counter()
                scores = {method: score(meta) for method, score in METHODS.items()}
                seconds["scoring"] += time.perf_counter() - begin
                seconds["frames"] += len(meta.frames) * (len(METHODS) - 1)
                yield Scored(kind, name, events, scores, {method: peaks(one) for method, one in scores.items()})
        print(f"seed {seed} done", file=sys.stderr, flush=True)


def peaks(scores: NDArray[np.float32]) -> NDArray[np.int64]:
    """Rows after the changes that no other within ONE_EVENT frames tops, the earlier of equals."""
    best = [
        t
        for t in range(len(scores))
        if scores[t] > scores[max(0, t - ONE_EVENT) : t].max(initial=-np.inf)
        and scores[t] >= scores[t + 1 : t + 1 + ONE_EVENT].max(initial=-np.inf)
    ]
    return np.array(best, np.int64) + 1


def match(events: list[tuple[int, int]], rows: list[int]) -> NDArray[np.int64]:
    """(found, false, missed): each event takes one row, each row belongs to one event."""
    left = sorted(rows)
    found = 0
    for first, last in events:
        hit = next((row for row in left if first <= row <= last), None)
        if hit is not None:
            left.remove(hit)
            found += 1
    return np.array([found, len(left), len(events) - found])


def f1(counts: NDArray[np.int64]) -> float:
    found, false, missed = counts.tolist()
    return 2 * found / max(2 * found + false + missed, 1)


def detect(clip: Scored, method: str, threshold: float) -> NDArray[np.int64]:
    rows = clip.peaks[method]
    return match(clip.events, rows[clip.scores[method][rows - 1] > threshold].tolist())


def best_threshold(some: list[Scored], method: str) -> float:
    """The threshold of the largest F1, the middle one of equals."""
    values = np.concatenate([clip.scores[method][clip.peaks[method] - 1] for clip in some])
    tried = np.unique(np.quantile(values, np.linspace(0, 1, 400)))
    results = np.array([f1(np.sum([detect(clip, method, value) for clip in some], axis=0)) for value in tried])
    good = tried[results > results.max() - 1e-9]
    return float(good[len(good) // 2])


def with_true_number(clip: Scored, method: str) -> NDArray[np.int64]:
    starts = [start for start, _ in event_boundaries(clip.scores[method], len(clip.events) + 1)][1:]
    return match(clip.events, starts)


def summary(some: list[Scored], thresholds: dict[str, dict[str, float]]) -> dict[str, Any]:
    """Per kind and method: precision, recall and F1 at the threshold, and the share found given the true number."""
    table: dict[str, Any] = {}
    for kind in TOLERANCE:
        mine = [clip for clip in some if clip.kind == kind]
        table[kind] = {"events": sum(len(clip.events) for clip in mine)}
        for method in METHODS:
            counts = np.sum([detect(clip, method, thresholds[kind][method]) for clip in mine], axis=0)
            given = np.sum([with_true_number(clip, method) for clip in mine], axis=0)
            found, false, missed = counts.tolist()
            table[kind][method] = {
                "precision": round(found / max(found + false, 1), 4),
                "recall": round(found / max(found + missed, 1), 4),
                "f1": round(f1(counts), 4),
                "found": round(int(given[0]) / max(int(given[0] + given[2]), 1), 4),
            }
    return table


def markdown(result: dict[str, Any]) -> str:
    """The held-out table, one row per group of encoders."""
    lines = [
        "Held-out clips. F1 at the threshold chosen on the tuning clips; share found when the true number is given.",
        "Each cell: all signals / packet table (the same scores from a probe) / jump of the packet size.",
        "",
        "| encoder | cuts, F1 | fades, F1 | entrances, F1 | cuts found | fades found | entrances found |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, table in result["groups"].items():
        cells = [
            " / ".join(f"{table[kind][method][number]:.2f}" for method in METHODS)
            for number in ("f1", "found")
            for kind in TOLERANCE
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", type=Path, help="where to write the result; default: print it")
    parser.add_argument("--markdown", type=Path, help="where to write the table made from it")
    parser.add_argument("--seeds", type=int, help="use only so many tuning and held-out seeds, for a quick look")
    options = parser.parse_args()
    seconds = {"scoring": 0.0, "frames": 0}
    with tempfile.TemporaryDirectory() as folder:
        tuning, held_out = (list(clips(seeds[: options.seeds], Path(folder), seconds)) for seeds in (TUNING, HELD_OUT))
    thresholds = {
        kind: {method: best_threshold([clip for clip in tuning if clip.kind == kind], method) for method in METHODS}
        for kind in TOLERANCE
    }
    groups = dict.fromkeys(encoder.group for encoder in ENCODERS.values())
    in_group = {group: [clip for clip in held_out if ENCODERS[clip.encoder].group == group] for group in groups}
    result = {
        "what": __doc__.split("\n")[0],
        "tolerance": TOLERANCE,
        "seeds": {"tuning": list(TUNING[: options.seeds]), "held out": list(HELD_OUT[: options.seeds])},
        "methods": {
            name: (method.__doc__ or "change_scores of everything extracted") for name, method in METHODS.items()
        },
        "thresholds": thresholds,
        "frames_scored_per_second": round(seconds["frames"] / seconds["scoring"]),
        "versions": {"av": av.__version__, "numpy": np.__version__, "python": platform.python_version()},
        "groups": {"all encoders": summary(held_out, thresholds)}
        | {group: summary(some, thresholds) for group, some in in_group.items()},
        "encoders": {
            name: summary([clip for clip in held_out if clip.encoder == name], thresholds) for name in ENCODERS
        },
    }
    text = json.dumps(result, indent=1) + "\n"
    if options.json:
        options.json.write_text(text)
    else:
        print(text, end="")
    if options.markdown:
        options.markdown.write_text(markdown(result))


if __name__ == "__main__":
    main()
