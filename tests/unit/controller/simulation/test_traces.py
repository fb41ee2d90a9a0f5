from __future__ import annotations

from pathlib import Path

import pytest

from controller.simulation.traces import MADE, STANDARD, from_csv, trace


@pytest.mark.parametrize("name", [name for name in MADE if name != "days"])
def test_traces_are_in_order_within_their_length_and_told_by_their_seed(name: str) -> None:
    made = trace(name, 1)
    moments = [at for at, _ in made.arrivals]
    assert moments == sorted(moments)
    assert 0 <= moments[0] <= moments[-1] < made.length_s
    assert made == trace(name, 1)
    assert made.arrivals != trace(name, 2).arrivals


def test_a_day_has_a_million_images() -> None:
    assert trace("heavy", 1).images == pytest.approx(1_000_000, rel=0.01)
    assert not {"heavy", "days"} & set(STANDARD)
    assert trace("old", 1).images == 30


def test_two_days_are_alike_and_not_the_same() -> None:
    days = trace("days", 1)
    first = [(at, count) for at, count in days.arrivals if at < days.length_s / 2]
    second = [(at - days.length_s / 2, count) for at, count in days.arrivals[len(first) :]]
    assert days.arrivals == tuple(sorted(days.arrivals))
    assert sum(count for _, count in second) == pytest.approx(sum(count for _, count in first), rel=0.01)
    assert first != second


def test_arrivals_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    file.write_text("seconds,images\n12.5,3\n2,1\n\n")
    mine = from_csv(file)
    assert (mine.name, mine.length_s, mine.arrivals) == ("mine", 72.5, ((2.0, 1), (12.5, 3)))


@pytest.mark.parametrize(
    ("text", "problem"),
    [("1,2\nx,y\n", "line 2"), ("1,-2\n", "0 or more"), ("", "no arrivals"), ("nan,1\n", "0 or more")],
)
def test_what_is_no_trace_is_refused_with_its_line(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "mine.csv"
    file.write_text(text)
    with pytest.raises(ValueError, match=problem):
        from_csv(file)
