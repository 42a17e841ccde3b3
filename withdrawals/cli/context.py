"""What every command shares: the configuration, the processor, how to print, and how errors become exit codes."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import click

from withdrawals.bootstrap import refuse_optimised_python
from withdrawals.config import CONFIG_ENV, Config, load_config
from withdrawals.errors import ConfigError, TheirError, WithdrawalsError, WorldError
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
        refuse_optimised_python()
        return load_config(self.config_path)

    @contextmanager
    def processor(self) -> Iterator[Processor]:
        """The processor, closed at the end."""
        with open_processor(self.config) as processor:
            yield processor


def fail(error: WithdrawalsError, *, as_json: bool) -> None:
    """Print the error and leave with its exit code."""
    if as_json:
        problems = getattr(error, "problems", None)
        body: dict[str, object] = {"code": error.code, "message": str(error)}
        if problems is not None:
            body["problems"] = [{"line": n, "code": code, "message": words} for n, code, words in problems]
        click.echo(json.dumps({"error": body}, indent=2, ensure_ascii=False))
    click.echo(f"error [{error.code}]: {error}", err=True)
    sys.exit(
        EXIT_THEIRS if isinstance(error, TheirError) else EXIT_WORLD if isinstance(error, WorldError) else EXIT_OURS
    )


pass_context = click.make_pass_decorator(Context)
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document instead of sentences.")
reason_option = click.option("--reason", default="", help="Why; stored with your login name. Required.")
