"""Tables of what reading costs and finds, for the pages that benchmarks/readme.py draws."""

from __future__ import annotations

from typing import Any

from benchmarks.table import table


def extract_table(result: dict[str, Any]) -> str:
    """Frames per second of every way of reading, from benchmarks/extract.py."""
    names = {
        "decode": "plain decode",
        "probe": "probe",
        "vectors_qp": "vectors + QP",
        "vectors_qp_residual": "vectors + QP + residual",
        "motion-vector-extractor": "motion-vector-extractor (two threads)",
    }
    names = {
        name: said for name, said in names.items() if any(name in one["frames_per_second"] for one in result["speed"])
    }
    rows = [
        [one["clip"], f"{one['size'][0]}x{one['size'][1]}", one["frames"]]
        + [f"{one['frames_per_second'][name]:,.0f}" if one["frames_per_second"].get(name) else "" for name in names]
        for one in result["speed"]
    ]
    return table(["clip", "size", "frames", *names.values()], rows)


def cache_table(result: dict[str, Any]) -> str:
    """Bytes of caches as a share of the video's, from benchmarks/extract.py."""
    rows = [
        [one["clip"], f"{one['video_bytes']:,}"]
        + [f"{one['caches'][name]['share_of_video']:.2f}" if name in one["caches"] else "" for name in ("all", "64")]
        for one in result["cache"]
    ]
    return table(["clip", "bytes of the video", "all frames, share of it", "64 frames, share of it"], rows)


def events_table(result: dict[str, Any]) -> str:
    """F1 of cuts and the share of fades and entrances found, from benchmarks/events.py."""
    methods = {"all signals": "all signals", "packet table": "packets only", "packet size jump": "packet size alone"}
    rows = [
        [name, *(f"{group[kind][method][measure]:.2f}" for kind, measure in _EVENTS for method in methods)]
        for name, group in result["groups"].items()
    ]
    kinds = {"cut": "cuts, F1", "fade": "fades found", "entrance": "entrances found"}
    return table(["encoder", *(f"{kinds[kind]}: {name}" for kind, _ in _EVENTS for name in methods.values())], rows)


_EVENTS = (("cut", "f1"), ("fade", "found"), ("entrance", "found"))
