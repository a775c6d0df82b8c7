"""`python -m codecmeta`, for where the command is not on the path."""

from codecmeta.cli.main import main

main(prog_name="codecmeta")
