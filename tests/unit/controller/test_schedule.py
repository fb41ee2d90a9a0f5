"""The schedule of a pool: what is read, what is refused, and how many workers it asks for when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import settings as config
from config.schedule import DAYS, schedule, time_zone

WEEK = 7 * 24 * 60
MONDAY = datetime(2026, 6, 1, tzinfo=UTC)
OFFICE = "mon-fri 08:00-18:00 2; sat 10:00-14:00 1"


def at(day: int, hour: int, minute: int = 0) -> float:
    return (MONDAY + timedelta(days=day, hours=hour, minutes=minute)).timestamp()


@pytest.mark.parametrize(
    ("text", "moment", "workers"),
    [
        (OFFICE, at(0, 7, 59), 0),
        (OFFICE, at(0, 8), 2),
        (OFFICE, at(4, 17, 59), 2),
        (OFFICE, at(4, 18), 0),
        (OFFICE, at(5, 10), 1),
        (OFFICE, at(6, 10), 0),
        ("daily 00:00-24:00 3", at(6, 23, 59), 3),
        ("Fri 22:00-06:00 1", at(4, 23), 1),
        ("fri 22:00-06:00 1", at(5, 5, 59), 1),
        ("fri 22:00-06:00 1", at(4, 5), 0),
        ("sun 22:00-06:00 1", at(7, 5), 1),
        ("sat-mon 08:00-09:00 1", at(7, 8), 1),
        ("sat-mon 08:00-09:00 1", at(1, 8), 0),
        ("mon,wed-thu 08:00-09:00 1", at(3, 8), 1),
        ("daily 08:00-18:00 1; mon 09:00-10:00 4; mon 09:30-11:00 2;", at(0, 9, 30), 4),
        ("  ", at(0, 9), 0),
    ],
)
def test_how_many_are_asked_for(text: str, moment: float, workers: int) -> None:
    assert schedule(text).floor(moment) == workers


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("mon-fri 08:00-18:00", "'mon-fri 08:00-18:00' is not a window of days, times and workers"),
        ("mon 08:00-18:00 2; tag 08:00-18:00 2", "'tag' in 'tag 08:00-18:00 2': days are mon, tue"),
        ("mon- 08:00-18:00 2", "'mon-' in"),
        ("mon,,tue 08:00-18:00 2", "'' in"),
        ("daily,mon 08:00-18:00 2", "'daily' in"),
        ("mon 8:00-18:00 2", "'8:00-18:00' in 'mon 8:00-18:00 2': times are HH:MM-HH:MM"),
        ("mon 08:60-18:00 2", "'08:60' in"),
        ("mon 08:00-24:01 2", "'24:01' in"),
        ("mon 08:00-08:00 2", "a whole day is 00:00-24:00"),
        ("mon 24:00-08:00 2", "is empty; a whole day is"),
        ("mon 08:00-18:00 two", "'two' in 'mon 08:00-18:00 two': how many workers"),
        ("mon 08:00-18:00 -1", "'-1' in"),
    ],
)
def test_what_is_wrong_is_named_when_settings_are_loaded(text: str, part: str) -> None:
    with pytest.raises(config.BadSetting, match=r"setting pools\.resnet50\.schedule: ") as refused:
        config.load({"TAGFLEET_POOLS__RESNET50__SCHEDULE": text})
    assert part in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "../etc/passwd", "Europe"])
def test_a_time_zone_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(config.BadSetting, match=r"controller\.time_zone: this machine does not know the time zone"):
        config.load({"TAGFLEET_CONTROLLER__TIME_ZONE": name})


def test_pools_have_their_own_in_one_zone() -> None:
    loaded = config.load(
        {"TAGFLEET_POOLS__RESNET50__SCHEDULE": OFFICE, "TAGFLEET_CONTROLLER__TIME_ZONE": "Europe/Berlin"}
    )
    assert loaded.schedules["resnet50"].floor(at(0, 6)) == 2, "eight o'clock in summer"
    assert not config.load({}).schedules


@pytest.mark.parametrize(
    ("moment", "workers"),
    [
        (datetime(2026, 3, 27, 7, tzinfo=UTC), 2),  # a Friday in winter: 08:00
        (datetime(2026, 3, 30, 6, tzinfo=UTC), 2),  # the Monday after clocks were set forward: 08:00
        (datetime(2026, 3, 30, 5, 59, tzinfo=UTC), 0),
        (datetime(2026, 3, 29, 1, 15, tzinfo=UTC), 0),  # 03:15; there was no 02:15
        (datetime(2026, 10, 25, 0, 15, tzinfo=UTC), 1),  # 02:15
        (datetime(2026, 10, 25, 1, 15, tzinfo=UTC), 1),  # 02:15 once more
    ],
)
def test_times_are_the_walls(moment: datetime, workers: int) -> None:
    found = schedule("mon-fri 08:00-18:00 2; sun 02:00-03:00 1", time_zone("Europe/Berlin"))
    assert found.floor(moment.timestamp()) == workers


def test_a_boot_ahead() -> None:
    found = schedule("mon 08:00-08:01 2")
    assert found.floor(at(0, 7, 50), 599.0) == 0
    assert found.floor(at(0, 7, 50), 600.0) == 2
    assert found.floor(at(0, 7, 50), 3_600.0) == 2, "however short the window is"


_minute = st.integers(0, 24 * 60 - 1)
_windows = st.lists(
    st.tuples(st.sets(st.sampled_from(DAYS), min_size=1), _minute, st.integers(1, 24 * 60), st.integers(0, 9)),
    max_size=4,
)


@given(_windows, st.integers(0, 3 * WEEK))
def test_any_schedule_at_any_minute_is_what_counting_minutes_gives(
    windows: list[tuple[set[str], int, int, int]], minute: int
) -> None:
    """A window is a begin and a length here; the week is a row of minutes."""
    row, parts = [0] * WEEK, []
    for days, begin, length, workers in windows:
        end = begin + length if begin + length <= 24 * 60 else begin + length - 24 * 60
        if end == begin:
            continue
        parts.append(f"{','.join(days)} {begin // 60:02}:{begin % 60:02}-{end // 60:02}:{end % 60:02} {workers}")
        for day in days:
            for passed in range(length):
                place = (DAYS.index(day) * 24 * 60 + begin + passed) % WEEK
                row[place] = max(row[place], workers)
    moment = MONDAY.timestamp() + minute * 60.0
    assert schedule("; ".join(parts)).floor(moment + 59.9) == row[minute % WEEK]
