"""`codecmeta run`: a question about a video, answered with fewer tokens."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any

import click

from codecmeta.cli.doing import doing
from codecmeta.cli.failure import Failed, failures
from codecmeta.cli.method_list import DEFAULT, methods_epilog
from codecmeta.cli.outputs import by_format, check_output, output_option, write_outputs
from codecmeta.cli.sources import Video, files_among
from codecmeta.container.packets import open_video
from codecmeta.container.source import opened
from codecmeta.errors import CacheError, VideoError
from codecmeta.extraction.warm_up import warm_up
from codecmeta.record.selection import POLICIES, Policy
from codecmeta.view.report import Report, costs, looked_at, said, waited_for


@click.command(short_help="Answer a question about a video with fewer tokens.", epilog=methods_epilog())
@click.argument("video", type=Video())
@click.argument("question")
@click.option(
    "--model",
    default="small",
    show_default=True,
    help="small or fine (built in), a folder, or a Hugging Face id of a supported architecture.",
)
@click.option(
    "--model-set",
    metavar="NAME=VALUE",
    multiple=True,
    help="What differs from the checkpoint's own file, for LLaVA-Video, LLaVA-OneVision and LongVA as first published: "
    "pooling, newline, time_instruction. May be repeated.",
)
@click.option("--method", default=DEFAULT, show_default=True, help="See the list below.")
@click.option(
    "--budget",
    type=click.FloatRange(0, 1, min_open=True),
    default=None,
    help="Share of visual tokens that may enter the language model. Default: the method's own.",
)
@click.option(
    "--frames",
    type=click.IntRange(1),
    default=None,
    help="Pictures shown to the model. Default: what the model was made for, else 16.",
)
@click.option(
    "--choose",
    type=click.Choice(POLICIES),
    default=None,
    help="How the pictures are chosen, before any is decoded: see `codecmeta frames`. Default: events; uniform for "
    "models that take pictures to be equally far apart (Qwen2.5-VL, LLaVA-Video); with --cache, as it was made.",
)
@click.option("--set", "options", metavar="NAME=VALUE", multiple=True, help="An option of the method; may be repeated.")
@click.option(
    "--text-model",
    default=None,
    metavar="ID_OR_FOLDER",
    help='A SigLIP or CLIP model, or "small" for the built-in one, that says how well each picture fits the question, '
    "for metok and for --choose query. Default: packet sizes decide, whatever the question.",
)
@click.option("--compare", is_flag=True, help="Run the plain model too, and print both.")
@click.option("--device", default="cpu", show_default=True, help="Where the model runs, such as cuda.")
@click.option("--jobs", type=click.IntRange(1), default=None, help="Workers that decode. Default: all cores.")
@click.option("--max-new-tokens", type=click.IntRange(1), default=64, show_default=True, help="Longest answer.")
@click.option(
    "--cache",
    type=click.Path(path_type=Path),
    default=None,
    help="The video's cache from `codecmeta extract`: its metadata is used, and only pictures are read from the video.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
@click.option("--html", type=click.Path(path_type=Path), help="Write a page with the answer and what was kept, too.")
@output_option(".html, .json or .txt")
def run(
    video: Path | str,
    question: str,
    model: str,
    model_set: tuple[str, ...],
    method: str,
    budget: float | None,
    frames: int | None,
    choose: Policy | None,
    options: tuple[str, ...],
    text_model: str | None,
    compare: bool,
    device: str,
    jobs: int | None,
    max_new_tokens: int,
    cache: Path | None,
    as_json: bool,
    html: Path | None,
    outputs: tuple[Path, ...],
) -> None:
    """Answer QUESTION about VIDEO (a path or an http(s) address) with a video language model that reads fewer tokens.

    The answer comes first, then what it cost. Exit code 0: answered; 1: failed; 2: wrong usage.
    """
    started = perf_counter()
    try:
        with doing("importing torch and transformers"):
            compression, models = libraries()
        if choose == "query" and text_model is None:
            raise click.UsageError("--choose query needs --text-model")
        strategy = compression.make(method, budget=budget, options=option_pairs(options))
        check_usage(question, method, compare, text_model, option_pairs(options))
        if text_model is not None and choose != "query":
            models.scorable(strategy)
        if isinstance(video, Path) and not video.exists():
            raise VideoError(f"{video}: no such file")
        files = by_format(outputs, (".html", ".json", ".txt"), **{".html": html})
        for file in files.values():
            check_output(file, *files_among(video, cache))
        imported = perf_counter()
        with doing("loading the model"):
            loaded = models.load(model, device, options=option_pairs(model_set, "--model-set"))
            text = None if text_model is None else models.load_text_image(text_model, device)
        ready = perf_counter()
        strategies = [strategy, compression.Plain()] if compare else [strategy]
        helped = strategies if choose == "query" else [strategy]
        each = [{"strategy": one, "text_model": text if one in helped else None} for one in strategies]
        covered = strategy.needs_metadata or text is not None
        if cache is None:  # else pictures are all that is read
            with doing("loading compiled kernels"):
                with opened(video) as medium, open_video(medium) as (_, stream):
                    codec = stream.codec_context.name
                warm_up(codec)
        warm = perf_counter()
        with doing("reading the video"):
            clip = loaded.clip(
                video,
                frames,
                choose=choose,
                question=question,
                jobs=jobs,
                meta=cache,
                covered=covered,
                text_model=text,
            )
        ask = partial(loaded.ask, video, question, clip=clip)
        with doing("answering"):
            if compare:  # warm up, so that the first one does not pay for starting
                for one in each:
                    ask(**one, max_new_tokens=1)
                if text is not None:  # its pass over the pictures counts
                    text.forget()
            answers = [ask(**one, max_new_tokens=max_new_tokens) for one in each]
        waited = {"imports": imported - started, "model": ready - imported, "kernels": warm - ready}
    except (VideoError, CacheError, ValueError, RuntimeError, OSError) as error:
        raise Failed(error) from error
    waited["all"] = perf_counter() - started
    waited = {name: round(seconds, 3) for name, seconds in waited.items()}
    row = {"video": str(video), **answers[0].as_dict(), "waited": waited}
    if compare:
        row["plain"] = answers[-1].as_dict()
    texts = {
        ".json": lambda: json.dumps(row),
        ".txt": lambda: _text([one.as_dict() for one in answers], waited),
        ".html": lambda: _page(video, answers, waited),
    }
    click.echo(texts[".json" if as_json else ".txt"]())
    with failures():
        write_outputs(files, {suffix: partial(_encoded, text) for suffix, text in texts.items()})


def _encoded(text: Callable[[], str]) -> bytes:
    return text().encode()


def _text(answers: list[dict[str, Any]], waited: dict[str, float]) -> str:
    """The answers and what they rest on, then what they cost."""
    note = [f"Note: {answers[0]['note']}."] if answers[0]["note"] else []
    return "\n".join([*said(answers), *note, looked_at(answers[0]), "", _table(answers), waited_for(waited)])


def _page(video: Path | str, answers: list[Any], waited: dict[str, float]) -> str:
    """The page of the first answer, with the plain model's beside it."""
    from codecmeta.decoding.pictures import read_pictures
    from codecmeta.view.overview import overview_of_run  # OpenCV, needed for this only
    from codecmeta.view.page import page
    from codecmeta.view.panels import shrunk

    answer = answers[0]
    trace, layout = answer.trace, answer.plan.layout
    view = overview_of_run(
        trace.meta,
        trace.rows,
        read_pictures(video, trace.meta, trace.rows, transform=shrunk),
        counts=trace.counts,
        kept=trace.kept,
        regions=answer.plan.regions,
        tokens=layout.tokens,
        view=layout.view,
        budget=f"{answer.method} kept {answer.tokens_kept:,} of {answer.tokens_full:,}",
        choice=answer.choice,
    )
    return page(view, Report(answer.question, [one.as_dict() for one in answers], trace.homes, waited))


def check_usage(question: str, method: str, compare: bool, text_model: str | None, options: dict[str, str]) -> None:
    """Raise ValueError for an empty question, and for what was asked for and would change nothing."""
    if not question.strip():
        raise ValueError("the question is empty; ask something about the video")
    if compare and method == "none":
        raise ValueError("option compare has no effect (it compares with method none, which is the method)")
    for name in ("combine", "use_full_prompt"):
        if name in options and text_model is None:
            raise ValueError(f"method {method!r}: option {name} has no effect (it needs --text-model)")


def libraries() -> tuple[Any, Any]:
    """The strategies and the models; both need the extra that a plain install does not bring."""
    try:
        _check_torchvision()
        import transformers

        from codecmeta import compression, models

        transformers.utils.logging.disable_progress_bar()
        transformers.logging.set_verbosity_error()
    except ModuleNotFoundError as error:
        raise Failed(
            f'this command needs {error.name}, which is not installed: pip install "codecmeta[models]"'
        ) from error
    return compression, models


def _check_torchvision() -> None:
    """transformers imports torchvision where there is one, and fails far away where it does not fit torch."""
    if find_spec("torchvision") is None:
        return
    try:
        import_module("torchvision")
    except Exception as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise Failed(
            f"torchvision is installed and cannot be imported ({said[0]}); it is not needed: pip uninstall "
            "torchvision, or install the version that fits this torch"
        ) from error


def option_pairs(options: tuple[str, ...], hint: str = "--set") -> dict[str, str]:
    """NAME=VALUE texts -> {name: value}."""
    pairs = {}
    for option in options:
        name, equals, value = option.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{option!r}: expected NAME=VALUE", param_hint=hint)
        pairs[name.strip()] = value.strip()
    return pairs


def _table(answers: list[dict[str, Any]]) -> str:
    """One column per answer: tokens full and kept, bytes, and the seconds of every stage."""
    lines = [["", *(answer["method"] for answer in answers)], *costs(answers)]
    for stage in answers[0]["seconds"]:
        title = "seconds until the first token" if stage == "first_token" else f"seconds, {stage}"
        lines.append([title, *(f"{answer['seconds'][stage]:.3f}" for answer in answers)])
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True))])
        for line in lines
    )
