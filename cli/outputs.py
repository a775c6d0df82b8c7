"""Files that a command writes beside its results: checked before the work, written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from codecmeta.cache.store import SUFFIX
from codecmeta.corpus.inputs import VIDEO_SUFFIXES


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
