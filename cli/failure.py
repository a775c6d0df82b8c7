"""How commands end: one word for every failure, and 130 where they were interrupted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import click

from codecmeta.errors import CacheError, VideoError

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def readable(text: str) -> str:
    """One line for a terminal: a mark in the place of what would break it or command the terminal, as names of files
    and texts in them may hold, and of bytes that are no text."""
    return click.format_filename(_CONTROL.sub("\ufffd", text))


class Failed(click.ClickException):
    """What was asked for cannot be done: one line on standard error, exit code 1."""

    def __init__(self, message: object) -> None:
        super().__init__(readable(" ".join(str(message).split())))

    def show(self, file: IO[Any] | None = None) -> None:
        """The line, in the words of all commands."""
        click.echo(f"failed: {self.message}", err=True)


@contextmanager
def failures() -> Iterator[None]:
    """Bad input, whatever is bad about it, ends the command in one line."""
    try:
        yield
    except (BrokenPipeError, click.ClickException):  # whoever read our output has enough: click ends quietly
        raise
    except (VideoError, CacheError, ValueError, RuntimeError, OSError) as error:
        raise Failed(error) from error


class Interruptible(click.Group):
    """Commands that end with 130 at Ctrl-C, as the shell expects; click's own code is 1."""

    def invoke(self, context: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(context)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            context.exit(130)
