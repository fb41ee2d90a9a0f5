"""The `tagfleet` command. Each sub-command is a small module here, imported only when it is called."""

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
    "catalog": "catalog",
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
        return module.command  # type: ignore[no-any-return]  # every module of this package has one


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Tag piles of photos with a fleet of workers that starts and stops itself."""


_NOT_WRITTEN = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG, errno.EBADF)


def main() -> None:
    """Run the command. An error that Tagfleet raises on purpose ends in one line, not in a traceback."""
    _fill_standard_descriptors()
    import_torch_aside()
    try:
        cli()
    except (TagfleetError, BadSetting) as error:
        _end(str(error), 2 if isinstance(error, BadSetting) else 1)
    except OSError as error:
        if error.filename is not None or error.errno not in _NOT_WRITTEN:
            raise
        _end(f"the output of this command could not be written: {error.strerror}", 1)


def _fill_standard_descriptors() -> None:
    """Open closed standard descriptors (`2>&-`). Otherwise the next file opened would get their number, and receive
    logs.
    """
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            with suppress(OSError):
                os.open(os.devnull, os.O_RDWR)  # gets the lowest free number


def _end(line: str, code: int) -> None:
    with suppress(OSError, ValueError):
        click.echo(f"tagfleet: {line}", err=True)
    with suppress(OSError, ValueError):
        sys.stdout.close()  # its buffer cannot be written either, and would cause another message at exit
    sys.exit(code)
