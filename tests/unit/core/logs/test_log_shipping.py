"""Logs of a machine reach CloudWatch: real journals, moto's CloudWatch Logs, and the process that systemd runs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.deployment import wait_until
from core.aws.logs import LogGroup, batches
from core.errors import Unavailable
from core.logs.journal import Entry, Journal
from core.logs.log_shipper import LogShipper
from tests.cloud import Cloud, clients_of
from tests.faulty import Answer, Faulty
from tests.unit.core.logs.journals import JournalFile


@pytest.fixture
def journal(tmp_path: Path) -> JournalFile:
    return JournalFile(tmp_path)


@pytest.fixture
def group(cloud: Cloud) -> str:
    name = f"/tagfleet/{cloud.name('logs')}/workers"
    cloud.client("logs").create_log_group(logGroupName=name)
    return name


def told(cloud: Cloud, group: str, stream: str) -> list[str]:
    """The messages of a stream; none where there is no stream."""
    logs = cloud.client("logs")
    if not logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=stream)["logStreams"]:
        return []
    events = logs.get_log_events(logGroupName=group, logStreamName=stream, startFromHead=True)["events"]
    return [event["message"] for event in events]


# --- the journal ------------------------------------------------------------------------------


def test_entries_of_the_units_are_read_with_what_systemd_says_of_them(journal: JournalFile) -> None:
    journal.write(
        ("tagfleet-worker", '{"event": "ready", "level": "info"}'),
        ("sshd", "password of somebody"),
        {
            "_SYSTEMD_UNIT": "init.scope",
            "_PID": "1",
            "UNIT": "tagfleet-worker.service",
            "MESSAGE": "killed: out of memory",
        },
        ("tagfleet-web", "line one\nline two é\udcff"),
    )
    found = journal.journal().after("", 100)
    assert [(entry.unit, entry.message) for entry in found] == [
        ("tagfleet-worker", '{"event": "ready", "level": "info"}'),
        ("tagfleet-worker", "killed: out of memory"),
        ("tagfleet-web", "line one\nline two é\N{REPLACEMENT CHARACTER}"),
    ]
    assert [entry.at_ms for entry in found] == sorted(entry.at_ms for entry in found)


def test_reading_goes_on_where_it_ended(journal: JournalFile) -> None:
    journal.write(*(("tagfleet-worker", str(number)) for number in range(25)))
    found: list[str] = []
    cursor = ""
    while entries := journal.journal().after(cursor, 10):
        assert len(entries) <= 10
        found += [entry.message for entry in entries]
        cursor = entries[-1].cursor
    assert found == [str(number) for number in range(25)]
    journal.write(("tagfleet-worker", "later"))
    assert [entry.message for entry in journal.journal().after(cursor, 10)] == ["later"]


def test_long_messages_are_read_whole(journal: JournalFile) -> None:
    """journalctl leaves out fields of more than 4,096 bytes unless it is told otherwise."""
    journal.write(("tagfleet-worker", "x" * 100_000))
    (entry,) = journal.journal().after("", 10)
    assert len(entry.message) == 100_000


def test_a_journal_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="the journal cannot be read"):
        Journal(["tagfleet-worker"], command=[str(tmp_path / "none")]).after("", 10)
    with pytest.raises(Unavailable, match="the journal cannot be read: "):
        Journal(["tagfleet-worker"], command=["journalctl", f"--file={tmp_path}"]).after("", 10)


# --- what one request of CloudWatch takes -----------------------------------------------------


@given(
    st.lists(
        st.tuples(
            st.integers(0, 10**10),
            st.one_of(st.text(max_size=20), st.integers(0, 300_000).map("é".__mul__)),
        ),
        max_size=40,
    )
)
def test_every_event_is_sent_once_and_no_request_is_larger_than_cloudwatch_takes(events: list[tuple[int, str]]) -> None:
    made = list(batches(events))
    for batch in made:
        assert sum(len(text.encode()) + 26 for _, text in batch) <= 1_048_576
        assert len(batch) <= 10_000
        assert [at for at, _ in batch] == sorted(at for at, _ in batch)
        assert batch[-1][0] - batch[0][0] < 24 * 3_600_000
        assert all(text and len(text.encode()) <= 256 * 1024 - 26 for _, text in batch)
    assert sorted(at for batch in made for at, _ in batch) == sorted(at for at, text in events if text)


def test_a_request_has_ten_thousand_events_at_most() -> None:
    assert [len(batch) for batch in batches([(0, "x")] * 25_000)] == [10_000, 10_000, 5_000]


def test_streams_are_made_when_they_are_needed(cloud: Cloud, group: str) -> None:
    now = int(time.time() * 1000)
    logs = LogGroup(cloud.clients, group)
    assert logs.put("i-1/tagfleet-worker", [(now + 1, "second"), (now, "first")]) == 0
    assert logs.put("i-1/tagfleet-worker", [(now + 2, "third")]) == 0
    assert told(cloud, group, "i-1/tagfleet-worker") == ["first", "second", "third"]
    with pytest.raises(Unavailable, match="put logs into /nowhere"):
        LogGroup(cloud.clients, "/nowhere").put("i-1", [(now, "x")])


@pytest.mark.parametrize(
    ("info", "rejected"),
    [
        ({}, 0),
        ({"tooOldLogEventEndIndex": 2}, 2),
        ({"expiredLogEventEndIndex": 1, "tooOldLogEventEndIndex": 2}, 2),
        ({"tooNewLogEventStartIndex": 3}, 1),
        ({"tooOldLogEventEndIndex": 1, "tooNewLogEventStartIndex": 3}, 2),
    ],
)
def test_rejected_events_are_counted(info: dict[str, int], rejected: int) -> None:
    """ "This field is exclusive" of the ends, inclusive of the start: RejectedLogEventsInfo in the API reference."""
    with Faulty("http://127.0.0.1:1").running() as proxy:
        proxy.always(Answer(200, json.dumps({"rejectedLogEventsInfo": info}).encode()))
        logs = LogGroup(clients_of(proxy.endpoint), "/tagfleet/photos/workers")
        assert logs.put("i-1", [(number, "x") for number in range(4)]) == rejected


# --- the two together -------------------------------------------------------------------------


class Failing:
    """Fails so many times, then keeps what it is given."""

    def __init__(self, fails: int = 0) -> None:
        self.fails = fails
        self.kept: list[str] = []

    def put(self, stream: str, events: Sequence[tuple[int, str]]) -> int:
        if self.fails:
            self.fails -= 1
            raise Unavailable("the network is away")
        self.kept += [f"{stream} {text}" for _, text in events]
        return 0


class Given:
    """Entries that come when they are asked for. After the last of `rounds` there is nothing new."""

    def __init__(self, *rounds: Sequence[str]) -> None:
        self._rounds = list(rounds)
        self._entries: list[Entry] = []

    def after(self, cursor: str, most: int) -> list[Entry]:
        if self._rounds:
            for text in self._rounds.pop(0):
                self._entries.append(Entry(str(len(self._entries) + 1), 0, "tagfleet-worker", text))
        return self._entries[int(cursor or 0) :][:most]


def _stopped() -> threading.Event:
    stop = threading.Event()
    stop.set()
    return stop


def test_what_was_not_sent_is_sent_later_and_nothing_twice(tmp_path: Path) -> None:
    source, kept, said = Given(["a"], ["b"], []), Failing(2), list[str]()
    shipper = LogShipper(source, kept, "i-1", tmp_path / "cursor", said.append)
    for _ in range(2):
        with pytest.raises(Unavailable):
            shipper.ship()
    assert shipper.ship() == 2
    assert shipper.ship() == 0
    again = LogShipper(source, kept, "i-1", tmp_path / "cursor", said.append)
    assert again.ship() == 0
    assert kept.kept == ["i-1/tagfleet-worker a", "i-1/tagfleet-worker b"]


def test_at_its_end_it_sends_until_there_is_nothing_new(tmp_path: Path) -> None:
    """The worker's last words come while those before them are sent."""
    kept, said = Failing(), list[str]()
    rounds = Given(["a"], ["the worker ends"], ["systemd: deactivated"])
    LogShipper(rounds, kept, "i-1", tmp_path / "cursor", said.append).run(_stopped(), drain_s=600.0)
    assert [text.partition(" ")[2] for text in kept.kept] == ["a", "the worker ends", "systemd: deactivated"]
    assert said == []


def test_a_network_that_is_away_for_a_moment_at_the_end_is_waited_for(tmp_path: Path) -> None:
    kept, said = Failing(2), list[str]()
    LogShipper(Given(["a"]), kept, "i-1", tmp_path / "cursor", said.append).run(_stopped(), drain_s=600.0)
    assert kept.kept == ["i-1/tagfleet-worker a"]
    assert said == ["logs wait on this machine: the network is away", "logs are sent again"]


def test_a_network_that_stays_away_keeps_no_machine_from_ending(tmp_path: Path) -> None:
    now, said = [0.0], list[str]()

    class Away(Failing):
        def put(self, stream: str, events: Sequence[tuple[int, str]]) -> int:
            now[0] += 11.0
            raise Unavailable("the network is away")

    LogShipper(Given(["a"]), Away(), "i-1", tmp_path / "cursor", said.append, clock=lambda: now[0]).run(
        _stopped(), drain_s=20.0
    )
    assert now == [22.0]
    assert said == [
        "logs wait on this machine: the network is away",
        "the logs left after 20 s are not sent: the network is away",
    ]


# --- the process ------------------------------------------------------------------------------


@pytest.mark.e2e
def test_the_process_that_systemd_ends_sends_the_last_lines_first(
    cloud: Cloud, group: str, journal: JournalFile, tmp_path: Path
) -> None:
    path = tmp_path / "bin"
    path.mkdir()
    wrapper = path / "journalctl"
    wrapper.write_text(f'#!/bin/sh\nexec {shutil.which("journalctl")} {journal.command[1]} "$@"\n')
    wrapper.chmod(wrapper.stat().st_mode | stat.S_IXUSR)
    journal.write(("tagfleet-worker", "idle"))
    environ = {**os.environ, **cloud.environ, "AWS_REGION": cloud.environ["AWS_DEFAULT_REGION"]}
    environ["PATH"] = f"{path}:{environ['PATH']}"
    command = [sys.executable, "-m", "tagfleet", "ship-logs", f"--group={group}", "--stream=i-1"]
    process = subprocess.Popen(
        [*command, f"--cursor={tmp_path / 'cursor'}"], env=environ, stderr=subprocess.PIPE, text=True
    )
    try:
        wait_until(lambda: told(cloud, group, "i-1/tagfleet-worker") == ["idle"], timeout_s=120)
        journal.write(("tagfleet-worker", "drained"), ("tagfleet-worker", "ended"))
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=120)[1]
    finally:
        process.kill()
    assert (process.returncode, said) == (0, "")
    assert told(cloud, group, "i-1/tagfleet-worker") == ["idle", "drained", "ended"]


def test_a_machine_without_a_log_group_ships_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tagfleet", "ship-logs", "--group="], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "no log group is set: no logs are sent\n")
