"""Files that a command writes beside its results: checked before the work, written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from codecmeta.cache.store import SUFFIX
from codecmeta.corpus.inputs import VIDEO_SUFFIXES


def output_option(formats: str) -> Callable[[Any], Any]:
    """The option -o of commands whose results can be files."""
    return click.option(
        "-o",
        "--output",
        "outputs",
        type=click.Path(path_type=Path),
        multiple=True,
        help=f"Write a file, too; its suffix says what: {formats}. May be repeated.",
    )


def by_format(outputs: Iterable[Path], formats: Sequence[str], **named: Path | None) -> dict[str, Path]:
    """The files to write by their suffix. named: those of options that are for one format.

    Raises ValueError for a suffix that says something else than what can be written, and for two files of one format.
    """
    files: dict[str, Path] = {}
    for given, wanted in [*((one, None) for one in outputs), *((one, name) for name, one in named.items() if one)]:
        suffix = given.suffix.lower()
        if suffix not in formats or suffix != (wanted or suffix):
            expected = wanted or ", ".join(formats)
            raise ValueError(f"{given}: a file that ends in {suffix or 'no suffix'}; expected {expected}")
        if suffix in files:
            raise ValueError(f"{given}: {files[suffix]} is to hold the same already")
        files[suffix] = given
    return files


def write_outputs(files: Mapping[str, Path], contents: Mapping[str, Callable[[], bytes]]) -> None:
    """Write every file, and say so. contents: what a file of each suffix holds."""
    for suffix, path in files.items():
        content = contents[suffix]()
        write_output(path, content if suffix in (".png", ".html") else content + b"\n")
        click.echo(f"wrote {path}", err=True)


def check_output(output: Path, *inputs: Path) -> None:
    """Raise ValueError where a picture or page must not or cannot be written, before anything is computed.

    output: the file to write; one that is there is replaced, unless it is an input, a video or a cache.
    """
    if output.is_dir():
        raise ValueError(f"{output}: is a folder; name a file in it")
    folder = output.parent
    if not folder.is_dir():
        raise ValueError(f"{output}: cannot be written (there is no folder {folder})")
    if output.exists():
        precious = output.suffix.lower() in VIDEO_SUFFIXES or output.name.endswith((SUFFIX, ".h5"))
        if precious or any(one.exists() and output.samefile(one) for one in inputs):
            raise ValueError(f"{output}: is a video or a cache and is not overwritten; choose another name")
    if not os.access(output if output.exists() else folder, os.W_OK):
        raise ValueError(f"{output}: cannot be written (permission denied)")


def write_output(output: Path, content: bytes) -> None:
    """Write a file under a temporary name and move it. Raises ValueError where that fails."""
    temporary = output.with_name(f".{output.name}.{os.getpid()}.part")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, output)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise ValueError(f"{output}: cannot be written ({error.strerror})") from error
