"""What the sub-commands share: the settings that flags may override."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from config import settings as config


def with_settings(*flags: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command `--config`, `--home` and a flag for each dotted setting named in `flags`.

    The command's function gets the merged `Settings` as its first argument.
    """
    names = {flag.rpartition(".")[2].replace("_", "-"): flag for flag in ("home", *flags)}

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any, config_file: Path | None, **kwargs: Any) -> Any:
            overrides = {setting: kwargs.pop(name.replace("-", "_")) for name, setting in names.items()}
            return function(config.load(os.environ, file=config_file, flags=overrides), *args, **kwargs)

        for name, setting in reversed(names.items()):
            wrapper = click.option(f"--{name}", default=None, help=f"overrides the setting {setting}")(wrapper)
        return click.option(
            "--config", "config_file", type=click.Path(path_type=Path), default=None, help="a TOML file of settings"
        )(wrapper)

    return decorate
