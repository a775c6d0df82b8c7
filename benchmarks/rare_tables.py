"""The tables of docs/frames.md from benchmarks/results/rare.json and choose_speed.json, for benchmarks/readme.py."""

from __future__ import annotations

from typing import Any

FRAMES = ("8", "16", "32")


def _markdown(header: list[str], rows: list[list[Any]]) -> str:
    lines = [header, ["---"] * len(header), *[[str(cell) for cell in row] for row in rows]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def rare_table(result: dict[str, Any]) -> str:
    """A line per way of choosing, over all clips: seen, packets, answers, seconds."""
    every, main = (result["strata"][name]["policies"] for name in ("all", "H.264 and HEVC"))
    rows = []
    for policy, line in every.items():
        at = line["16"]
        low, high = at["seen_interval"]
        rows.append(
            [policy, *(f"{line[count]['seen']:.2f}" for count in FRAMES), f"{low:.2f} to {high:.2f}"]
            + [f"{main[policy]['16']['seen']:.2f}", " / ".join(f"{one:.2f}" for one in at["rare_by_type"])]
            + [f"{at['other']:.3f}"]
            + [*(f"{line[count]['packets']:,}" for count in FRAMES), f"{at['seconds']:.1f}"]
        )
    header = ["chosen by", "seen, 8 frames", "16", "32", "16: 95 % interval", "16: H.264 and HEVC"]
    header += [
        "16: rare object: colour / shape / direction right",
        "16: other questions right",
        "packets, 8 frames",
        "16",
        "32",
    ]
    return _markdown([*header, "16: processor seconds"], rows)


def rare_strata_table(result: dict[str, Any]) -> str:
    """Share of events seen with 16 frames, a line per stratum."""
    policies = list(result["strata"]["all"]["policies"])
    rows = [
        [name, group["clips"], *(f"{group['policies'][policy]['16']['seen']:.2f}" for policy in policies)]
        for name, group in result["strata"].items()
    ]
    return _markdown(["stratum", "clips", *policies], rows)


def choose_speed_table(result: dict[str, Any]) -> str:
    """Milliseconds of choosing by itself."""
    policies = list(dict.fromkeys(one["policy"] for one in result["calls"]))
    rows = []
    for packets in dict.fromkeys(one["packets"] for one in result["calls"]):
        own = {one["policy"]: one for one in result["calls"] if one["packets"] == packets}
        rows.append([f"{packets:,}", *(f"{1000 * own[policy]['cpu']:.0f}" for policy in policies)])
    return _markdown(["packets", *(f"{policy}, ms" for policy in policies)], rows)
