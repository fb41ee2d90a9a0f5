"""Shared by the sub-commands: settings with flags that override them, and the address of the service."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click

from config import settings as config
from config.settings import Document, Settings
from core.wiring import Backend

url_option = click.option("--url", help="the service  [default: TAGFLEET_URL, or this machine at TAGFLEET_PORT]")
api_key_option = click.option(
    "--api-key",
    envvar="TAGFLEET_API_KEY",
    help="key for the service  [default: TAGFLEET_API_KEY, which other users of this machine cannot see]",
)


def text_of(file: Path) -> str:
    """Read a text file. Raises click.BadParameter if it is not UTF-8."""
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise click.BadParameter(f"{file} is not UTF-8: {error.reason} at byte {error.start}") from None


def service_url(url: str | None, settings: Settings) -> str:
    """Return the service's address: from the flag, the environment, or this machine."""
    return url or os.environ.get("TAGFLEET_URL") or f"http://127.0.0.1:{settings.port}"


def existing(settings: Settings) -> Backend:
    """Return the backend of an existing deployment. Raises ClickException if its home folder does not exist.

    Otherwise a misspelt home would become a new, empty deployment.
    """
    if settings.backend == "local" and not settings.home.is_dir():
        raise click.ClickException(f"there is no deployment in {settings.home} (setting home)")
    return Backend(settings)


def with_settings(*flags: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command `--config`, `--home` and a flag for each dotted setting in `flags`.

    The command's function gets the merged `Settings` as its first argument.
    """
    names = {flag.rpartition(".")[2].replace("_", "-"): flag for flag in ("home", *flags)}

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any, config_file: str | None, **kwargs: Any) -> Any:
            overrides = {setting: kwargs.pop(name.replace("-", "_")) for name, setting in names.items()}
            file = _settings_file(config_file)
            settings = config.load(os.environ, file=file, flags=overrides, tell=partial(click.echo, err=True))
            return function(settings, *args, **kwargs)

        for name, setting in reversed(names.items()):
            wrapper = click.option(f"--{name}", default=None, help=f"overrides the setting {setting}")(wrapper)
        return click.option(
            "--config",
            "config_file",
            default=None,
            help="a TOML file of settings, or s3://BUCKET/KEY  [default: TAGFLEET_CONFIG]",
        )(wrapper)

    return decorate


def _settings_file(named: str | None) -> Path | Document | None:
    """Return the settings file that `--config` or TAGFLEET_CONFIG names. Read it if it is in a bucket."""
    name = named or os.environ.get("TAGFLEET_CONFIG")
    if not name:
        return None
    if not name.startswith("s3://"):
        return Path(name)
    from core.aws.settings import read  # a third of a second that most commands need not wait for

    return Document(name, read(name))
