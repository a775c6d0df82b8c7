"""`python -m codecmeta.cli`, for a checkout that is not installed."""

from codecmeta.cli.main import main

main()
