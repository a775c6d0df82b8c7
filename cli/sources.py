"""Videos as commands take them: paths, and addresses where a scheme asks for the network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from codecmeta.container.remote import is_address


class Video(click.Path):
    """A path, or an http(s) address, which stays a string."""

    name = "path or address"

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> Any:
        """A Path, or the address."""
        if isinstance(value, str) and is_address(value):
            return value
        return super().convert(value, param, context)


def files_among(*sources: Path | str | None) -> list[Path]:
    """The files among sources."""
    return [one for one in sources if isinstance(one, Path)]
