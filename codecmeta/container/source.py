"""A video that is no file: bytes, or an open file object, for as long as it is read."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike, fspath
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import BinaryIO

from codecmeta.errors import VideoError

Source = str | PathLike[str] | bytes | bytearray | memoryview | BinaryIO
"""A path, the bytes of a file, or a binary file object, which is read from where it stands to its end."""


@contextmanager
def as_path(source: Source) -> Iterator[Path]:
    """The path of a source. What is none is a temporary file meanwhile: reading jumps between keyframes, and workers
    open the file each for itself.

    Raises TypeError for what is no source. A VideoError names the source in place of the temporary file.
    """
    if isinstance(source, (str, PathLike)):
        yield Path(fspath(source))
        return
    in_memory = isinstance(source, (bytes, bytearray, memoryview))
    if not in_memory and not hasattr(source, "read"):
        raise TypeError(f"{type(source).__name__}: expected a path, bytes or a binary file object")
    with NamedTemporaryFile(prefix="codecmeta-") as file:
        if in_memory:
            file.write(source)  # type: ignore[arg-type]
        else:
            try:
                shutil.copyfileobj(source, file)  # type: ignore[type-var,arg-type]
            except TypeError as error:
                raise TypeError(f"{name_of(source)}: opened as text; open it with 'rb'") from error
        file.flush()
        try:
            yield Path(file.name)
        except VideoError as error:
            raise VideoError(str(error).replace(file.name, str(name_of(source)))) from error


def name_of(source: Source) -> Path:
    """What records call a source: its path, the name of a file object, or "<bytes>"."""
    if isinstance(source, (str, PathLike)):
        return Path(fspath(source))
    name = getattr(source, "name", None)
    return Path(name if isinstance(name, str) else "<bytes>")
