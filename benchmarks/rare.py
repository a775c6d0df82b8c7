"""Is what is there for a few seconds of a long video seen at all? Frames chosen in several ways, and what they cost.

    python -m benchmarks.rare test clips/ --clips 56 --json benchmarks/results/rare.json
    python -m benchmarks.rare long clips/ --clips 28 --json benchmarks/results/rare_long.json      # 10 to 30 minutes

Clips of `rare_clips.py`. For each way of choosing 8, 16 and 32 frames: the share of clips in which a chosen frame shows
the rare object, the packets a decoder is fed, and, at 16 frames, which the built-in model was made for, its answers to
questions about the rare object and about the others, and the seconds of processor time from file to RGB in one thread.
Two rivals look at pixels, and decode everything: the largest differences between frames, and k-means on thumbnails.
"events, all signals" is given the `extract`ed record of H.264 clips, bits per block included; on others it is "events".

What is done is kept in CLIPS/results-SPLIT.jsonl, a line per clip, and a run that was stopped goes on behind it. Every
constant in codecmeta/decisions was set on the tuning split; the others are run once.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from pathlib import Path
from time import process_time
from typing import Any

import cv2
import numpy as np
import torch
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray
from torch.nn import functional

import codecmeta.models
from benchmarks.rare_clips import LONG, RATE, TEST, TUNING, Clip, make_clip
from codecmeta.container.decode_cost import decode_cost
from codecmeta.container.packets import open_video
from codecmeta.container.probe import probe_with_packets
from codecmeta.extraction.choose import choose_frames
from codecmeta.extraction.read import extract
from codecmeta.record.selection import sample_rows

FRAMES = (8, 16, 32)
ANSWERED = 16
PACKETS = ("uniform", "keyframes", "cheap", "events")
BLOCKS = "events, all signals"
PIXELS = ("largest differences", "k-means")
POLICIES = (*PACKETS, BLOCKS, *PIXELS)
THUMBNAIL = (32, 24)
SPLITS = {"tuning": TUNING, "test": TEST, "long": LONG}
STRATA = ("encoder", "camera", "noise", "distractor", "onset", "event")


def measure(number: int, split: int, folder: Path) -> dict[str, Any]:
    """Everything about one clip, as plain data."""
    clip = make_clip(split, number)
    path = clip.write(folder)
    model = _model()
    start = process_time()
    probe, packets = probe_with_packets(path)
    probing = process_time() - start
    time = probe.frames.time
    cost = decode_cost(probe.frames, probe.stream, packets)
    start = process_time()
    pictures, thumbnails = _decode_all(path)
    whole = process_time() - start
    meta, extracting = None, 0.0
    if probe.stream.codec == "h264":  # elsewhere nothing is exact inside the pictures
        start = process_time()
        meta = extract(path)
        extracting = process_time() - start
    seen = clip.seen(time)
    answers: dict[tuple[int, ...], dict[str, list[bool]]] = {}
    result: dict[str, Any] = {"number": clip.number, "strata": clip.strata, "rows": len(time), "policies": {}}
    for policy in POLICIES:
        own: dict[str, Any] = {}
        for count in FRAMES:
            start = process_time()
            if policy in PIXELS:
                rows = _by_differences(thumbnails, time, count) if policy == PIXELS[0] else _k_means(thumbnails, count)
                fed, before = len(packets), whole
            else:
                source = meta if policy == BLOCKS and meta is not None else probe
                name: Any = "events" if policy == BLOCKS else policy
                choice = choose_frames(source, count, policy=name, packets=packets)
                rows, fed, before = choice.rows, choice.packets_to_decode, probing
                before += extracting if policy == BLOCKS else 0.0
            choosing = process_time() - start
            own[str(count)] = {"seen": bool(seen[rows].any()), "frames": len(rows), "packets": fed}
            if count == ANSWERED:
                decoding = 0.0
                if policy not in PIXELS:
                    decoding = _seconds_to_decode(path, cost.passes(rows), cost.packet_of_row[rows])
                key = tuple(rows.tolist())
                if key not in answers:
                    chosen = [pictures[row].to_ndarray(format="rgb24") for row in key]
                    answers[key] = _answers(model, np.stack([model.preprocessing.resize(one) for one in chosen]), clip)
                own[str(count)] |= answers[key] | {"choosing": choosing, "seconds": before + choosing + decoding}
        result["policies"][policy] = own
    return result


@cache
def _model() -> Any:
    torch.set_num_threads(1)
    return codecmeta.models.load("small")


def _decode_all(path: Path) -> tuple[list[Any], NDArray[np.float32]]:
    """Every picture, and its grey thumbnail (float32 (n, values))."""
    with open_video(path) as (container, video):
        video.codec_context.thread_type = "NONE"
        pictures = list(container.decode(video))
    width, height = THUMBNAIL
    scaled = partial(VideoReformatter().reformat, width=width, height=height, format="gray", interpolation="AREA")
    small = [scaled(one).to_ndarray().ravel() for one in pictures]  # a scaler for each would be a thread for each
    return pictures, np.stack(small).astype(np.float32)


def _by_differences(thumbnails: NDArray[np.float32], time: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """A quarter evenly spread, the rest half a second behind the largest differences, a second apart."""
    change = np.append(0, np.abs(np.diff(thumbnails, axis=0)).mean(axis=1))
    rows = set(sample_rows(time, max(2, count // 4)).tolist())
    while len(rows) < count and change.max() > 0:
        at = int(change.argmax())
        change[np.abs(time - time[at]) < 1] = 0
        rows.add(min(int(np.searchsorted(time, time[at] + 0.5)), len(time) - 1))
    return np.array(sorted(rows))


def _k_means(thumbnails: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """The picture nearest to the middle of each cluster."""
    cv2.setRNGSeed(0)
    criteria = (cv2.TERM_CRITERIA_MAX_ITER + cv2.TERM_CRITERIA_EPS, 20, 0.1)
    _, label, centre = cv2.kmeans(thumbnails, count, None, criteria, 1, cv2.KMEANS_PP_CENTERS)  # type: ignore[call-overload]
    far = np.square(thumbnails - centre[label[:, 0]]).sum(axis=1)
    members = [np.flatnonzero(label[:, 0] == number) for number in range(count)]
    return np.array(sorted({int(rows[far[rows].argmin()]) for rows in members if len(rows)}))


def _seconds_to_decode(path: Path, passes: list[NDArray[np.int64]], wanted: NDArray[np.int64]) -> float:
    """From file to RGB in one thread, feeding these packets only. wanted: the packets whose pictures are converted."""
    start = process_time()
    left = set(wanted.tolist())
    with open_video(path) as (container, video):
        codec = video.codec_context
        codec.thread_type, codec.thread_count, codec.copy_opaque = "NONE", 1, True
        kept = [packet for packet in container.demux(video) if packet.size]
        for one in passes:
            frames = []
            for index in one.tolist():
                kept[index].opaque = (index,)
                frames += codec.decode(kept[index])
            for frame in [*frames, *codec.decode(None)]:
                if frame.opaque[0] in left:
                    frame.to_ndarray(format="rgb24")
                    left.discard(frame.opaque[0])
            codec.flush_buffers()
    if left:
        raise RuntimeError(f"{path}: {len(left)} chosen pictures did not come out of the decoder")
    return process_time() - start


def _answers(model: Any, pictures: NDArray[np.uint8], clip: Clip) -> dict[str, list[bool]]:
    """Right or wrong, of the questions about the rare object and of the others."""
    asked = clip.questions()
    inputs = [model.inputs(pictures, question.text) for _, question in asked]
    length = max(one["input_ids"].shape[1] for one in inputs)
    pad = model.tokenizer.pad_token_id
    batch = {
        name: torch.cat(
            [functional.pad(one[name], (length - one["input_ids"].shape[1], 0), value=fill) for one in inputs]
        )
        for name, fill in (("input_ids", pad), ("attention_mask", 0))
    }
    batch["pixel_values_videos"] = torch.cat([one["pixel_values_videos"] for one in inputs])
    with torch.inference_mode():
        ids = model.model.generate(**batch, max_new_tokens=8, do_sample=False)
    given = [text.strip() for text in model.tokenizer.batch_decode(ids[:, length:], skip_special_tokens=True)]
    right = [(rare, answer == question.answer) for (rare, question), answer in zip(asked, given, strict=True)]
    return {"rare": [ok for rare, ok in right if rare], "other": [ok for rare, ok in right if not rare]}


def summarise(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Per stratum and policy: clips, and at each number of frames what `measure` counts, as shares and means.
    rare_by_type: of colour, shape and direction of the rare object."""
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for one in results:
        groups["all"].append(one)
        family = one["strata"]["encoder"].split(",")[0]
        groups["H.264 and HEVC" if family in ("H.264", "HEVC") else "VP9 and AV1"].append(one)
        for name in STRATA:
            groups[f"{name}: {one['strata'][name]}"].append(one)
    return {name: _group(groups[name]) for name in sorted(groups, key=lambda name: (":" in name, name))}


def _group(results: list[dict[str, Any]]) -> dict[str, Any]:
    table: dict[str, Any] = {"clips": len(results), "policies": {}}
    for policy in POLICIES:
        own = [one["policies"][policy] for one in results]
        line = {
            count: {
                "seen": _mean([one[count]["seen"] for one in own]),
                "packets": sum(one[count]["packets"] for one in own),
            }
            for count in map(str, FRAMES)
        }
        answered = [one[str(ANSWERED)] for one in own]
        line[str(ANSWERED)] |= {
            "rare": _mean([ok for one in answered for ok in one["rare"]]),
            "rare_by_type": [_mean(list(kind)) for kind in zip(*(one["rare"] for one in answered), strict=True)],
            "other": _mean([ok for one in answered for ok in one["other"]]),
            "seconds": round(sum(one["seconds"] for one in answered), 2),
            "choosing": round(sum(one["choosing"] for one in answered), 3),
            "seen_interval": _interval([one["seen"] for one in answered]),
        }
        table["policies"][policy] = line
    return table


def _mean(values: list[bool]) -> float:
    return round(float(np.mean(values)), 3) if values else float("nan")


def _interval(values: list[bool]) -> list[float]:
    """95 %, by drawing the clips anew."""
    rng = np.random.default_rng(0)
    drawn = rng.choice(np.array(values, float), size=(2000, len(values))).mean(axis=1)
    return [round(float(one), 3) for one in np.quantile(drawn, (0.025, 0.975))]


def table(summary: dict[str, Any], frames: int = ANSWERED) -> str:
    """Share of events seen at so many frames, Markdown."""
    lines = ["| | clips | " + " | ".join(POLICIES) + " |", "| --- " * (2 + len(POLICIES)) + "|"]
    for name, group in summary.items():
        cells = [f"{group['policies'][policy][str(frames)]['seen']:.2f}" for policy in POLICIES]
        lines.append(f"| {name} | {group['clips']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure what is not yet measured, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("split", choices=list(SPLITS))
    parser.add_argument("clips_folder", type=Path)
    parser.add_argument("--clips", type=int, default=56)
    parser.add_argument("--jobs", type=int, default=1, help="clips measured at the same time")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    options.clips_folder.mkdir(parents=True, exist_ok=True)
    kept = options.clips_folder / f"results-{options.split}.jsonl"
    results = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    done = {one["number"] for one in results}
    left = [number for number in range(options.clips) if number not in done]
    run = partial(measure, split=SPLITS[options.split], folder=options.clips_folder)
    with kept.open("a") as file, ProcessPoolExecutor(options.jobs) as pool:
        for one in pool.map(run, left):
            results.append(one)
            file.write(json.dumps(one) + "\n")
            file.flush()
            print(f"{len(results)} of {options.clips} clips", file=sys.stderr, flush=True)
    summary = summarise([one for one in results if one["number"] < options.clips])
    print(table(summary))
    if options.json:
        command = f"python -m benchmarks.rare {options.split} clips/ --clips {options.clips}"
        rows = sum(one["rows"] for one in results)
        found = {"command": command, "clips": options.clips, "frames": rows, "rate": RATE, "strata": summary}
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
