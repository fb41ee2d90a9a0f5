"""The commands of `python -m bench`."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from bench.__main__ import main

COMMANDS = main.list_commands(click.Context(main))


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_of_the_table_exists(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert isinstance(command, click.Command)


def test_the_help_shows_every_command_in_one_line_of_80_columns() -> None:
    lines = CliRunner().invoke(main, ["--help"], terminal_width=80).output.splitlines()
    listed = lines[lines.index("Commands:") + 1 :]
    assert [line.split()[0] for line in listed] == COMMANDS
    assert all(len(line) <= 80 for line in listed)


def test_the_help_imports_no_command() -> None:
    code = "import sys; from bench.__main__ import main; main(['--help'], standalone_mode=False); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "bench.fleet", "bench.web"} & set(done.stdout.split())


def test_an_unknown_command_is_refused() -> None:
    done = CliRunner().invoke(main, ["sped"])
    assert done.exit_code == 2
    assert "sped" in done.output
