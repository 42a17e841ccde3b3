"""What every command shares: the configuration, the processor, how to print, and how errors become exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, NoReturn

import click

from withdrawals.cli.printing import print_json
from withdrawals.config import CONFIG_ENV, Config, load_config
from withdrawals.errors import ConfigError, MalformedFile, TheirError, WithdrawalsError, WorldError
from withdrawals.processor import Processor, open_processor

EXIT_LOOK: Final = 1
"""`status` or `audit` found something that a person should look at."""
EXIT_THEIRS: Final = 3
"""The input was wrong or the lifecycle forbids it; nothing was changed. (2 is click's: the command line itself.)"""
EXIT_WORLD: Final = 4
"""The world is not as it must be: node, ledger, gate or breaker; nothing was changed."""
EXIT_OURS: Final = 5
"""Our own mistake, or a broken invariant."""


@dataclass
class Context:
    """One invocation."""

    config_option: str | None

    @property
    def config_path(self) -> Path:
        """The configuration file: --config, else the environment variable. Raises ConfigError."""
        chosen = self.config_option or os.environ.get(CONFIG_ENV)
        if not chosen:
            raise ConfigError(
                f"config: no file given; accepted: --config FILE, or the environment variable {CONFIG_ENV}"
            )
        return Path(chosen).absolute()

    @cached_property
    def config(self) -> Config:
        """The configuration, read once. Raises ConfigError."""
        return load_config(self.config_path)

    @contextmanager
    def processor(self) -> Iterator[Processor]:
        """The processor, closed at the end."""
        with open_processor(self.config) as processor:
            yield processor


def fail(error: WithdrawalsError, *, as_json: bool, **more: object) -> NoReturn:
    """Print the error (as JSON with `more` beside it) and leave with its exit code."""
    problems = error.problems if isinstance(error, MalformedFile) else ()
    path = error.path if isinstance(error, MalformedFile) else ""
    if as_json:
        body: dict[str, object] = {"code": error.code, "message": str(error)}
        if problems:
            body["problems"] = [{"line": n, "code": code, "message": words} for n, code, words in problems]
        print_json({"error": body, **more})
    words = f"{path}: nothing stored, {len(problems)} problem(s):" if problems else str(error)
    click.echo(f"error [{error.code}]: {words}", err=True)
    for line, code, message in problems:
        click.echo(f"  {f'line {line}' if line else 'file'}: [{code}] {message}", err=True)
    sys.exit(exit_code_of(error))


def exit_code_of(error: WithdrawalsError) -> int:
    """3, 4 or 5, by whose mistake it is."""
    if isinstance(error, TheirError):
        return EXIT_THEIRS
    return EXIT_WORLD if isinstance(error, WorldError) else EXIT_OURS


pass_context = click.make_pass_decorator(Context)
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document instead of sentences.")
reason_option = click.option("--reason", default="", help="Why; stored with your login name. Required.")
