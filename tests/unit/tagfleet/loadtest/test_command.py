"""`tagfleet loadtest` without a service, and with options that contradict each other."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from tagfleet.cli.loadtest import command


def test_a_service_that_is_not_there_is_a_sentence(tmp_path):
    result = CliRunner().invoke(command, ["--url", "http://127.0.0.1:9", "--output", str(tmp_path / "report")])
    assert result.exit_code == 1
    assert result.output == "Error: no Tagfleet at http://127.0.0.1:9: start it with `tagfleet up`\n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--rate", "5", "--per-request", "3"], "use --per-request only without --rate"),
        (["--size", "2kB", "--folder", "."], "give only one of them"),
    ],
)
def test_what_contradicts_itself_is_refused_before_anything_is_sent(arguments, sentence):
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 2
    assert sentence in result.output


def test_a_comparison_with_what_is_no_report_names_the_file(tmp_path):
    (tmp_path / "a.json").write_text("{}")
    result = CliRunner().invoke(command, ["compare", str(tmp_path / "a.json"), str(tmp_path / "a.json")])
    assert "a.json: this is not a report" in str(result.exception)
