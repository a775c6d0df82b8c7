"""The version of the package, in a file that setup.cfg can read without importing anything else."""

__version__ = "0.1.0"
