"""The `tagfleet` command: each sub-command is a module of a few lines here; only the one asked for is imported."""

from __future__ import annotations

import importlib
import sys

import click

from config.settings import BadSetting
from core.errors import TagfleetError
from core.interpreter import import_torch_aside

_COMMANDS = {
    "up": "up",
    "web": "web",
    "collector": "collector",
    "controller": "controller",
    "worker": "worker",
    "prepare": "prepare",
    "tag": "tag",
    "export": "export",
    "simulate": "simulate",
    "status": "status",
    "dead-letters": "dead_letters",
    "keys": "keys",
    "models": "models",
    "data": "data",
    "train": "train",
    "evaluate": "evaluate",
    "publish": "publish",
    "sagemaker": "sagemaker",
    "adaptive": "adaptive",
    "florence2": "florence2",
    "aws": "aws",
    "loadtest": "loadtest",
    "ami": "ami",
    "version": "version",
}


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"tagfleet.cli.{_COMMANDS[cmd_name]}")
        return module.command  # type: ignore[no-any-return]  # by convention of this package


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Tag piles of photos with a fleet of workers that starts and stops itself."""


def main() -> None:
    """Run the command; an error that we raised on purpose ends in one line, not in a traceback."""
    import_torch_aside()
    try:
        cli()
    except (TagfleetError, BadSetting) as error:
        click.echo(f"tagfleet: {error}", err=True)
        sys.exit(2 if isinstance(error, BadSetting) else 1)
