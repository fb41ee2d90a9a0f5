"""The `tagfleet` command: each sub-command is a module of a few lines here; only the one asked for is imported."""

from __future__ import annotations

import errno
import importlib
import os
import sys
from contextlib import suppress

import click

from config.settings import BadSetting
from core.errors import TagfleetError
from core.util.interpreter import import_torch_aside

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
    "ship-logs": "ship_logs",
    "signal-ready": "signal_ready",
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


_NOT_WRITTEN = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG, errno.EBADF)


def main() -> None:
    """Run the command; an error that we raised on purpose ends in one line, not in a traceback."""
    _fill_standard_descriptors()
    import_torch_aside()
    try:
        cli()
    except (TagfleetError, BadSetting) as error:
        _end(str(error), 2 if isinstance(error, BadSetting) else 1)
    except OSError as error:
        if error.filename is not None or error.errno not in _NOT_WRITTEN:
            raise
        _end(f"what this command prints could not be written: {error.strerror}", 1)


def _fill_standard_descriptors() -> None:
    """A descriptor that the caller closed (`2>&-`) would become that of the next file opened, and logs its content."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            with suppress(OSError):
                os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free


def _end(line: str, code: int) -> None:
    with suppress(OSError, ValueError):
        click.echo(f"tagfleet: {line}", err=True)
    with suppress(OSError, ValueError):
        sys.stdout.close()  # what is left in its buffer cannot be written either, and would be told at the exit
    sys.exit(code)
