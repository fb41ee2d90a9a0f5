"""`python -m bench growth`: its table, and that each operation works on a small catalogue."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import URL

from bench.growth import command, migration
from bench.growth.catalogues import ensure_filled, of_size, short
from bench.growth.operations import Operation, Unsupported
from bench.growth.table import Row, summary, table
from bench.growth.timing import median_ms
from tests.postgresql import Server, running


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running(os.environ) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def base(request: pytest.FixtureRequest, tmp_path: Path) -> URL:
    if request.param == "sqlite":
        return URL.create("sqlite", database=str(tmp_path / "catalog.db"))
    server: Server = request.getfixturevalue("server")
    return server.url("growth")


@pytest.mark.parametrize(
    ("times", "growth"),
    [
        ((2.0, 3.0, 5.0), 2.5),
        ((0.1, 0.5, 0.9), 1.0),
        ((0.1, 1.0, 4.0), 4.0),
        ((None, 1.0, 2.0), None),
        ((2, 1, 1), 0.5),
    ],
)
def test_growth_takes_noise_below_a_millisecond_as_none(times, growth):
    assert Row("a", "read", times).growth == growth


def test_the_last_line_names_the_slowest_read_and_what_has_grown_most():
    rows = [
        Row("a", "read", (10.0, 37.6)),
        Row("b", "write", (50.0, 120.0)),
        Row("c", "upkeep", (1.0, 900.0)),
        Row("d", "read", (20.0, 30.0)),
    ]
    assert summary(rows, 1_000_000) == "growth: slowest read 38 ms, most grown ×3.8, 1,000,000 images"
    *lines, last = table(rows, [10_000, 1_000_000])
    assert lines[0] == "| ms at | 10,000 | 1,000,000 | grown |"
    assert "| b | 50 | 120 | ×2.4 |" in lines
    assert last == summary(rows, 1_000_000)


def test_the_median_leaves_out_the_first_call():
    took = iter([0.0, 9.0, 10.0, 12.0, 20.0, 21.0, 30.0, 33.0, 40.0, 45.0])
    runs = []
    operation = Operation("a", "read", lambda: runs.append(1))
    assert median_ms(operation, lambda: next(took)) == 3000.0
    assert len(runs) == 6


def test_an_operation_that_this_version_does_not_have_takes_no_time():
    def run() -> None:
        raise Unsupported("no such parameter")

    assert median_ms(Operation("a", "read", run), count().__next__) is None


@pytest.mark.parametrize(("images", "name"), [(1_000_000, "1m"), (10_000, "10k"), (1500, "1500"), (3, "3")])
def test_sizes_have_short_names(images, name):
    assert short(images) == name


@pytest.mark.timeout(300)
def test_every_operation_is_timed_at_each_size(base, tmp_path, monkeypatch):
    monkeypatch.setattr("bench.growth.timing._ENOUGH_S", 0.0)
    monkeypatch.setattr("bench.growth.command._STEPS", (10, 1))
    (tmp_path / "scratch").mkdir()
    lines = list(command.report(1000, base, tmp_path / "scratch", count().__next__))
    assert re.fullmatch(r"growth: slowest read \d+ ms, most grown ×[\d.]+, 1,000 images", lines[-1])
    cells = [line.split(" | ")[1:-1] for line in lines if line.startswith("| ") and "ms at" not in line]
    assert len(cells) > 40
    assert ensure_filled(of_size(base, 100), 100) is None, "catalogues are kept"


def test_the_last_migration_is_timed(base, tmp_path):
    lines = list(migration.report(200, base, tmp_path))
    assert lines[1].startswith("migration from 0009 to 0010: ")
    assert lines[2].startswith("placing and counting its tags")
