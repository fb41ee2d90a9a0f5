"""Measure the page on a large batch: first thumbnail, bytes transferred, memory, and frames wherever one scrolls to.

A real web tier serves a filled catalogue to Chromium. Around each place that is visited, the photos have thumbnails of
a real size in the store, as in a batch that somebody has looked at before. So no thumbnail is made meanwhile.
"""

from __future__ import annotations

import io
import os
import random
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import click
from PIL import Image
from playwright.sync_api import CDPSession, Page, sync_playwright
from sqlalchemy import URL

from bench import catalogs
from bench.deployment import TAGFLEET, wait_until
from core.local.store import LocalStore
from core.storage import layout
from web_tier.catalog.database import Database, migrate

_CHROMIUM = "/usr/bin/chromium"
_FLAGS = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
_BATCH = "bat_page"
_AROUND = 400
_WHEELS = 60
_WHEEL_PX = 240
_PATIENCE_MS = 300_000
_FIRST = """
document.addEventListener('load', (event) => {
  if (event.target.currentSrc?.includes('/thumbnail')) window.firstThumbnail ??= performance.now();
}, true);
"""
_FRAMES = """
window.frames = [];
const note = (at) => { window.frames.push(at); window.noting = requestAnimationFrame(note); };
requestAnimationFrame(note);
"""
_GO_TO = "(share) => scrollTo(0, share * (document.documentElement.scrollHeight - innerHeight))"
_COMPLETE = """
() => [...document.querySelectorAll('.card')].every((card) => !card.classList.contains('is-coming'))
  && [...document.querySelectorAll('.card img[src]')].some((image) => image.complete && image.naturalWidth > 0)
"""


@dataclass
class Traffic:
    """What the page received, in bytes, and the number of its requests for results."""

    received: float = 0
    pages: int = 0

    def watch(self, session: CDPSession) -> None:
        session.send("Network.enable")
        session.on("Network.requestWillBeSent", lambda event: self._asked(event["request"]["url"]))
        session.on("Network.loadingFinished", lambda event: self._loaded(event["encodedDataLength"]))

    def _asked(self, url: str) -> None:
        self.pages += "/results" in url

    def _loaded(self, count: float) -> None:
        self.received += count


@contextmanager
def serving(home: Path) -> Iterator[str]:
    """Run a web tier over `home`; yield its URL."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("TAGFLEET_")}
    environ |= {"TAGFLEET_HOME": str(home), "TAGFLEET_PORT": "0"}
    address = home / "web.address"
    process = subprocess.Popen([*TAGFLEET, "web"], env=environ, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: address.exists() or process.poll() is not None)
        yield address.read_text().strip()
    finally:
        process.terminate()
        process.wait(60)


def fill(home: Path, images: int, places: Sequence[float]) -> None:
    """Fill a catalogue with one batch, and put thumbnails into the store around the `places`, which are shares."""
    url = URL.create("sqlite", database=str(home / "catalog.db"))
    migrate(url)
    database = Database(url)
    catalogs.fill(database, _BATCH, images)
    database.close()
    store = LocalStore(home)
    pictures = [_picture(seed) for seed in range(16)]
    near = {n for share in places for n in range(round(share * images) - _AROUND, round(share * images) + _AROUND)}
    for number in sorted(near & set(range(1, images + 1))):
        key = layout.thumbnail_key(_BATCH, catalogs.image_id(_BATCH, number))
        store.put(key, pictures[number % len(pictures)], content_type="image/jpeg")


def _picture(seed: int) -> bytes:
    """Return a JPEG of 256 x 192 pixels and about 12 kB, as thumbnails of photos are."""
    small = Image.frombytes("RGB", (96, 72), random.Random(seed).randbytes(96 * 72 * 3))
    out = io.BytesIO()
    small.resize((256, 192), Image.Resampling.BICUBIC).save(out, "JPEG", quality=80)
    return out.getvalue()


def frames(page: Page, share: float) -> list[float]:
    """Jump to a place and scroll on by the wheel; return the milliseconds of each frame, the jump's included."""
    page.evaluate(_FRAMES)
    page.evaluate(_GO_TO, share)
    page.wait_for_timeout(500)
    for _ in range(_WHEELS):
        page.mouse.wheel(0, _WHEEL_PX if share < 1 else -_WHEEL_PX)
        page.wait_for_timeout(16)
    times: list[float] = page.evaluate("cancelAnimationFrame(window.noting), window.frames")
    return [later - sooner for sooner, later in pairwise(times)]


def p95(times: Sequence[float]) -> float:
    """Return the 95th percentile."""
    return sorted(times)[int(0.95 * (len(times) - 1))]


def report(home: Path, images: int, width: int) -> Iterator[str]:
    """Yield lines on opening a batch, and on each place that is scrolled to."""
    places = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
    fill(home, images, places)
    with serving(home) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_CHROMIUM, args=_FLAGS)
        page = browser.new_page(viewport={"width": width, "height": 800}, service_workers="block")
        page.set_default_timeout(_PATIENCE_MS)
        session = page.context.new_cdp_session(page)
        traffic = Traffic()
        traffic.watch(session)
        page.add_init_script(_FIRST)
        page.goto(f"{url}/batches/{_BATCH}")
        wait_until(lambda: page.evaluate("window.firstThumbnail > 0"), 60)
        first = page.evaluate("window.firstThumbnail")
        page.wait_for_load_state("networkidle")
        opened = traffic.received
        yield f"opening: first thumbnail after {first:.0f} ms; {opened / 1e6:.2f} MB, {traffic.pages} pages of results"
        everywhere: list[float] = []
        page.mouse.move(width / 2, 400)
        for share in places:
            times = frames(page, share)
            everywhere += times
            wait_until(lambda: page.evaluate(_COMPLETE), 60)
            yield f"at {share:4.0%}: frames p50 {sorted(times)[len(times) // 2]:.0f} ms, p95 {p95(times):.0f} ms"
        heap = _heap(session)
        yield f"all places visited: {traffic.received / 1e6:.2f} MB, {traffic.pages} pages of results"
        browser.close()
    yield (
        f"page: first thumbnail {first:.0f} ms, {opened / 1e6:.2f} MB to open, {traffic.received / 1e6:.2f} MB in all, "
        f"{heap / 1e6:.0f} MB of heap, frames p95 {p95(everywhere):.0f} ms, {images:,} images"
    )


def _heap(session: CDPSession) -> float:
    """Return the bytes of JavaScript's live objects."""
    session.send("HeapProfiler.collectGarbage")
    return float(session.send("Runtime.getHeapUsage")["usedSize"])


@click.command()
@click.option("--images", default=300_000, help="photos of the batch")
@click.option("--width", default=1280, help="px of the window")
def command(images: int, width: int) -> Iterator[str]:
    """Measure the page on a large batch, in Chromium."""
    with tempfile.TemporaryDirectory(prefix="tagfleet-bench-") as scratch:
        yield from report(Path(scratch), images, width)
