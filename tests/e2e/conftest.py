"""A harness that runs `tagfleet up` as a real process, with a home of its own, and knows all of its processes."""

from __future__ import annotations

import io
import itertools
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from config import settings as config
from config.settings import Settings
from core.wiring import Backend
from tagfleet.client import Batch, Client, Item

TAGFLEET = (sys.executable, "-m", "tagfleet")

FAST = {
    "TAGFLEET_PORT": "0",
    "TAGFLEET_POOLS__RESNET50__TAGGER": "efficientnet-lite0",
    "TAGFLEET_POOLS__RESNET50__FALLBACK": "",
    "TAGFLEET_QUEUE__VISIBILITY_TIMEOUT_S": "3",
    "TAGFLEET_WORKER__HEARTBEAT_S": "0.3",
    "TAGFLEET_CONTROLLER__TICK_S": "0.3",
    "TAGFLEET_CONTROLLER__LEASE_S": "2",
    "TAGFLEET_CONTROLLER__LOST_AFTER_S": "3",
    "TAGFLEET_COLLECTOR__SWEEP_S": "1",
}
"""A small tagger whose weights come with a package, and short times."""


def _until(condition: Callable[[], object], timeout: float = 60) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "what was waited for did not come"
        time.sleep(0.02)


@dataclass(frozen=True)
class Process:
    pid: int
    parent: int
    role: str
    """The sub-command: up, web, collector, controller, prepare, worker."""

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        os.kill(self.pid, number)


class Deployment:
    """One home folder and whatever runs there."""

    def __init__(self, home: Path, environ: dict[str, str]) -> None:
        self.home = home
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("TAGFLEET_")},
            **FAST,
            **environ,
            "TAGFLEET_HOME": str(home),
            "PYTHONUNBUFFERED": "1",
        }
        self.up: subprocess.Popen[bytes] | None = None
        self._out = home.with_name("up.out")
        self._out.touch()

    @property
    def settings(self) -> Settings:
        ours = {name: value for name, value in self.environ.items() if name.startswith("TAGFLEET_")}
        return config.load(ours)

    @property
    def backend(self) -> Backend:
        return Backend(self.settings)

    @property
    def said(self) -> str:
        """What the present `up` has printed so far."""
        return self._out.read_text()

    @property
    def url(self) -> str:
        found = re.search(r"Tagfleet is at (http://\S+)", self.said)
        return found.group(1) if found else ""

    def start(self) -> None:
        """Run `up` and wait until it is fully there: it answers, and its controller runs."""
        with self._out.open("wb") as out:
            self.up = subprocess.Popen(
                [*TAGFLEET, "up"], env=self.environ, stdout=out, stderr=out, stdin=subprocess.DEVNULL
            )
        _until(lambda: (self.url and self.find("controller")) or self.up.poll() is not None)
        assert self.up.poll() is None, self.said
        self.environ["TAGFLEET_PORT"] = self.url.rpartition(":")[2]  # a restart is found at the same address

    def stop(self, number: signal.Signals = signal.SIGINT, *, within_s: float = 10) -> int:
        """Ask `up` to end; its exit code. Fails if it takes longer than it promises."""
        assert self.up
        self.up.send_signal(number)
        return self.up.wait(within_s)

    def run(self, *arguments: str | Path) -> subprocess.Popen[str]:
        """Another command of this deployment."""
        return subprocess.Popen(
            [*TAGFLEET, *map(str, arguments)],
            env={**self.environ, "TAGFLEET_URL": self.url},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def processes(self) -> list[Process]:
        """Every living process whose environment names this home."""
        mark = f"TAGFLEET_HOME={self.home}".encode()
        found = []
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            try:
                if mark not in (folder / "environ").read_bytes().split(b"\0"):  # a zombie has none
                    continue
                command = (folder / "cmdline").read_bytes().split(b"\0")
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            roles = [word.decode() for before, word in itertools.pairwise(command) if before == b"tagfleet"]
            found.append(Process(int(folder.name), parent, roles[0] if roles else "?"))
        return found

    def find(self, role: str) -> list[Process]:
        return [process for process in self.processes() if process.role == role]

    def the_web_worker(self) -> Process:
        [worker] = [process for process in self.find("web") if process.parent in {p.pid for p in self.find("web")}]
        return worker

    def child(self, role: str) -> Process:
        """The process that `up` itself started."""
        assert self.up
        [found] = [process for process in self.find(role) if process.parent == self.up.pid]
        return found

    def kill_everything(self) -> None:
        _until(lambda: [process.kill() for process in self.processes()] == [])
        if self.up:
            self.up.wait()


@pytest.fixture(scope="session")
def engine_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared, so that only the first start of a session converts the model."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def deploy(tmp_path: Path, engine_cache: Path) -> Iterator[Callable[..., Deployment]]:
    """Makes deployments, each with settings of its own, and leaves none of their processes behind."""
    made: list[Deployment] = []

    def make(**environ: str) -> Deployment:
        home = tmp_path / f"deployment{len(made)}" / "home"
        home.parent.mkdir()
        made.append(Deployment(home, {"TAGFLEET_CACHE": str(engine_cache), **environ}))
        made[-1].start()
        return made[-1]

    yield make
    for deployment in made:
        deployment.kill_everything()


@pytest.fixture
def deployment(deploy: Callable[..., Deployment]) -> Deployment:
    return deploy()


@pytest.fixture
def client(deployment: Deployment) -> Iterator[Client]:
    with Client(deployment.url) as client:
        yield client


@pytest.fixture(scope="session")
def make_photos() -> Callable[..., list[tuple[str, bytes]]]:
    """Named JPEGs, no two alike."""

    def make(count: int, *, first: int = 0, size: tuple[int, int] = (960, 720)) -> list[tuple[str, bytes]]:
        noise = Image.effect_noise(size, 80).convert("RGB")
        made = []
        for number in range(first, first + count):
            out = io.BytesIO()
            noise.paste((number % 256, number // 256 % 256, number // 65536), (0, 0, 64, 64))
            noise.save(out, "JPEG", quality=60)
            made.append((f"album/{number:04}.jpg", out.getvalue()))
        return made

    return make


@pytest.fixture
def upload(client: Client) -> Callable[[Batch, Sequence[tuple[str, bytes]]], list[Item]]:
    return lambda batch, photos: client.upload(batch, [(name, io.BytesIO(content)) for name, content in photos])


@pytest.fixture
def assert_each_once() -> Callable[[Deployment, str, Sequence[str]], None]:
    """Every image has exactly one result: in the catalogue, in the counts, among the events, in the store."""

    def check(deployment: Deployment, batch_id: str, names: Sequence[str]) -> None:
        with Client(deployment.url) as client:
            items = list(client.results(batch_id))
            events = [event for event in client.events(batch_id) if isinstance(event, Item)]
            batch = client.batch(batch_id)
        assert Counter(item.name for item in items) == Counter(names)
        assert {item.status for item in items} == {"succeeded"}
        assert (batch.total, batch.completed, batch.failed) == (len(names), len(names), 0)
        assert batch.status == "completed"
        assert Counter(event.image_id for event in events) == Counter(item.image_id for item in items)
        assert len(list(deployment.backend.store.list(f"results/{batch_id}/"))) == len(names)
        depth = deployment.backend.jobs("resnet50").depth()
        assert (depth.visible, depth.dead) == (0, 0)

    return check


@pytest.fixture(scope="session")
def until() -> Callable[..., None]:
    """Waits for a condition."""
    return _until
