"""One line on every method, for help texts, and the one that is taken by default."""

from codecmeta.compression.methods.registry import ROWS

DEFAULT = "replenish"
"""What `run` and `quote` take unless told otherwise; docs/comparison.md says why."""


def methods_epilog() -> str:
    """The list as click prints it, one line per method."""
    return "\b\nMethods:\n" + "\n".join(f"  {name:<11}{row.line}" for name, row in ROWS.items())
