"""The page over the real web tier: gunicorn and collector as processes, and a worker that this test plays."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from config.settings import Settings, as_environment
from core import layout
from core.messages import Result, Tag, Timings, decode_job, encode, output_of
from core.roster import Heartbeat, PoolStatus, WorkerState
from core.wiring import Backend

pytestmark = [pytest.mark.browser, pytest.mark.e2e]

Photo = Callable[..., Path]
NOTICE = "ResNet50's weights could not be had, so tags come from efficientnet-lite0."


class PlayedWorker:
    """Takes jobs and writes results in the order that a worker keeps: store, results queue, delete."""

    def __init__(self, settings: Settings) -> None:
        self._backend = Backend(settings)
        self._pool = settings.default_pool
        self._beats = 0
        status = PoolStatus(
            pool=self._pool, wanted="resnet50", serves="efficientnet-lite0@1", state="ready", notice=NOTICE, at=1.0
        )
        self._backend.roster.set_pool(status)

    def beat(self, state: WorkerState) -> None:
        self._beats += 1
        beat = Heartbeat(
            worker_id="played-1",
            pool=self._pool,
            tagger="efficientnet-lite0@1",
            state=state,
            seq=self._beats,
            at=float(self._beats),
            state_since=0.0,
            started_at=0.0,
        )
        self._backend.roster.beat(beat)

    def tag(self, count: int) -> None:
        """Tag the next `count` photos; one whose name begins with "torn" fails."""
        jobs = self._backend.jobs(self._pool)
        while count:
            deliveries = jobs.receive(1, 20.0)
            assert deliveries, "no job came"
            job = decode_job(deliveries[0].body)
            torn = job.name.startswith("torn")
            result = Result(
                batch_id=job.batch_id,
                image_id=job.image_id,
                name=job.name,
                tagger="efficientnet-lite0@1",
                tags=() if torn else (Tag(name="blue thing", confidence=0.75),),
                error=f"{job.name}: the image is damaged" if torn else None,
                worker="played-1",
                finished_at=job.submitted_at + 1,
                timings_ms=Timings(queue=5.0),
            )
            key = layout.result_key(job.batch_id, job.image_id)
            self._backend.store.put(key, encode(result).encode())
            self._backend.results.send([output_of(result, key)])
            jobs.delete(deliveries)
            count -= 1


@pytest.fixture
def url(settings: Settings, tmp_path: Path) -> Iterator[str]:
    """A running `tagfleet web` and `tagfleet collector`."""
    environ = as_environment(settings) | {"PATH": "/usr/bin:/bin", "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "tagfleet"]
    with (tmp_path / "collector.log").open("wb") as log:
        web = subprocess.Popen([*command, "web"], env=environ, stderr=subprocess.PIPE, text=True)
        collector = subprocess.Popen([*command, "collector"], env=environ, stderr=log)
        assert web.stderr
        said = ""
        while "http://" not in said:
            line = web.stderr.readline()
            assert line, f"the web tier ended: {said}"
            said += line
        found = re.search(r"http://[\d.:]+", said)
        assert found
        yield found.group()
        for process in (web, collector):
            process.send_signal(signal.SIGTERM)
        for process in (web, collector):
            process.wait(20)
        web.stderr.close()


def test_from_drop_to_tags(url: str, settings: Settings, page: Page, photo: Photo) -> None:
    worker = PlayedWorker(settings)
    worker.beat(WorkerState.WARMING)
    page.goto(url)
    expect(page.locator(".banner")).to_have_text(NOTICE)
    page.set_input_files(
        "#choose-files",
        [
            photo("a.jpg"),
            photo("torn.jpg", (1, 2, 3)),
            photo('say "hi" <b>.jpg', (4, 5, 6)),
            photo("🐈.jpg", (7, 8, 9)),
        ],
    )
    expect(page.locator("#batch-pace")).to_have_text("Starting a worker: about 2 s.")
    expect(page.locator("#upload-part")).to_be_hidden()
    expect(page.locator(".card")).to_have_count(4)
    worker.beat(WorkerState.BUSY)
    worker.tag(1)
    expect(page.locator(".card[data-phase=tagged], .card[data-phase=failed]")).to_have_count(1)
    worker.tag(3)
    expect(page.locator(".card[data-phase=tagged]")).to_have_count(3)
    expect(page.locator(".card[data-phase=failed]")).to_contain_text("The image is damaged")
    expect(page.locator("#batch-counts")).to_have_text("3 photos tagged, 1 failed")
    expect(page.locator(".tag").first).to_have_text("blue thing 75%")
    page.reload()
    expect(page.locator(".card[data-phase=tagged]")).to_have_count(3)
    expect(page.locator("#batch-counts")).to_have_text("3 photos tagged, 1 failed")
    loaded = "(all) => all.filter((one) => one.complete && one.naturalWidth > 0).length"
    expect(page.locator(".card img[src^='/api/v1/images/']")).to_have_count(4)
    page.wait_for_function("() => [...document.querySelectorAll('.card img')].every((one) => one.complete)")
    assert page.locator(".card img").evaluate_all(loaded) == 4
    page.goto(f"{url}/fleet")
    expect(page.get_by_role("row").nth(1)).to_contain_text("played-1")


def test_a_large_folder_is_uploaded_in_groups(url: str, page: Page, photo: Photo, settings: Settings) -> None:
    worker = PlayedWorker(settings)
    for n in range(60):
        photo(f"many/{n:02}.jpg", (n, n, n))
    page.goto(url)
    page.set_input_files("#choose-folder", photo("many/60.jpg", (60, 60, 60)).parent)
    worker.tag(61)
    expect(page.locator("#batch-counts")).to_have_text("61 photos tagged")
    expect(page.get_by_role("heading", level=1)).to_have_text("many")


def test_the_real_documents_headers(url: str, page: Page) -> None:
    response = page.goto(url)
    assert response
    assert "script-src 'self'" in response.headers["content-security-policy"]
