"""What every command shares: where the configuration is, how to print, and how errors become exit codes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import click

from withdrawals.config import CONFIG_ENV, Config, load_config
from withdrawals.errors import ConfigError


@dataclass
class Context:
    """One invocation."""

    config_option: str | None

    @property
    def config_path(self) -> Path:
        """The configuration file: --config, else the environment variable. Raises ConfigError."""
        chosen = self.config_option or os.environ.get(CONFIG_ENV)
        if not chosen:
            raise ConfigError(f"config: no file given; accepted: --config FILE, or the environment variable {CONFIG_ENV}")
        return Path(chosen).absolute()

    @cached_property
    def config(self) -> Config:
        """The configuration, read once. Raises ConfigError."""
        return load_config(self.config_path)


pass_context = click.make_pass_decorator(Context)
