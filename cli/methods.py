"""`codecmeta methods`: what there is to choose from, and every option of a method."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import click

from codecmeta.cli.failure import failures


@click.command(short_help="List the methods, or the options of one.")
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def methods(name: str | None, as_json: bool) -> None:
    """List all methods; with NAME, what it does, where it is from, and each option with values, default and meaning.

    NAME may be package.module:Class, as for `codecmeta run --method`.
    """
    with failures():
        found = _listed() if name is None else _described(name)
    if as_json:
        click.echo(json.dumps(found))
    elif name is None:
        width = max(map(len, found))
        click.echo("\n".join(f"{one.ljust(width)}  {line}" for one, line in found.items()))
    else:
        click.echo(_text(found))


def _listed() -> dict[str, str]:
    """Name -> one line; nothing is imported."""
    from codecmeta.compression.methods.registry import ROWS
    from codecmeta.compression.plugins import METHOD_GROUP, declared

    others = {name: f"of another package: {entry.value}" for name, entry in declared(METHOD_GROUP).items()}
    return {**others, **{name: row.line for name, row in ROWS.items()}}


def _described(name: str) -> dict[str, Any]:
    from codecmeta.cli.run import libraries

    libraries()
    from codecmeta.compression import METHODS, make
    from codecmeta.compression.describe import options_of, source_of, summary_of

    if name not in METHODS:
        make(name)  # says which there are
    method = METHODS[name]
    return {
        "method": name,
        "source": source_of(method),
        "summary": summary_of(method),
        "options": [asdict(one) for one in options_of(method)],
    }


def _text(found: dict[str, Any]) -> str:
    parts = [click.wrap_text(found["source"], 100), click.wrap_text(found["summary"], 100, preserve_paragraphs=True)]
    for one in found["options"]:
        head = f"{one['name']}={one['default']}  ({one['kind']}{'; needs ' + one['needs'] if one['needs'] else ''})"
        parts.append(f"{head}\n{click.wrap_text(one['meaning'], 100, '    ', '    ')}")
    return "\n\n".join(parts)
