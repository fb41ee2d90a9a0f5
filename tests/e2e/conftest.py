"""A harness that runs `tagfleet up` as a real process, with a home of its own, and knows all of its processes."""

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
"""A small tagger whose weights come with a package, and short times."""

PATIENCE_S = 180.0
"""How long a busy machine may take."""


class Deployment(RealDeployment):
    """A deployment of the tests: the small tagger, short times, and the processes that they kill."""

    def __init__(self, home: Path, environ: dict[str, str]) -> None:
        super().__init__(home, {**FAST, **environ})

    def freeze(self) -> None:
        """Stop every process but `up`'s own where it stands: none of them listens any more."""
        for process in self.processes():
            if process.role != "up":
                with suppress(ProcessLookupError):
                    process.kill(signal.SIGSTOP)

    def run(self, *arguments: str | Path) -> subprocess.Popen[str]:
        """Another command of this deployment."""
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
        """The process that `up` itself started."""
        assert self.up
        [found] = [process for process in self.find(role) if process.parent == self.up.pid]
        return found


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
    with Client(deployment.url, patience=Patience(total_s=PATIENCE_S)) as client:
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
        wait_until(lambda: not jobs.depth().outstanding, PATIENCE_S)  # the last ones may be acknowledged a moment later
        assert jobs.depth().dead == 0

    return check


@pytest.fixture(scope="session")
def until() -> Callable[..., None]:
    """Waits for a condition."""
    return partial(wait_until, timeout_s=PATIENCE_S)
