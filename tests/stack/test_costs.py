"""docs/aws.md contains the tables that the cost command prints."""

from __future__ import annotations

from pathlib import Path

from tagfleet.deployment.costs import lines

DOCS = Path(__file__).parents[2] / "docs" / "aws.md"


def test_the_docs_have_the_tables_that_the_command_prints() -> None:
    said = DOCS.read_text().splitlines()
    assert [line for line in lines() if line not in said] == []
