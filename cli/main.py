"""The `codecmeta` command group."""

from __future__ import annotations

import click

from codecmeta.cli.choose import events, frames
from codecmeta.cli.eval import evaluate
from codecmeta.cli.extract import extract
from codecmeta.cli.failure import Interruptible
from codecmeta.cli.methods import methods
from codecmeta.cli.quote import quote
from codecmeta.cli.run import run
from codecmeta.cli.show import show
from codecmeta.version import __version__


@click.group(
    cls=Interruptible, context_settings={"auto_envvar_prefix": "CODECMETA", "help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__)
def main() -> None:
    """Read what the video codec already knows, and make video language models fast with it."""


for _command in (evaluate, events, extract, frames, methods, quote, run, show):
    _command.context_settings["help_option_names"] = ["-h", "--help"]  # also where one is called without the group
    main.add_command(_command)
