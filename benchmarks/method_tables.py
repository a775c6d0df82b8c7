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


def fine_table(result: dict[str, Any]) -> str:
    """The fine model on harder clips: "how many" apart from all else, by the tokens that entered the layers."""
    rows = []
    for one in sorted(result["methods"][1:], key=lambda one: -one["share_llm_mean"]):
        rest, count = (one["strata"][f"asks: {what}"] for what in ("else", "how many"))
        parts = (one["strata"]["event: 10 s or less"], one["types"]["when"], count)
        rows.append(
            [f"{100 * one['share_llm_mean']:.1f}", row_name(one, result), _points(rest["difference"])]
            + [_points(rest["against_chance"]), _points(rest["soft_difference"])]
            + [f"{100 * part['difference'][0]:+.1f}" for part in parts]
        )
    head = ["tokens per layer, %", "method", "to all tokens", "to chance at equal tokens"]
    head += ["probability of the right answer", "short events", "when", "how many"]
    none = result["methods"][0]["strata"]
    rest, count = none["asks: else"], none["asks: how many"]
    asked = (
        f"{rest['questions']} questions about {result['videos']} clips, {none['event: 10 s or less']['questions']} of "
    )
    asked += f"them about short events; all tokens answer {100 * rest['accuracy'][0]:.1f} %. The last column: "
    asked += f"{count['questions']} more, {100 * count['accuracy'][0]:.1f} %."
    return f"{table(head, rows)}\n\n{asked} {result['note'][:1].upper()}{result['note'][1:]}."


def fine_types_table(result: dict[str, Any]) -> str:
    """What the fine model answers from all tokens, by type of question and by how long its object is there."""
    none = result["methods"][0]
    parts = {kind.replace("_", " "): one for kind, one in none["types"].items()}
    parts |= {name.removeprefix("event: "): one for name, one in none["strata"].items() if name.startswith("event: ")}
    rows = [[name, one["questions"], _per_cent(one["accuracy"])] for name, one in parts.items()]
    rows.append(["all", none["questions"], _per_cent(none["accuracy"])])
    return table(["questions about", "questions", "right, %"], rows)


def natural_table(result: dict[str, Any]) -> str:
    """Features of natural video in kept tokens, from benchmarks/natural.py."""
    rows = []
    for label in dict.fromkeys(one["label"] for one in result["methods"]):
        row: list[Any] = [f"`{label}`"]
        for one in (one for one in result["methods"] if one["label"] == label):
            better = one["better_than_chance"]
            row += [f"{one[name]:.3f} ({better[name]})" for name in ("coverage", "changed")]
            row.append(f"{one['same class']:.2f}")
        rows.append(row)
    head = ["method"]
    for budget in dict.fromkeys(one["budget"] for one in result["methods"]):
        head += [f"{budget:.0%}: distance of all", "of what changed", "same class"]
    files, clips = result["methods"][0]["files"], len(result["clips"])
    return f"{table(head, rows)}\n\n{clips} clips in {len(result['encoders'])} encoders, {files} files."


def kept_table(result: dict[str, Any]) -> str:
    """What is in kept tokens by the truth, from benchmarks/kept.py."""
    measures = ("object pixels", "changed pixels", "event pixels", "events seen", "places seen")
    rows = [
        [
            f"{100 * one['tokens kept']:.1f}",
            f"`{label.rpartition(' at ')[0]}`",
            *(_per_cent(one[name]) for name in measures),
        ]
        for label, one in sorted(result["results"].items(), key=lambda item: -item[1]["tokens kept"])
    ]
    return f"{table(['tokens kept, %', 'method', *measures], rows)}\n\n{result['clips']} clips of the tuning split."


def regions_table(result: dict[str, Any]) -> str:
    """What merging patches before the vision encoder costs, beside regions drawn by chance."""
    rows = [
        [
            f"`{one['label']}`",
            f"{100 * one['share_encoder']:.1f}",
            _points(one["difference"]),
            _points(one["soft_difference"]),
        ]
        for one in result["methods"][1:]
    ]
    asked = f"{result['questions']:,} questions about {result['videos']} clips."
    head = ["method", "tokens in the encoder, %", "to all tokens", "probability of the right answer"]
    return f"{table(head, rows)}\n\n{asked} {result['note'][:1].upper()}{result['note'][1:]}."


def _per_cent(values: list[float]) -> str:
    return "{:.1f} ({:.1f} to {:.1f})".format(*(100 * one for one in values))


def _by_tokens(result: dict[str, Any], inside: bool) -> str:
    """Points lost to all tokens and won over chance at equal tokens, by the tokens that entered the layers."""
    rows = []
    for one in sorted(result["methods"][1:], key=lambda one: -one["share_llm_mean"]):
        if any(name in one["label"] for name in INSIDE) != inside or any(name in one["label"] for name in VARIANTS):
            continue
        parts = ("event: a quarter or less", "codec: H.264", "codec: HEVC", "codec: VP9")
        strata = [f"{100 * one['strata'][name]['difference'][0]:+.1f}" for name in parts]
        rows.append(
            [f"{100 * one['share_llm_mean']:.1f}", row_name(one, result), _points(one["difference"])]
            + [_points(one["against_chance"]), *strata]
        )
    head = ["tokens per layer, %", "method", "to all tokens", "to chance at equal tokens", "short events"]
    shown = result["methods"][0]["strata"]["event: a quarter or less"]["questions"]
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
