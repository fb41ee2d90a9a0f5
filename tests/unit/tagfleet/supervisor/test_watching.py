"""What `tagfleet up` reports while it runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from config import settings as config
from core.errors import Unavailable
from core.fleet.roster import Roster
from tagfleet.supervisor import run
from tagfleet.supervisor.run import Supervisor


def test_each_outage_is_reported_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    settings = config.load({}, flags={"home": str(tmp_path)})
    supervisor = Supervisor(settings, "http://127.0.0.1:9", said.append, {}, parent_fd=0)

    def outages() -> Iterator[bool]:
        yield from (True, True, False, True, True)
        supervisor._over.set()
        yield False

    out = outages()

    def workers(_: Roster) -> list[object]:
        if next(out):
            raise Unavailable("the store does not answer")
        return []

    monkeypatch.setattr(run, "_TICK_S", 0.01)
    monkeypatch.setattr(Roster, "workers", workers)
    supervisor._watch()
    assert said == ["the store does not answer"] * 2
