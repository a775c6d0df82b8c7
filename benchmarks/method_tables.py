"""Tables of what methods answer, for the pages that benchmarks/readme.py draws."""

from __future__ import annotations

from typing import Any

from benchmarks.table import table
from codecmeta.models.evaluation.report import row_name

VARIANTS = ("rpm=", "density_source=", "weights=", "boundaries=")
"""Options that take a method apart; such rows stand in docs/comparison.md."""


def methods_table(result: dict[str, Any]) -> str:
    """Right answers at each budget, with the difference to all tokens, from benchmarks/methods.py."""
    asked = f"{result['questions']:,} questions about {result['videos']} clips."
    note = f"{result['note'][:1].upper()}{result['note'][1:]}."
    return f"{_methods_table(result, variants=False)}\n\n{asked} {note}"


SHORT = ("random", "evs", "metom", "tome")
"""Rows of the README's table: chance, one that looks at pixels, the codec's, one inside the model."""


def in_short_table(result: dict[str, Any]) -> str:
    """Right answers of a few methods at two budgets, and what 30 % loses on H.264, where the signals are exact."""
    rows = []
    for label in SHORT:
        mine = {one["budget"]: one for one in result["methods"] if one["label"] == label}
        exact = mine[0.3]["strata"]["codec: H.264"]["difference"][0]
        rows.append([f"`{label}`", _right(mine[0.3]), f"{100 * exact:+.1f}", _right(mine[0.1])])
    head = ["method", "30% of the tokens", "the same, H.264 alone", "10% of the tokens"]
    return table(head, rows)


def variants_table(result: dict[str, Any]) -> str:
    """The same for MeToM and METok taken apart."""
    return _methods_table(result, variants=True)


def _methods_table(result: dict[str, Any], variants: bool) -> str:
    budgets = sorted({one["budget"] for one in result["methods"] if one["budget"] is not None}, reverse=True)
    rows = []
    for label in dict.fromkeys(one["label"] for one in result["methods"]):
        if any(option in label for option in VARIANTS) != variants:
            continue
        mine = {one["budget"]: one for one in result["methods"] if one["label"] == label}
        cells = [_right(mine[budget]) if budget in mine else "" for budget in (*budgets, None)]
        tokens = ", ".join(f"{100 * one['share_llm_mean']:.0f}" for one in mine.values())
        rows.append([row_name(next(iter(mine.values())), result), *cells, tokens])
    head = [f"{budget:.0%} of the tokens" for budget in budgets]
    return table(["method", *head, "no budget", "tokens per layer, %"], rows)


def _right(one: dict[str, Any]) -> str:
    """Per cent, and the difference to all tokens in points with its 95 % interval."""
    difference = "{:+.1f}, {:+.1f} to {:+.1f}".format(*(100 * part for part in one["difference"]))
    return f"{100 * one['accuracy'][0]:.1f} ({difference})"


def strata_table(result: dict[str, Any]) -> str:
    """Points lost at 30 % by kind of clip, from benchmarks/methods.py."""
    shown = ("random", "metom", "metom tau_tem=2 signal=bits_first", "evs", "dycoke", "tome", "fastv")
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


def replenish_table(result: dict[str, Any]) -> str:
    """Realised tokens, and points lost to all tokens and won over chance at equal tokens; from codecmeta eval."""
    rows = []
    for one in sorted(result["methods"][1:], key=lambda one: -one["share_llm_mean"]):
        short = one["strata"]["event: a quarter or less"]
        chance = "{:+.1f} ({:+.1f} to {:+.1f})".format(*(100 * part for part in one["against_chance"]))
        lost = "{:+.1f} ({:+.1f} to {:+.1f})".format(*(100 * part for part in one["difference"]))
        codecs = [
            f"{100 * one['strata'][f'codec: {codec}']['difference'][0]:+.1f}" for codec in ("H.264", "HEVC", "VP9")
        ]
        event = f"{100 * short['difference'][0]:+.1f}"
        rows.append([f"{100 * one['share_llm_mean']:.1f}", row_name(one, result), lost, chance, event, *codecs])
    head = ["tokens per layer, %", "method", "to all tokens", "to chance at equal tokens", "short events"]
    shown = result["methods"][0]["strata"]["event: a quarter or less"]["questions"]
    note = f"{result['questions']:,} questions about {result['videos']} clips, {shown} of them about short events."
    return f"{table([*head, 'H.264', 'HEVC', 'VP9'], rows)}\n\n{note} {result['note']}"


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
