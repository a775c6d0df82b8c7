"""`codecmeta quote`: what a question about a video will cost, before anything is loaded or decoded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from codecmeta.cli.failure import failures
from codecmeta.cli.method_list import DEFAULT, methods_epilog
from codecmeta.cli.run import libraries, option_pairs
from codecmeta.cli.sources import Video
from codecmeta.record.selection import TABLE_POLICIES, Policy


@click.command(short_help="Say what a question about a video will cost.", epilog=methods_epilog())
@click.argument("video", type=Video())
@click.option(
    "--model",
    default="small",
    show_default=True,
    help="As in `codecmeta run`, or the path of a config.json; weights are not looked at.",
)
@click.option("--model-set", metavar="NAME=VALUE", multiple=True, help="As in `codecmeta run`.")
@click.option("--method", default=DEFAULT, show_default=True, help="See the list below.")
@click.option(
    "--budget", type=click.FloatRange(0, 1, min_open=True), default=None, help="Share of visual tokens, as in run."
)
@click.option("--frames", type=click.IntRange(1), default=None, help="Pictures shown, as in `codecmeta run`.")
@click.option(
    "--choose",
    type=click.Choice(TABLE_POLICIES),
    default=None,
    help="How the pictures are chosen: see `codecmeta frames`. Default: as in `codecmeta run`.",
)
@click.option("--set", "options", metavar="NAME=VALUE", multiple=True, help="An option of the method; may be repeated.")
@click.option(
    "--text-tokens",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Tokens of the prompt beside the video, for cache and operations.",
)
@click.option("--device", default="cpu", show_default=True, help="Where it would run: on a CPU in float32.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def quote(
    video: Path | str,
    model: str,
    model_set: tuple[str, ...],
    method: str,
    budget: float | None,
    frames: int | None,
    choose: Policy | None,
    options: tuple[str, ...],
    text_tokens: int,
    device: str,
    as_json: bool,
) -> None:
    """Say what asking a model about VIDEO will cost: tokens, cache, operations, packets to decode.

    VIDEO is a path or an http(s) address.

    From the model's configuration and the packet table alone; no weights are loaded and no picture is decoded for it.
    What depends on the pictures is said to, and is an upper bound.
    """
    with failures():
        compression, models = libraries()
        strategy = compression.make(method, budget=budget, options=option_pairs(options))
        from codecmeta.models.quoting import Paper

        pairs = option_pairs(model_set, "--model-set")
        paper = Paper.of(model, device, pairs) if pairs else model
        found = models.quote(
            video, paper, strategy=strategy, frames=frames, choose=choose, text_tokens=text_tokens, device=device
        )
    click.echo(json.dumps(found.as_dict()) if as_json else _text(found))


def _text(found: Any) -> str:
    """A line per number, upper bounds marked as such."""
    rows = [
        ("frames", f"{found.frames} by {found.policy}"),
        (
            "packets to decode",
            ("" if found.exact_packets else "about ")
            + f"{found.packets_to_decode:,}, about {found.decode_seconds:.2f} s in one thread",
        ),
    ]
    for title, before, after in (
        ("tokens", "tokens_full", "tokens_kept"),
        ("tokens per layer", "tokens_full", "tokens_llm_mean"),
        ("encoder tokens", "encoder_full", "encoder_tokens"),
        ("KV cache, bytes", "kv_bytes_full", "kv_bytes"),
        ("prefill, operations", "prefill_flops_full", "prefill_flops"),
    ):
        form = ".3e" if "flops" in after else ",.0f"
        bound = "at most " if after in found.at_most else ""
        rows.append((title, f"{getattr(found, before):{form}} -> {bound}{getattr(found, after):{form}}"))
    if found.newlines_full > 1:
        bound = "at most " if "newlines_kept" in found.at_most else ""
        rows.append(("newlines (in no budget)", f"{found.newlines_full:,} -> {bound}{found.newlines_kept:,}"))
    width = max(len(title) for title, _ in rows)
    head = f"{found.model}, {found.method}"
    note = ["At most: it depends on the pictures."] if found.at_most else []
    beside = f"{found.text_tokens:,} tokens of text" if found.text_tokens else "the prompt's text not counted"
    last = f"cache and operations with {beside}; quoted in {found.milliseconds:.0f} ms"
    return "\n".join([head, *(f"  {title.ljust(width)}  {text}" for title, text in rows), *note, last])
