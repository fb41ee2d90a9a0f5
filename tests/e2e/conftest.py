"""Run `tagfleet up` as real processes for the end-to-end tests, each deployment with its own home folder."""

from __future__ import annotations

import io
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from bench.deployment import SHORT_TIMES, TAGFLEET, Process, wait_until
from bench.deployment import Deployment as RealDeployment
from tagfleet.client import Batch, Client, Item, Patience

FAST = {
    "TAGFLEET_POOLS__RESNET50__TAGGER": "efficientnet-lite0",
    "TAGFLEET_POOLS__RESNET50__FALLBACK": "",
    **SHORT_TIMES,
}
"""A small tagger whose weights come with a package, and short intervals."""

PATIENCE_S = 180.0
"""Seconds that a busy machine may take."""


class Deployment(RealDeployment):
    """A deployment with the small tagger and short intervals, and with what tests do to its processes."""

    def __init__(self, home: Path, environ: dict[str, str]) -> None:
        super().__init__(home, {**FAST, **environ})

    def freeze(self) -> None:
        """Send SIGSTOP to every process except `up`, so that none of them responds."""
        for process in self.processes():
            if process.role != "up":
                with suppress(ProcessLookupError):
                    process.kill(signal.SIGSTOP)

    def run(self, *arguments: str | Path) -> subprocess.Popen[str]:
        """Start a `tagfleet` command on this deployment."""
        return subprocess.Popen(
            [*TAGFLEET, *map(str, arguments)],
            env={**self.environ, "TAGFLEET_URL": self.url},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def the_web_worker(self) -> Process:
        [worker] = [process for process in self.find("web") if process.parent in {p.pid for p in self.find("web")}]
        return worker

    def child(self, role: str) -> Process:
        """Return the process of a role that `up` itself started."""
        assert self.up
        [found] = [process for process in self.find(role) if process.parent == self.up.pid]
        return found


@pytest.fixture
def deploy(tmp_path: Path, engine_cache: Path) -> Iterator[Callable[..., Deployment]]:
    """Make deployments, each with its own settings; kill all their processes at the end."""
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
    with Client(deployment.url, patience=Patience(total_s=PATIENCE_S)) as client:
        yield client


@pytest.fixture(scope="session")
def make_photos() -> Callable[..., list[tuple[str, bytes]]]:
    """Make named JPEGs that all differ."""

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
    """Check that every image has exactly one result: in the catalogue, the counts, the events and the store."""

    def check(deployment: Deployment, batch_id: str, names: Sequence[str]) -> None:
        with Client(deployment.url, patience=Patience(total_s=PATIENCE_S)) as client:
            items = list(client.results(batch_id))
            events = [event for event in client.events(batch_id) if isinstance(event, Item)]
            batch = client.batch(batch_id)
        assert Counter(item.name for item in items) == Counter(names)
        assert {item.status for item in items} == {"succeeded"}
        assert (batch.total, batch.completed, batch.failed) == (len(names), len(names), 0)
        assert batch.status == "completed"
        assert Counter(event.image_id for event in events) == Counter(item.image_id for item in items)
        assert len(list(deployment.backend.store.list(f"results/{batch_id}/"))) == len(names)
        jobs = deployment.backend.jobs("resnet50")
        wait_until(lambda: not jobs.depth().outstanding, PATIENCE_S)  # acknowledgements may come a moment later
        assert jobs.depth().dead == 0

    return check


@pytest.fixture(scope="session")
def until() -> Callable[..., None]:
    """Wait for a condition."""
    return partial(wait_until, timeout_s=PATIENCE_S)
