"""The command line: a thin printer over the Python API, and the processes that do the work."""

from withdrawals.cli.main import main

__all__ = ["main"]
