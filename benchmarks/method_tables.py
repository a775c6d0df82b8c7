"""Tables of what methods answer, for the pages that benchmarks/readme.py draws."""

from __future__ import annotations

from typing import Any

from benchmarks.table import table
from codecmeta.models.evaluation.report import row_name

VARIANTS = ("density_source=", "weights=uniform", "weights=shuffled", "boundaries=")
"""Options that take a method apart; such rows stand in docs/comparison.md."""


INSIDE = (
    "random layer",
    "fastv",
    "tome",
    "sttm",
    "dart",
    "sparsevlm",
    "metok",
    "holitom",
    "flashvid",
    "prunevid",
    "matm",
)
"""Methods that take tokens out within the language model, at whatever layer."""


SHORT = ("random", "metom", "evs", "replenish", "replenish weights=features", "divprune")
"""Rows of the README's table: chance, MeToM, one that looks at pixels, this project's own in two forms, a rival."""


def in_short_table(result: dict[str, Any]) -> str:
    """Points that a few methods lose at three budgets, with what they keep, and in short events."""
    rows = []
    for label in SHORT:
        mine = {one["budget"]: one for one in result["methods"] if one["label"] == label}
        cells = [f"{_points(mine[budget]['difference'])}" for budget in (0.3, 0.2, 0.1)]
        kept = ", ".join(f"{100 * mine[budget]['share_llm_mean']:.0f}" for budget in (0.3, 0.2, 0.1))
        rows.append([f"`{label}`", *cells, kept])
    return table(["method", "budget 30%", "20%", "10%", "tokens kept, %"], rows)


def variants_table(result: dict[str, Any]) -> str:
    """Right answers of MeToM and METok taken apart at each budget, with the difference to all tokens."""
    budgets = sorted({one["budget"] for one in result["methods"] if one["budget"] not in (None, 1)}, reverse=True)
    rows = []
    for label in dict.fromkeys(one["label"] for one in result["methods"]):
        if not any(option in label for option in VARIANTS):
            continue
        mine = {one["budget"]: one for one in result["methods"] if one["label"] == label}
        cells = [_right(mine[budget]) if budget in mine else "" for budget in (*budgets, None)]
        tokens = ", ".join(f"{100 * one['share_llm_mean']:.0f}" for one in mine.values())
        rows.append([row_name(next(iter(mine.values())), result), *cells, tokens])
    head = [f"{budget:.0%} of the tokens" for budget in budgets]
    return table(["method", *head, "no budget", "tokens per layer, %"], rows)


def _points(values: list[float]) -> str:
    """A difference in points, with its interval."""
    return "{:+.1f} ({:+.1f} to {:+.1f})".format(*(100 * one for one in values))


def _right(one: dict[str, Any]) -> str:
    """Per cent, and the difference to all tokens."""
    return f"{100 * one['accuracy'][0]:.1f} ({_points(one['difference'])})"


def strata_table(result: dict[str, Any]) -> str:
    """Points lost at 30 % by kind of clip, from benchmarks/methods.py."""
    shown = (
        "random",
        "metom",
        "metom tau_tem=2 rpm=false signal=bits_first",
        "replenish",
        "evs",
        "divprune",
        "flashvid",
    )
    chosen = [one for one in result["methods"] if one["budget"] == 0.3 and one["label"] in shown]
    rows = [
        [name, part["questions"], f"{100 * part['accuracy'][0]:.1f}"]
        + [f"{100 * one['strata'][name]['difference'][0]:+.1f}" for one in chosen]
        for name, part in result["methods"][0]["strata"].items()
    ]
    return table(
        [
            "clips",
            "questions",
            "none, % right",
            *(f"{one['label']} ({one['share_llm_mean']:.1%} kept)" for one in chosen),
        ],
        rows,
    )


def before_table(result: dict[str, Any]) -> str:
    """Methods that take tokens out before the language model, by what they kept."""
    return _by_tokens(result, inside=False)


def inside_table(result: dict[str, Any]) -> str:
    """Methods that take tokens out within the language model, by the mean over its layers."""
    return _by_tokens(result, inside=True)


SHORT_EVENTS = ("event: a quarter or less", "event: 10 s or less")
"""Strata of what is there for a short time: of benchmarks/heldout.py and of benchmarks/fine_clips.py."""


def fine_table(result: dict[str, Any]) -> str:
    """The fine model on harder clips: what it answers from all tokens by type, then every method."""
    none = result["methods"][0]
    kinds = ", ".join(f"{kind.replace('_', ' ')} {100 * one['accuracy'][0]:.0f}" for kind, one in none["types"].items())
    whole = f"From all tokens {100 * none['accuracy'][0]:.1f} % are right ({kinds})."
    return f"{_by_tokens(result, inside=None, soft=True)} {whole}"


def _by_tokens(result: dict[str, Any], inside: bool | None, soft: bool = False) -> str:
    """Points lost to all tokens and won over chance at equal tokens, by the tokens that entered the layers. inside: of
    methods within the language model, or before it; None for all. soft: with the probability of the right answer."""
    rows = []
    short = next(name for name in SHORT_EVENTS if name in result["methods"][0]["strata"])
    for one in sorted(result["methods"][1:], key=lambda one: -one["share_llm_mean"]):
        if any(name in one["label"] for name in VARIANTS):
            continue
        if inside is not None and any(name in one["label"] for name in INSIDE) != inside:
            continue
        parts = (short, "codec: H.264", "codec: HEVC", "codec: VP9")
        strata = [f"{100 * one['strata'][name]['difference'][0]:+.1f}" for name in parts]
        rows.append(
            [f"{100 * one['share_llm_mean']:.1f}", row_name(one, result), _points(one["difference"])]
            + [_points(one["against_chance"]), *([_points(one["soft_difference"])] if soft else []), *strata]
        )
    head = ["tokens per layer, %", "method", "to all tokens", "to chance at equal tokens"]
    head += [*(["probability of the right answer"] if soft else []), "short events"]
    shown = result["methods"][0]["strata"][short]["questions"]
    asked = f"{result['questions']:,} questions about {result['videos']} clips, {shown} of them about short events."
    note = f"{result['note'][:1].upper()}{result['note'][1:]}."
    return f"{table([*head, 'H.264', 'HEVC', 'VP9'], rows)}\n\n{asked} {note}"


def text_image_table(result: dict[str, Any]) -> str:
    """How well the built-in text-image model finds pictures, from models/small/text_image/evaluate.py."""
    parts = [("within a clip", "clips"), ("in the pool", "pool")]
    rows = [
        [f"{where}, {name}", one["texts"], f"{one['best_shows_it']:.2f}", f"{one['auc']:.3f}", f"{one['chance']:.2f}"]
        for where, part in parts
        for name, one in result[part].items()
    ]
    query = result["query"]
    said = (
        f'Of {query["frames"]} frames chosen by the question (`choose_frames(policy="query")`) '
        f"{query['share_shown']:.0%} show the object that it names, of as many spread evenly "
        f"{query['share_shown_uniform']:.0%} ({query['questions']} questions). {result['clips_read']} clips."
    )
    head = ["texts", "number", "the best picture is right", "AUC", "share of right pictures"]
    return f"{table(head, rows)}\n\n{said}"
