"""`codecmeta eval`: methods compared on a dataset of questions about videos."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Any

import click

from codecmeta.cli.failure import Failed
from codecmeta.cli.outputs import by_format, check_output, write_output
from codecmeta.cli.summary import duration
from codecmeta.errors import CacheError, VideoError
from codecmeta.record.selection import POLICIES, Policy


@click.command("eval", short_help="Compare methods on questions about videos.")
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option(
    "--method",
    "methods",
    multiple=True,
    required=True,
    metavar='"NAME [OPTION=VALUE]..."',
    help='May be repeated; with options of its own: --method "uniform mode=spatial".',
)
@click.option(
    "--budget",
    "budgets",
    type=click.FloatRange(0, 1, min_open=True),
    multiple=True,
    help="Share of visual tokens; may be repeated. Default: each method's own.",
)
@click.option("--model", default="small", show_default=True, help="As in `codecmeta run`.")
@click.option("--model-set", metavar="NAME=VALUE", multiple=True, help="As in `codecmeta run`.")
@click.option("--frames", type=click.IntRange(1), default=None, help="Pictures per video, as in `codecmeta run`.")
@click.option(
    "--choose",
    type=click.Choice(POLICIES),
    default="uniform",
    show_default=True,
    help="How the pictures are chosen, as in `codecmeta run`; answers belong to it.",
)
@click.option(
    "--text-model",
    default=None,
    metavar="ID_OR_FOLDER",
    help='A SigLIP or CLIP model, or "small" for the built-in one, that says how well each picture fits the question: '
    "for --choose query, and for metok, as published.",
)
@click.option(
    "--seed", "seeds", type=int, multiple=True, help="Of methods that draw by chance; may be repeated. Default: 0 1 2."
)
@click.option(
    "--set",
    "options",
    metavar="NAME=VALUE",
    multiple=True,
    help="An option of all methods that have it; may be repeated.",
)
@click.option(
    "-o",
    "--output",
    "--out",
    "out",
    type=click.Path(path_type=Path),
    help="Where the JSON goes (NAME.json). Answers are kept beside it (NAME.answers.jsonl) as they come; "
    "the same command goes on from there, also with more methods.",
)
@click.option("--markdown", type=click.Path(path_type=Path), help="Write the table to this file too.")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw accuracy against tokens and time (PNG).")
@click.option("--note", default="", help="A word about the dataset or the run, kept in the JSON.")
@click.option("--timed", type=click.IntRange(0), default=None, help="Take times on so many videos. Default: all.")
@click.option(
    "--reference",
    type=click.Choice(["none", "random"]),
    default="none",
    show_default=True,
    help="random: beside the plain model, compare every method with chance at as many tokens, video by video.",
)
@click.option(
    "--match-tokens",
    type=click.FloatRange(0, 1, min_open=True),
    multiple=True,
    help="Share of visual tokens per layer; every method gets the budget that keeps it on the dataset of "
    "--calibrate-on. May be repeated, in place of --budget.",
)
@click.option(
    "--calibrate-on",
    type=click.Path(path_type=Path),
    help="Dataset on which --match-tokens finds the budgets: another one than DATASET.",
)
@click.option("--max-new-tokens", type=click.IntRange(1), default=16, show_default=True, help="Longest answer.")
@click.option("--device", default="cpu", show_default=True, help="Where the model runs, such as cuda.")
@click.option("--json", "as_json", is_flag=True, help="The JSON on standard output, in place of the table.")
def evaluate(
    dataset: Path,
    methods: tuple[str, ...],
    budgets: tuple[float, ...],
    model: str,
    model_set: tuple[str, ...],
    frames: int | None,
    choose: Policy,
    text_model: str | None,
    seeds: tuple[int, ...],
    options: tuple[str, ...],
    out: Path | None,
    markdown: Path | None,
    plot: Path | None,
    note: str,
    timed: int | None,
    reference: str,
    match_tokens: tuple[float, ...],
    calibrate_on: Path | None,
    max_new_tokens: int,
    device: str,
    as_json: bool,
) -> None:
    """Answer every question in DATASET with every method, and compare each with the plain model on the same questions.

    DATASET has one JSON object per line: {"video", "question", "answer"}, optionally "options" to choose from, "type"
    and "strata". A line or a video that cannot be asked is named with its reason, and the others are compared. Exit
    code 0: all answered; 1: some or all failed, what was answered is kept; 2: wrong usage.
    """
    from codecmeta.cli.run import libraries, option_pairs

    libraries()
    from codecmeta import models
    from codecmeta.models import evaluation
    from codecmeta.models.evaluation.runner import identity

    try:
        if bool(match_tokens) != bool(calibrate_on) or (match_tokens and budgets):
            raise click.UsageError("--match-tokens goes with --calibrate-on, and takes the place of --budget")
        if calibrate_on is not None and calibrate_on.resolve() == dataset.resolve():
            raise click.UsageError("--calibrate-on wants another dataset than the one that is evaluated")
        if note and not (out or as_json):
            raise ValueError("option note has no effect (it needs --output or --json)")
        if choose == "query" and text_model is None:
            raise click.UsageError("--choose query needs --text-model")
        seeds = seeds or (0, 1, 2)
        chance = seeds if reference == "random" else ()
        settings = evaluation.make_settings(methods, budgets, seeds, options)
        if text_model is not None and choose != "query" and not any(one.name == "metok" for one in settings):
            raise ValueError("option --text-model has no effect (it needs --choose query or --method metok)")
        rows, bad = evaluation.read_dataset(dataset)
        for file, suffix in ((out, ".json"), (markdown, ".md"), (plot, ".png")):
            if file is not None:
                by_format((file,), (suffix,))
                check_output(file, dataset)
        kept = None if out is None else out.with_suffix(".answers.jsonl")
        loaded = models.load(model, device, options=option_pairs(model_set, "--model-set"))
        text = None if text_model is None else models.load_text_image(text_model, device)
        if calibrate_on is not None:
            split = evaluation.Split(loaded, evaluation.read_dataset(calibrate_on)[0], frames, choose, text)
            plain, *others = settings
            settings = [plain, *(evaluation.match_tokens(split, one, s) for one in others for s in match_tokens)]
        belongs = identity(loaded, frames, max_new_tokens, choose, text)
        answers = evaluation.Answers(kept, belongs)
        try:
            bad += evaluation.evaluate(
                loaded,
                rows,
                settings,
                answers,
                frames=frames,
                choose=choose,
                text_model=text,
                timed=timed,
                max_new_tokens=max_new_tokens,
                chance=chance,
                progress=_progress(),
            )
        finally:
            answers.close()
    except (VideoError, CacheError, ValueError, RuntimeError, OSError) as error:
        raise Failed(error) from error
    bad.sort(key=lambda row: row.line)
    lost = {row.line for row in bad}
    rows = [row for row in rows if row.line not in lost]
    digest = hashlib.sha256(dataset.read_bytes()).hexdigest()
    result = {
        "command": _command(),
        "note": note,
        "dataset": {"name": dataset.name, "dataset_sha256": digest, **belongs},
        "failed": [asdict(row) for row in bad],
        **evaluation.summarise_replies(rows, settings, answers.replies, chance=chance),
    }
    _write(result, as_json, out, markdown, plot)
    for row in bad:
        click.echo(f"failed: {dataset}, line {row.line}: {row.reason}", err=True)
    if bad:
        sys.exit(1)


def _write(result: dict[str, Any], as_json: bool, out: Path | None, markdown: Path | None, plot: Path | None) -> None:
    from codecmeta.models import evaluation

    text, table = json.dumps(result, indent=1) + "\n", evaluation.markdown(result)
    if out:
        write_output(out, text.encode())
    if markdown:
        write_output(markdown, table.encode())
    if plot:
        from codecmeta.models.evaluation.plot import png

        write_output(plot, png(result))
    click.echo(text if as_json else table, nl=False)


def _progress() -> Callable[[int, int], None]:
    """A line that is rewritten on a terminal, one in 20 videos elsewhere, with the time that is left.

    The first call warms up and reads what was answered before; the rate is that of the videos after it.
    """
    since: list[tuple[int, float]] = []

    def say(done: int, total: int) -> None:
        now = perf_counter()
        since.append((done, now))
        first, start = since[0]
        left = "" if done in (first, total) else f", {duration((total - done) * (now - start) / (done - first))} left"
        line = f"{done} of {total} videos{left}"
        if sys.stderr.isatty():
            click.echo(f"\r\x1b[K{line}", nl=done == total, err=True)
        elif done == total or done % 20 == 0:
            click.echo(line, err=True)

    return say


def _command() -> str:
    """The command line, with the program's name in place of its path."""
    import shlex

    return " ".join(["codecmeta", *map(shlex.quote, sys.argv[1:])])
