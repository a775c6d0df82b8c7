"""What a model answered, in words and numbers: the same lines for the terminal and for the page.

An answer comes as `Answer.as_dict` gives it, so that JSON holds every number that is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codecmeta.view.timeline import clock_text, counted


@dataclass(frozen=True)
class Report:
    """What a model answered, for the page of `codecmeta run`. question: as asked. answers: one or two (the method's,
    and with --compare the plain model's). homes: int64 (T, tokens per frame), the place (frame * tokens per frame +
    raster number) whose token took in what was in each one, -1 where that was dropped; of the first answer. waited:
    seconds in front of the screen, by what they went into."""

    question: str
    answers: list[dict[str, Any]]
    homes: NDArray[np.int64]
    waited: dict[str, float]


def said(answers: Sequence[dict[str, Any]]) -> list[str]:
    """The answers, with their method where there are two."""
    return [f"{one['method']}: {one['answer']}" if len(answers) > 1 else str(one["answer"]) for one in answers]


def looked_at(answer: dict[str, Any]) -> str:
    """What an answer rests on: which frames, when, and how much of them."""
    times, chosen = answer["times"], answer.get("chosen")
    longest = max(times)
    when = [clock_text(time, longest) for time in (min(times), longest)]
    span = f"at {when[0]}" if when[0] == when[1] else f"{when[0]} to {when[1]}"
    how = "evenly spread" if chosen is None else f"chosen by {chosen['policy']}"
    how = "" if len(times) == 1 and chosen is None else f", {how}"
    return (
        f"Looked at {answer['frames']:,} of {counted(answer['frames_of_video'], 'frame')}, {span}{how}. {kept(answer)}"
    )


def kept(answer: dict[str, Any]) -> str:
    """What became of the visual tokens of these frames."""
    full, left, folded = (answer[name] for name in ("tokens_full", "tokens_kept", "tokens_folded"))
    if left == full:
        words = f"{answer['method']} let every visual token into the language model."
    else:
        words = f"{answer['method']} let {left:,} of {full:,} visual tokens ({answer['share_kept']:.1%}) into the model"
        words += f", with {folded:,} others folded into them." if folded else "."
    if answer["tokens_llm_mean"] < left:
        words += f" Inside, fewer remain: {answer['tokens_llm_mean']:,.1f} in the mean of its layers."
    return words


_COSTS = (
    ("frames", "frames", ","),
    ("tokens, full", "tokens_full", ","),
    ("tokens, kept", "tokens_kept", ","),
    ("tokens, folded into these", "tokens_folded", ","),
    ("kept of all", "share_kept", ".1%"),
    ("budget", "budget", ".1%"),
    ("tokens per layer, mean", "tokens_llm_mean", ",.1f"),
    ("encoder tokens, full", "encoder_full", ","),
    ("encoder tokens, kept", "encoder_tokens", ","),
    ("KV cache, bytes", "kv_bytes", ","),
)


def costs(answers: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Rows of a table with a column for every answer: its name, then what it took."""
    rows = [
        [title, *("none" if one[key] is None else format(one[key], how) for one in answers)]
        for title, key, how in _COSTS
    ]
    if answers[0].get("newlines_full", 0) > 1:
        rows.append(["newlines kept, in no budget", *(f"{one['newlines_kept']:,}" for one in answers)])
    return rows


STAGES = {
    "probe": "probe: packet table",
    "choose": "choose: which frames",
    "decode": "decode: pictures",
    "metadata": "metadata: codec signals",
    "preprocess": "preprocess: resize, normalise, tokenise",
    "vision": "vision: encoder and projector",
    "strategy": "strategy: plan and reduce",
    "prefill": "prefill: language model over the prompt",
    "first_token": "until the first token, all before included",
    "total": "total",
}
"""What the stages of an answer's seconds are."""


def waited_for(seconds: dict[str, float]) -> str:
    """What the person in front of the screen waited for before the video was touched, and in all."""
    return (
        f"waited {seconds['all']:.1f} s in all, of which importing {seconds['imports']:.1f}, loading the model "
        f"{seconds['model']:.1f}, loading kernels {seconds['kernels']:.1f}"
    )
