"""What lies in a home folder is its owner's alone, whatever the umask, and also after an upgrade."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from config import settings as config
from config.settings import Settings
from core.fleet.roster import RoleBeat
from core.util import private
from core.wiring import Backend
from tests.unit.web_tier.processes import wait_for
from web_tier import serve
from web_tier.catalog.database import catalog_url, migrate


@pytest.fixture(autouse=True)
def open_umask() -> Iterator[None]:
    """As where somebody shares all that they make."""
    before = os.umask(0)
    yield
    os.umask(before)


def readable_by_others(folder: Path) -> list[str]:
    """The folder itself and all in it: group and others have no right of any kind."""
    found = [folder, *folder.rglob("*")]
    return sorted(str(path) for path in found if mode(path) & 0o077)


def mode(path: Path) -> int:
    """The permissions; none of a file that a running service has removed since it was listed."""
    try:
        return stat.S_IMODE(path.lstat().st_mode)
    except FileNotFoundError:
        return 0


def use(settings: Settings) -> Backend:
    backend = Backend(settings)
    backend.jobs("resnet50").send(["job"])
    backend.store.put("uploads/a/b", b"photo")
    backend.roster.beat_role(RoleBeat(role="collector", id="c", seq=1, at=0.0))
    backend.fleet([sys.executable]).instances()
    migrate(catalog_url(settings))
    return backend


def test_what_is_made_is_private_from_the_start(settings):
    use(settings)
    assert (settings.home / "queues.db").exists()
    assert readable_by_others(settings.home) == []


def test_what_an_earlier_version_left_open_is_closed(settings):
    backend = use(settings)
    held = backend.jobs("resnet50").receive(1, 0)  # keeps -wal and -shm there
    for path in (settings.home / "queues.db", settings.home / "catalog.db"):
        for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
            if (path.parent / name).exists():
                (path.parent / name).chmod(0o644)
    for folder in ("objects", "locks", "partial"):
        (settings.home / "store" / folder).chmod(0o755)
    use(settings)
    assert held
    assert readable_by_others(settings.home) == []


def test_a_home_that_its_owner_opened_stays_so_and_shows_nothing(settings):
    """Somebody may want to look for the address, or keep other files beside ours."""
    settings.home.mkdir(mode=0o755)
    settings.home.chmod(0o755)
    use(settings)
    assert readable_by_others(settings.home) == [str(settings.home)]


def test_a_file_of_somebody_else_is_left_alone(tmp_path, monkeypatch):
    path = tmp_path / "theirs"
    path.write_text("")
    path.chmod(0o644)
    if os.geteuid() == 0:
        os.chown(path, 65534, 65534)
        private.private_file(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_processes_leave_nothing_open(settings):
    """`up` with all its parts: logs, address, locks, queues, catalogue, caches."""
    environ = {**os.environ, **config.as_environment(settings)}
    up = subprocess.Popen(
        [sys.executable, "-P", "-m", "tagfleet", "up"],
        env=environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for((settings.home / serve.ADDRESS_FILE).exists)
        wait_for((settings.home / "logs" / "controller.log").exists)
        wait_for(lambda: len(Backend(settings).roster.roles()) == 2)
        assert readable_by_others(settings.home) == []
        assert not settings.cache.exists() or readable_by_others(settings.cache) == []
    finally:
        up.send_signal(signal.SIGTERM)
        up.wait(120)
    assert readable_by_others(settings.home) == []
