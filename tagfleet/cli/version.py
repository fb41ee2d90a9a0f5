"""`tagfleet version`"""

import click

from tagfleet import __version__


@click.command("version")
def command() -> None:
    """Print the version."""
    click.echo(f"tagfleet {__version__}")
