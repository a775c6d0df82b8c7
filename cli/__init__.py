"""The command line: every command is a thin call of the library. Results go to stdout, everything else to stderr."""

from codecmeta.cli.main import main

__all__ = ["main"]
