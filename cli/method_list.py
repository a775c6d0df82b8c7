"""One line on every method, for help texts."""

from codecmeta.compression.methods.registry import ROWS


def methods_epilog() -> str:
    """The list as click prints it, one line per method."""
    return "\b\nMethods:\n" + "\n".join(f"  {name:<11}{row.line}" for name, row in ROWS.items())
