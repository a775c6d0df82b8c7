"""Draws the tables of README.md and of the pages in docs/ from the JSON under benchmarks/results.

python -m benchmarks.readme             # rewrite what stands between the table markers
python -m benchmarks.readme --check     # exit 1 if a page and the results disagree
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.method_tables import (
    before_table,
    fine_table,
    fine_types_table,
    in_short_table,
    inside_table,
    kept_table,
    natural_table,
    regions_table,
    strata_table,
    text_image_table,
    variants_table,
)
from benchmarks.reading_tables import cache_table, events_table, extract_table
from benchmarks.table import table
from codecmeta.compression.engine.families import FAMILIES
from codecmeta.compression.methods.registry import ROWS

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def small_model_table(result: dict[str, Any]) -> str:
    """Exact matches of the built-in model, from codecmeta.models.small.evaluate."""
    lines = {"all": result, **result["types"], "held-out colour-shape pairs": result["held_out_pairs"]}
    rows = [
        [
            name,
            one["questions"],
            f"{one['accuracy']:.3f}",
            f"{one['best_constant']:.2f}" if "best_constant" in one else "",
        ]
        for name, one in lines.items()
    ]
    return table(["questions about", "questions", "right", "best constant answer"], rows)


def signals_table(result: dict[str, Any]) -> str:
    """Areas under the ROC curve of every signal, from benchmarks/signals.py."""
    truths = ("object", "moving object", "change")
    rows = [
        [name, one["clips"], *(_area(one[truth]) for truth in truths), f"{one['motion'][0]:.2f}"]
        for name, one in result["all"].items()
    ]
    return table(
        ["signal", "clips", *(f"{truth}, ROC area" for truth in truths), "true motion, rank correlation"], rows
    )


def _area(interval: list[float]) -> str:
    return "{:.2f} ({:.2f} to {:.2f})".format(*interval)


def oracle_table(result: dict[str, Any]) -> str:
    """Right answers where the truth, or the codec, chooses the tokens of H.264 clips, from benchmarks/oracle.py."""
    budgets, settings = (0.5, 0.3, 0.2, 0.1), result["H.264 clips"]["settings"]
    rows = [["everything", *[_both(settings["all"])] * len(budgets)]]
    rows += [[name, *(_both(settings[f"{name} {budget:g}"]) for budget in budgets)] for name in result["choices"]]
    return table(["kept tokens", *(f"right at {budget:.0%}, %" for budget in budgets)], rows)


def _both(one: dict[str, Any]) -> str:
    return f"{100 * one['accuracy'][0]:.1f} / {100 * one['without counting'][0]:.1f}"


def stages_table(result: dict[str, Any]) -> str:
    """Milliseconds of every stage until the first token, and the cache, from benchmarks/stages.py."""
    stages = {
        "decode": "decode", "metadata": "metadata", "vision": "vision", "projector": "projector",
        "strategy": "strategy", "prefill": "prefill", "first_token": "first token, from the file",
    }  # fmt: skip
    rows = [
        [one["model"], row["frames"], row["method"], f"{row['tokens_kept']:,} of {row['tokens_full']:,}"]
        + [f"{1000 * row['seconds'][name]:,.0f}" for name in stages]
        + [f"{row['kv_bytes'] / 2**20:,.1f}"]
        for one in result["results"]
        for row in one["rows"]
    ]
    return table(["model", "frames", "method", "visual tokens", *stages.values(), "KV cache, MiB"], rows)


def cost_table(result: dict[str, Any]) -> str:
    """Operations and cache saved on paper, from benchmarks/cost.py."""
    rows = [
        [model, row["frames"], row["method"], f"{row['prefill_teraflops']:.1f}", f"{row['cache_mib']:,.0f}"]
        + [f"{row[name]:.1%}" if name in row else "" for name in ("flops_saved", "cache_saved")]
        for model, rows in result["results"].items()
        for row in rows
    ]
    return table(["model", "frames", "method", "prefill, TFLOP", "cache, MiB", "TFLOP saved", "cache saved"], rows)


def method_names() -> str:
    """Every method in a line, from the registry."""
    return table(["method", "what it does"], [[f"`{name}`", row.line] for name, row in ROWS.items()])


def model_names() -> str:
    """Every supported model, from the registry."""
    return table(["model", "class in transformers"], [[row.label, f"`{name}`"] for name, row in FAMILIES.items()])


REGISTRIES: dict[str, Callable[[], str]] = {"method_names": method_names, "model_names": model_names}
"""Tables that are drawn from the package itself."""

_RARE_FRAMES = ("8", "16", "32")


def rare_table(result: dict[str, Any]) -> str:
    """A line per way of choosing, over all clips: seen, packets, answers, seconds; from benchmarks/rare.py."""
    every, main = (result["strata"][name]["policies"] for name in ("all", "H.264 and HEVC"))
    rows = []
    for policy, line in every.items():
        at = line["16"]
        low, high = at["seen_interval"]
        rows.append(
            [policy, *(f"{line[count]['seen']:.2f}" for count in _RARE_FRAMES), f"{low:.2f} to {high:.2f}"]
            + [f"{main[policy]['16']['seen']:.2f}", " / ".join(f"{one:.2f}" for one in at["rare_by_type"])]
            + [f"{at['other']:.3f}"]
            + [*(f"{line[count]['packets']:,}" for count in _RARE_FRAMES), f"{at['seconds']:.1f}"]
        )
    header = ["chosen by", "seen, 8 frames", "16", "32", "16: 95 % interval", "16: H.264 and HEVC"]
    header += [
        "16: rare object: colour / shape / direction right",
        "16: other questions right",
        "packets, 8 frames",
        "16",
        "32",
    ]
    return table([*header, "16: processor seconds"], rows)


LEADING = {
    "uniform": "`uniform`: evenly spread",
    "events": "`events`: from packets alone",
    "largest differences": "largest differences of decoded pictures",
    "k-means": "k-means of decoded thumbnails",
}
"""Rows of the README's first table: what everybody does, ours, two that decode everything."""


def rare_in_short_table(result: dict[str, Any]) -> str:
    """With 16 frames, over all clips: seen, answers, packets, seconds; from benchmarks/rare.py."""
    rows = []
    policies = result["strata"]["all"]["policies"]
    for policy, name in LEADING.items():
        at = policies[policy]["16"]
        rows.append([name])
        rows[-1] += [f"{at['seen']:.2f}", f"{at['rare_by_type'][0]:.2f}", f"{at['other']:.2f}", f"{at['packets']:,}"]
    head = ["chosen by", "clips in which it is seen", "its colour named", "other questions right", "packets decoded"]
    return table(head, rows)


def rare_strata_table(result: dict[str, Any]) -> str:
    """Share of events seen with 16 frames, a line per stratum."""
    policies = list(result["strata"]["all"]["policies"])
    rows = [
        [name, group["clips"], *(f"{group['policies'][policy]['16']['seen']:.2f}" for policy in policies)]
        for name, group in result["strata"].items()
    ]
    return table(["stratum", "clips", *policies], rows)


def choose_speed_table(result: dict[str, Any]) -> str:
    """Milliseconds of choosing by itself."""
    policies = list(dict.fromkeys(one["policy"] for one in result["calls"]))
    rows = []
    for packets in dict.fromkeys(one["packets"] for one in result["calls"]):
        own = {one["policy"]: one for one in result["calls"] if one["packets"] == packets}
        rows.append([f"{packets:,}", *(f"{1000 * own[policy]['cpu']:.0f}" for policy in policies)])
    return table(["packets", *(f"{policy}, ms" for policy in policies)], rows)


def cuts_table(result: dict[str, Any]) -> str:
    """Detectors of cuts: how well, by encoder, and how fast."""
    groups = [name for name, value in result["rows"][0].items() if isinstance(value, dict)]
    rows = [
        [
            one["detector"],
            *(f"{one['all'][what]:.2f}" for what in ("f1", "precision", "recall")),
            *(f"{one[name]['f1']:.2f}" for name in groups if name != "all"),
            f"{one['frames_per_second']:,}",
        ]
        for one in result["rows"]
    ]
    encoders = (f"F1: {name}" for name in groups if name != "all")
    return table(["detector", "F1", "precision", "recall", *encoders, "frames per processor second"], rows)


def index_table(result: dict[str, Any]) -> str:
    """Seconds and bytes of probing by the container's index, a line per film."""
    rows = [
        [
            f"{one['minutes']} min, {one['packets']:,} packets, {one['bytes'] / 1e6:,.0f} MB",
            f"{1000 * one['index_cpu']:.0f}",
            f"{one['bytes_read'] / 1e6:.2f} ({one['share_read']:.2%})",
            f"{1000 * one['choose_32_events_cpu']:.0f}",
            f"{1000 * one['all_packets_cpu']:,.0f}",
        ]
        for one in result["films"]
    ]
    return table(["film", "index, ms", "MB read", "32 frames by `events`, ms", "every packet, ms"], rows)


def remote_table(result: dict[str, Any]) -> str:
    """Bytes and questions of 32 frames of a film behind an address, a line per policy."""
    rows = [
        [
            one["policy"],
            one["gops"],
            f"{one['choose_requests']}",
            f"{one['choose_share']:.2%}",
            f"{one['requests']}",
            f"{one['share_sent']:.2%}",
        ]
        for one in result["policies"]
    ]
    return table(
        ["policy", "GoPs", "requests to choose", "of the bytes", "requests in all", "of the bytes, in all"], rows
    )


def frames_table(result: dict[str, Any]) -> str:
    """Seconds from file to RGB, ours and the best peer's, a line per clip and number; from benchmarks/frames.py."""
    lines: dict[tuple[str, int, int], dict[str, dict[str, Any]]] = {}
    for one in result["results"]:
        lines.setdefault((one["codec"], one["gop"], one["frames"]), {})[one["way"]] = one
    rows = []
    for (codec, gop, frames), ways in lines.items():
        peers = {way: one["seconds"] for way, one in ways.items() if one.get("same_frames") is True}
        best = min((way for way in peers if not way.startswith("codecmeta")), key=peers.__getitem__)
        ours = [ways[f"codecmeta, {policy}"] for policy in ("uniform", "cheap", "events")]
        cells = [f"{one['seconds']:.2f} ({one['times_faster_than_best_peer']:.1f}x)" for one in ours]
        rows.append([f"{codec}, GoP {gop}", frames, *cells, f"{peers[best]:.2f} ({best})"])
    head = [
        "clip",
        "frames",
        "`uniform`, s",
        "`cheap`, s",
        "`events`, s",
        "the fastest peer on the frames of `uniform`, s",
    ]
    return table(head, rows)


def index_rare_table(result: dict[str, Any]) -> str:
    """Clips in which the object is seen, by headers and by the index."""
    rows = [
        [name, group["clips"], *(" / ".join(map(str, group[way])) for way in ("headers", "index", "default"))]
        for name, group in result["groups"].items()
    ]
    return table(["codec", "clips", "every packet's headers", "the index alone", "by default"], rows)


def ordinary_table(result: dict[str, Any]) -> str:
    """What each policy's frames lose on ordinary clips, from benchmarks/ordinary.py."""
    parts = ("codec: H.264", "codec: HEVC", "codec: VP9", "event: a quarter or less", "seconds: 60 and more s")
    rows = []
    for name, one in result["policies"].items():
        cells = ["{:+.1f} ({:+.1f} to {:+.1f})".format(*(100 * part for part in one["difference"]))]
        cells += [f"{100 * one['strata'][part]['difference'][0]:+.1f}" for part in parts]
        rows.append([f"`{name}`", f"{100 * one['right']:.1f}", *cells])
    asked = f"{result['questions']:,} questions about {result['videos']} clips."
    heads = ["H.264", "HEVC", "VP9", "short events", "a minute and more"]
    return f"{table(['chosen by', 'right, %', 'to `uniform`, points', *heads], rows)}\n\n{asked}"


def models_table(result: dict[str, Any]) -> str:
    """What published checkpoints cost by their configurations, a line each."""
    rows = [
        [
            f"`{one['id']}`",
            f"{one['parameters'] / 1e9:.2f} B",
            f"{one['download_bytes'] / 1e9:.1f} GB",
            f"{2 * one['download_bytes'] / 1e9:.1f} GB",
            f"{one['tokens_per_picture']:g}",
            f"{64 * one['tokens_per_picture'] * one['kv_bytes_per_token'] / 1e6:,.0f} MB",
        ]
        for one in result["models"]
    ]
    return table(
        ["`--model`", "parameters", "download", "weights on a CPU", "tokens per picture", "cache of 64 pictures"], rows
    )


def vllm_table(result: dict[str, Any]) -> str:
    """What of vLLM's prompts and answers is as transformers and `apply` have it, a line per case."""
    rows = []
    for name, case in result["cases"].items():
        asked = case["asked"]
        rows.append(
            [
                name,
                f"{sum(one['kept'] for one in asked):,} of {sum(one['tokens'] for one in asked):,}",
                f"{sum(one['same_prompt'] for one in asked)} of {len(asked)}",
                f"{sum(one['same_answer'] for one in asked)} of {len(asked)}",
                f"{sum(one['from_prefix_cache'] > 0 for one in asked)}",
                f"{max(one['logprobs_differ'] for one in asked):.0e}",
            ]
        )
    head = ["case", "tokens kept", "same prompt", "same answer", "from the prefix cache"]
    return table([*head, "log probabilities differ by at most"], rows)


def vllm_positions_table(result: dict[str, Any]) -> str:
    """Where vLLM's own recomputation puts the tokens of a pruned video."""
    found = result["vllm's own positions"]
    rows = []
    for name, one in found.items():
        if isinstance(one, dict):
            wrong = f"{one.get('tokens_of_the_video_misplaced')} of {found['kept']} tokens of the video misplaced"
            rows.append([name, one["raises"].split(":")[0] if "raises" in one else wrong])
    return table(["prompt", "positions"], rows)


TABLES: dict[str, tuple[str, Callable[[dict[str, Any]], str]]] = {
    "extract": ("extract.json", extract_table),
    "cache": ("extract.json", cache_table),
    "events": ("events.json", events_table),
    "small_model": ("small_model.json", small_model_table),
    "before": ("methods.json", before_table),
    "inside": ("methods.json", inside_table),
    "text_image": ("text_image.json", text_image_table),
    "fine": ("methods_fine.json", fine_table),
    "fine_types": ("methods_fine.json", fine_types_table),
    "kept": ("kept.json", kept_table),
    "natural": ("natural.json", natural_table),
    "regions": ("regions.json", regions_table),
    "in_short": ("methods.json", in_short_table),
    "variants": ("methods.json", variants_table),
    "strata": ("methods.json", strata_table),
    "oracle": ("oracle.json", oracle_table),
    "vllm": ("vllm.json", vllm_table),
    "vllm_positions": ("vllm.json", vllm_positions_table),
    "signals": ("signals.json", signals_table),
    "cost": ("cost.json", cost_table),
    "stages": ("stages_cpu.json", stages_table),
    "rare": ("rare.json", rare_table),
    "rare_in_short": ("rare.json", rare_in_short_table),
    "rare_strata": ("rare.json", rare_strata_table),
    "rare_long": ("rare_long.json", rare_table),
    "choose_speed": ("choose_speed.json", choose_speed_table),
    "cuts": ("cuts.json", cuts_table),
    "models": ("models.json", models_table),
    "index": ("index.json", index_table),
    "index_rare": ("index_rare.json", index_rare_table),
    "frames": ("frames.json", frames_table),
    "ordinary": ("ordinary.json", ordinary_table),
    "remote": ("remote.json", remote_table),
}
PAGES = {
    "README.md": ("rare_in_short", "in_short"),
    "docs/methods.md": ("method_names", "model_names", "models"),
    "docs/numbers.md": ("extract", "cache", "events", "small_model"),
    "docs/comparison.md": (
        "before",
        "inside",
        "fine",
        "regions",
        "natural",
        "kept",
        "variants",
        "strata",
        "oracle",
        "signals",
    ),
    "models/small/fine/MODEL_CARD.md": ("fine_types",),
    "models/small/text_image/MODEL_CARD.md": ("text_image",),
    "docs/savings.md": ("cost", "stages"),
    "docs/vllm.md": ("vllm", "vllm_positions"),
    "docs/frames.md": (
        "rare",
        "rare_strata",
        "rare_long",
        "ordinary",
        "choose_speed",
        "cuts",
        "frames",
        "index",
        "index_rare",
        "remote",
    ),
}


def redrawn(page: str) -> str:
    """A page with every table drawn anew."""
    text = (ROOT / page).read_text()
    for name in PAGES[page]:
        if name in REGISTRIES:
            drawn = REGISTRIES[name]()
        else:
            file, draw = TABLES[name]
            drawn = draw(json.loads((RESULTS / file).read_text()))
        pattern = rf"<!-- table:{name} -->.*?<!-- /table -->"
        if not re.search(pattern, text, flags=re.S):
            raise SystemExit(f"{page} has no place for the table {name!r}")
        text = re.sub(pattern, lambda _, d=drawn, n=name: f"<!-- table:{n} -->\n{d}\n<!-- /table -->", text, flags=re.S)
    return text


def main() -> None:
    """Rewrite or check every page."""
    for page in PAGES:
        new = redrawn(page)
        if "--check" not in sys.argv[1:]:
            (ROOT / page).write_text(new)
        elif new != (ROOT / page).read_text():
            sys.exit(f"{page} and benchmarks/results disagree: run benchmarks/readme.py")


if __name__ == "__main__":
    main()
