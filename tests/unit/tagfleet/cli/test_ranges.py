from __future__ import annotations

import pytest
from click.testing import CliRunner

from tagfleet.cli import cli


@pytest.mark.parametrize(
    ("command", "option", "number"),
    [
        ("simulate", "--seed", "-1"),
        ("simulate", "--max-workers", "0"),
        ("simulate", "--tick", "0"),
        ("simulate", "--throughput", "0"),
        ("simulate", "--boot", "0"),
        ("simulate", "--price", "0"),
        ("controller replay", "--drain-goal", "0"),
        ("controller replay", "--max-workers", "-1"),
        ("loadtest", "--seed", "-1"),
        ("data split", "--seed", "-1"),
        ("ami bake", "--disk-gb", "0"),
    ],
)
def test_a_number_out_of_range_is_refused(command: str, option: str, number: str) -> None:
    result = CliRunner().invoke(cli, [*command.split(), f"{option}={number}"])
    assert result.exit_code == 2
    assert f"'{option}': {number}" in result.stderr
    assert "is not in the range" in result.stderr
