"""Answers -> what every method costs: a dictionary for JSON, and tables made from it."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codecmeta.models.evaluation.answering import Reply
from codecmeta.models.evaluation.chance import right_by_chance
from codecmeta.models.evaluation.dataset import DatasetRow, known_answers
from codecmeta.models.evaluation.settings import REFERENCE, Setting
from codecmeta.models.evaluation.statistics import Bootstrap
from codecmeta.version import __version__


class Marks:
    """What came of the answers of one strategy: float (questions,) each. soft: the probability of the right answer's
    first token, None where one is not known."""

    def __init__(self, rows: Sequence[DatasetRow], replies: Sequence[Reply]) -> None:
        self.said = [row.parse(reply.text) for row, reply in zip(rows, replies, strict=True)]
        known = known_answers(rows)
        self.right = np.array([said == row.answer for row, said in zip(rows, self.said, strict=True)], float)
        self.unparsable = np.array(
            [
                not said if row.options else said not in known[row.type]
                for row, said in zip(rows, self.said, strict=True)
            ],
            float,
        )
        soft = [reply.soft for reply in replies]
        self.soft = None if None in soft else np.array(soft, float)

    def agrees(self, other: Marks) -> NDArray[np.float64]:
        """Same answer, right or wrong."""
        return np.array([one == two for one, two in zip(self.said, other.said, strict=True)], float)


def summarise_replies(
    rows: Sequence[DatasetRow],
    settings: Sequence[Setting],
    replies: Mapping[tuple[str, str], Reply],
    *,
    seed: int = 0,
    draws: int = 5000,
    chance: Sequence[int] = (),
) -> dict[str, Any]:
    """Accuracy of every setting with its difference to the plain model on the same questions, and what it took.

    Intervals hold 95 % of the results when videos are drawn anew (`Bootstrap`). A setting with several seeds counts
    every question by the mean over its seeds. replies: by (key of a strategy, `DatasetRow.id`).
    seed, draws: of the bootstrap. chance: seeds that `evaluate` was asked to draw at equal tokens; every setting then
    has its difference to chance too, as a whole and by stratum.
    """
    videos = {video: number for number, video in enumerate(dict.fromkeys(row.video for row in rows))}
    bootstrap = Bootstrap([videos[row.video] for row in rows], draws, seed)

    def of(key: str) -> list[Reply]:
        return [replies[key, row.id] for row in rows]

    plain = Marks(rows, of(settings[0].keys[0]))
    methods = []
    for setting in settings:
        given = [of(key) for key in setting.keys]
        drawn = [right_by_chance(rows, key, replies, chance) for key in setting.keys] if chance else []
        by_chance = np.mean(drawn, axis=0) if drawn else None
        marks = [Marks(rows, one) for one in given]
        methods.append(_method(rows, setting, given, marks, plain, bootstrap, by_chance))
    return {
        "questions": len(rows),
        "videos": len(videos),
        "reference": REFERENCE,
        "chance_seeds": list(chance),
        "bootstrap": {"clusters": "videos", "draws": draws, "seed": seed, "interval": 0.95},
        "versions": {name: version(name) for name in ("torch", "transformers", "numpy", "av")}
        | {"codecmeta": __version__, "python": platform.python_version()},
        "methods": methods,
    }


def _method(
    rows: Sequence[DatasetRow],
    setting: Setting,
    given: Sequence[Sequence[Reply]],
    marks: Sequence[Marks],
    plain: Marks,
    bootstrap: Bootstrap,
    by_chance: NDArray[np.float64] | None = None,
) -> dict[str, Any]:
    right = np.mean([one.right for one in marks], axis=0)
    agree = np.mean([one.agrees(plain) for one in marks], axis=0)
    values = {"accuracy": right, "difference": right - plain.right, **_soft(marks, plain)}
    if by_chance is not None:
        values["against_chance"] = right - by_chance

    def part(where: NDArray[np.bool_]) -> dict[str, Any]:
        means = {name: _rounded(bootstrap.interval(one, where)) for name, one in values.items()}
        return {"questions": int(where.sum()), **means}

    every = [reply for one in given for reply in one]
    full = sum(reply.tokens_full for reply in every)
    encoder = sum(reply.encoder_full for reply in every)
    timed = [reply.seconds for reply in every if reply.seconds]
    strata = sorted({(name, value) for row in rows for name, value in row.strata.items()})
    return {
        "label": setting.label,
        "method": setting.name,
        "budget": setting.budget,
        "options": setting.options,
        "seeds": setting.seeds,
        **part(np.ones(len(rows), bool)),
        "accuracy_by_seed": [round(float(one.right.mean()), 4) for one in marks],
        "agreement": _rounded(bootstrap.interval(agree)),
        "unparsable": round(float(np.mean([one.unparsable for one in marks])), 4),
        "tokens_full": round(full / len(every), 2),
        "tokens_kept": round(sum(reply.tokens_kept for reply in every) / len(every), 2),
        "tokens_llm_mean": round(sum(reply.tokens_llm_mean for reply in every) / len(every), 2),
        "share_kept": round(sum(reply.tokens_kept for reply in every) / full, 4),
        "share_llm_mean": round(sum(reply.tokens_llm_mean for reply in every) / full, 4),
        "share_encoder": round(sum(reply.encoder_tokens for reply in every) / encoder, 4),
        "kv_bytes": round(sum(reply.kv_bytes for reply in every) / len(every)),
        "timed_answers": len(timed),
        "seconds": {name: round(float(np.median([one[name] for one in timed])), 6) for name in timed[0]}
        if timed
        else {},
        "types": {
            kind: part(np.array([row.type == kind for row in rows])) for kind in dict.fromkeys(row.type for row in rows)
        },
        "strata": {
            f"{name}: {value}": part(np.array([row.strata.get(name) == value for row in rows]))
            for name, value in strata
        },
    }


def _soft(marks: Sequence[Marks], plain: Marks) -> dict[str, NDArray[np.float64]]:
    """The probability of the right answer's first token, and its difference to the plain model's, float (questions,);
    nothing where answers come from a file that is older than this."""
    known = [one.soft for one in marks if one.soft is not None]
    if plain.soft is None or len(known) < len(marks):
        return {}
    soft = np.mean(known, axis=0)
    return {"soft": soft, "soft_difference": soft - plain.soft}


def _rounded(values: tuple[float, float, float]) -> list[float]:
    return [round(value, 4) for value in values]


def markdown(result: Mapping[str, Any]) -> str:
    """One line per method and budget."""
    head = [
        "method", "budget", "tokens", "tokens, layer mean", "encoder tokens", "right", "difference to none",
        "difference to chance at equal tokens", "probability of the right answer, difference", "same answer as none",
        "unparsable", "KV cache, KB", "seconds after decoding",
    ]  # fmt: skip
    lines = [head, ["---"] * len(head)]
    for one in result["methods"]:
        lines.append(
            [
                row_name(one, result),
                "" if one["budget"] is None else f"{one['budget']:.0%}",
                f"{one['share_kept']:.1%}",
                f"{one['share_llm_mean']:.1%}",
                f"{one['share_encoder']:.1%}",
                percent(one["accuracy"]),
                points(one["difference"]),
                points(one["against_chance"]) if "against_chance" in one else "",
                points(one["soft_difference"]) if "soft_difference" in one else "",
                f"{one['agreement'][0]:.1%}",
                f"{one['unparsable']:.1%}",
                f"{one['kv_bytes'] / 1000:.0f}",
                f"{after_decoding(one):.4f}" if one["seconds"] else "",
            ]
        )
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def row_name(one: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    """What a method is called in a table; METok without the text-image model that it is published with says so."""
    blind = one["method"] == "metok" and not result.get("dataset", {}).get("text_model")
    return f"{one['label']} (no text model)" if blind else str(one["label"])


def percent(values: Sequence[float]) -> str:
    """A mean and its interval in per cent."""
    return f"{100 * values[0]:.1f} ({100 * values[1]:.1f} to {100 * values[2]:.1f})"


def points(values: Sequence[float]) -> str:
    """A difference and its interval in percentage points."""
    return f"{100 * values[0]:+.1f} ({100 * values[1]:+.1f} to {100 * values[2]:+.1f})"


def after_decoding(method: Mapping[str, Any]) -> float:
    """Seconds between the decoded pictures and the first token: what a method can change."""
    stages = ("metadata", "preprocess", "vision", "strategy", "prefill")
    return float(sum(method["seconds"][stage] for stage in stages))
