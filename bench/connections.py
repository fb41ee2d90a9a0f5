"""Measure the web tier's answers while 1,000 connections drip, 1,000 are silent and 400 read events."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
import httpx

from bench.crowd import Member, addresses, allow_files, crowd, drippers, idlers, stream_readers
from bench.deployment import TAGFLEET, wait_until
from bench.web import spread

_PHOTO = 400_000


@contextmanager
def serving(home: Path) -> Iterator[tuple[str, str]]:
    """Run a web tier on all interfaces; yield its URL and an API key."""
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("TAGFLEET_")},
        "TAGFLEET_HOME": str(home),
        "TAGFLEET_HOST": "0.0.0.0",
        "TAGFLEET_PORT": "0",
    }
    scopes = ["--scope", "read", "--scope", "write"]
    made = subprocess.run(
        [*TAGFLEET, "keys", "create", "bench", *scopes], env=environ, check=True, capture_output=True, text=True
    )
    address = home / "web.address"
    process = subprocess.Popen([*TAGFLEET, "web"], env=environ, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: address.exists() or process.poll() is not None)
        yield address.read_text().strip(), re.findall(r"tf_\S+", made.stdout)[0]
    finally:
        process.terminate()
        process.wait(60)


def report(home: Path, asked: int) -> Iterator[str]:
    """Yield lines for each crowd: milliseconds for `asked` answers of /healthz and for as many uploads."""
    allow_files(10_000)
    with serving(home) as (url, key):
        headers = {"Authorization": f"Bearer {key}"}
        with httpx.Client(base_url=url, headers=headers, timeout=60, trust_env=False) as client:
            batch = client.post("/api/v1/batches").raise_for_status().json()["id"]
        everybody = [*stream_readers(400, batch, key), *idlers(1000), *drippers(1000)]
        crowds: list[tuple[str, list[Member], Sequence[str]]] = [
            ("nobody", [], ["127.0.0.1"]),
            ("1,000 drip", drippers(1000), addresses(50)),
            ("1,000 are silent", idlers(1000), addresses(50)),
            ("400 read events", stream_readers(400, batch, key), addresses(50)),
            ("all of them, from 50 addresses", everybody, addresses(50)),
            ("all of them, from one address, which is ours too", everybody, ["127.0.0.1"]),
        ]
        for what, members, sources in crowds:
            readers = sum(b"/events" in member.opening for member in members)
            with crowd(url, members, sources) as found:
                wait_until(lambda: found.answered >= readers)  # noqa: B023  # called within the block only
                health, uploads = _times(url, headers, batch, asked)
                yield f"{what}: {found.opened} connections opened, {found.open} open at the end"
                yield f"  /healthz {spread(health)}"
                yield f"  upload   {spread(uploads)}"


def _times(url: str, headers: dict[str, str], batch: str, asked: int) -> tuple[list[float], list[float]]:
    """Return the milliseconds of each /healthz and each upload; every request opens a new connection."""
    health, uploads = [], []
    for number in range(asked):
        photo = {"files": (f"{time.time_ns()}-{number}.jpg", os.urandom(_PHOTO))}
        started = time.perf_counter()
        httpx.get(f"{url}/healthz", timeout=60, trust_env=False).raise_for_status()
        between = time.perf_counter()
        images = f"{url}/api/v1/batches/{batch}/images"
        httpx.post(images, files=photo, headers=headers, timeout=60, trust_env=False).raise_for_status()
        health.append(1000 * (between - started))
        uploads.append(1000 * (time.perf_counter() - between))
    return health, uploads


@click.command()
@click.option("--count", default=50, help="answers measured with each crowd")
def command(count: int) -> Iterator[str]:
    """Measure the answers of /healthz and of uploads while 2,400 connections are held open."""
    with tempfile.TemporaryDirectory(prefix="tagfleet-bench-") as scratch:
        yield from report(Path(scratch) / "home", count)
