"""Outages: logged once at their beginning and once at their end."""

from __future__ import annotations

from structlog.testing import capture_logs

from core.errors import Unavailable
from web_tier.services.outage import Outage


def test_an_outage_is_logged_at_its_beginning_and_its_end():
    outage = Outage("it waits", "it goes on")
    with capture_logs() as lines:
        outage.end()
        pauses = [outage.record(Unavailable("the store is away")) for _ in range(8)]
        outage.end()
        outage.end()
    assert [(line["event"], line["log_level"]) for line in lines] == [
        ("it waits: something does not answer", "error"),
        ("it goes on", "info"),
    ]
    assert lines[0]["reason"] == "the store is away"
    assert lines[1]["tries"] == 8
    assert pauses[0] == 0.2
    assert sorted(pauses) == pauses
    assert pauses[-1] == 5.0


def test_the_next_outage_begins_anew():
    outage = Outage("it waits", "it goes on")
    with capture_logs() as lines:
        for _ in range(2):
            assert outage.record(Unavailable("away")) == 0.2
            outage.end()
    assert len(lines) == 4
