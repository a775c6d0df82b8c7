"""`codecmeta extract` called by tests, and what a corpus holds in short."""

from __future__ import annotations

from click.testing import CliRunner, Result

from codecmeta import Corpus
from codecmeta.cli import main


def extract_command(*arguments: object, stdin: str | None = None) -> Result:
    return CliRunner().invoke(main, ["extract", *map(str, arguments)], input=stdin)


def read_all(corpus: Corpus) -> dict[str, tuple[int, str]]:
    """In any process: what every cache says of itself."""
    found = {}
    for key in corpus:
        with corpus[key] as meta:
            found[key] = (len(meta.frames), meta.path.name)
    return found
