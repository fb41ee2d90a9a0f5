"""The page over the real web tier: gunicorn and collector as processes, and a worker that this test plays."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from config.settings import Settings, as_environment
from core.domain.messages import Result, Tag, Timings, decode_job, encode, encode_output
from core.fleet.roster import Heartbeat, PoolStatus, WorkerState
from core.storage import layout
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
            deliveries = jobs.receive(1, 60.0)
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
                attempt=job.attempt,
                worker="played-1",
                finished_at=job.submitted_at + 1,
                timings_ms=Timings(queue=5.0),
            )
            key = layout.result_key(job.batch_id, job.image_id)
            self._backend.store.put(key, encode(result).encode())
            self._backend.results.send([encode_output(result, key)])
            jobs.delete(deliveries)
            count -= 1


@pytest.fixture
def extra() -> dict[str, str]:
    """Variables for the processes of `url`."""
    return {}


@pytest.fixture
def url(settings: Settings, extra: dict[str, str], tmp_path: Path) -> Iterator[str]:
    """A running `tagfleet web` and `tagfleet collector`."""
    shown_for_long = {"TAGFLEET_CONTROLLER__LOST_AFTER_S": "600"}  # a played worker beats once
    environ = as_environment(settings) | {"PATH": "/usr/bin:/bin", "PYTHONUNBUFFERED": "1", **shown_for_long, **extra}
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
            process.wait(180)
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
    expect(page.locator("#batch-pace")).to_have_text("Tagging starts in about 2 s.")
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


def tagged(page: Page, url: str, worker: PlayedWorker, *photos: Path) -> str:
    """A batch of these photos with their results, on show; its id."""
    page.goto(url)
    page.set_input_files("#choose-files", photos)
    expect(page.locator("#upload-part")).to_be_hidden()
    worker.tag(len(photos))
    expect(page.locator(".card[data-phase=tagged], .card[data-phase=failed]")).to_have_count(len(photos))
    return page.url.rsplit("/", 1)[1]


def test_tags_by_hand_are_kept_found_and_exported(url: str, settings: Settings, page: Page, photo: Photo) -> None:
    worker = PlayedWorker(settings)
    batch_id = tagged(page, url, worker, photo("a.jpg"), photo("b.jpg", (1, 2, 3)))
    rows = page.locator(".card").first.locator(".tag")
    expect(page.locator("#batch-counts")).to_have_text("2 photos tagged")
    page.keyboard.press("Control+a")
    field = page.get_by_role("combobox", name="Add a tag to the selected photos")
    field.fill("Holiday")
    field.press("Enter")
    expect(page.locator("#edited-text")).to_have_text("Added “Holiday” to 2 photos.")
    expect(rows).to_contain_text(["Holiday"])
    page.locator("#selected-tags").get_by_role("button", name="blue thing").click()
    expect(rows).to_have_text(["Holiday by hand"])
    page.keyboard.press("Control+z")
    expect(rows.filter(has_text="blue thing")).to_have_count(1)
    page.reload()
    expect(rows.filter(has_text="Holiday by hand")).to_have_count(1)
    page.locator(".card-name").first.click()
    page.get_by_role("button", name="Confirm blue thing").click()
    expect(page.locator("#edited-text")).to_have_text("Confirmed “blue thing”.")
    page.goto(f"{url}/batches?tag=Holiday")
    expect(page.locator("#found-about")).to_have_text("2 photos tagged “Holiday”")
    page.goto(f"{url}/batches/{batch_id}")
    for name, ending in (("CSV", ".csv"), ("JSONL", ".jsonl"), ("COCO", ".json"), ("XMP", ".zip")):
        page.get_by_text("Export").click()
        with page.expect_download() as download:
            page.get_by_role("link", name=name).click()
        assert download.value.suggested_filename.endswith(ending)
        assert download.value.path().stat().st_size > 0


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("Été à Rome 犬", "Été à Rome 犬"),
        ("NUL", "_NUL"),
        ('100% "ours" a/b; filename=x.exe', "100% _ours_ a_b; filename=x.exe"),
        ("gpj.\u202eexe", "gpj.exe"),
        ("x" * 500, "x" * 150),
    ],
)
def test_downloads_are_called_as_the_batch(
    url: str, settings: Settings, page: Page, photo: Photo, title: str, name: str
) -> None:
    batch = page.request.post(f"{url}/api/v1/batches", data={"metadata": {"title": title}}).json()["id"]
    file = {"name": "=1 é.jpg", "mimeType": "image/jpeg", "buffer": photo("a.jpg").read_bytes()}
    page.request.post(f"{url}/api/v1/batches/{batch}/images", multipart={"files": file})
    PlayedWorker(settings).tag(1)
    page.goto(f"{url}/batches/{batch}")
    expect(page.locator(".card[data-phase=tagged]")).to_have_count(1)
    found = {}
    for link in ("CSV", "COCO", "XMP"):
        page.get_by_text("Export").click()
        with page.expect_download() as download:
            page.get_by_role("link", name=link).click()
        found[download.value.suggested_filename] = download.value.path().read_bytes()
    assert list(found) == [f"{name}.csv", f"{name}.coco.json", f"{name}.xmp.zip"]
    table = found[f"{name}.csv"]
    assert table.startswith(b"\xef\xbb\xbfimage_id,")
    assert ",'=1 é.jpg," in table.decode("utf-8-sig")


def test_known_photos_are_not_sent_and_failed_ones_tried_again(
    url: str, settings: Settings, page: Page, photo: Photo
) -> None:
    worker = PlayedWorker(settings)
    tagged(page, url, worker, photo("a.jpg"), photo("torn.jpg", (1, 2, 3)))
    page.get_by_role("button", name="Retry 1 failed photo").click()
    expect(page.locator(".card[data-phase=waiting]")).to_have_count(1)
    worker.tag(1)
    expect(page.locator(".card[data-phase=failed]")).to_have_count(1)
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url))
    page.goto(url)
    page.set_input_files("#choose-files", [photo("a.jpg")])
    expect(page.locator("#batch-pace")).to_contain_text("1 photo recognised, not uploaded again")
    worker.tag(1)
    expect(page.locator(".card[data-phase=tagged]")).to_have_count(1)
    assert [one for one in sent if one.endswith("/images")] == []


def test_a_batch_is_cancelled_and_deleted(url: str, settings: Settings, page: Page, photo: Photo) -> None:
    worker = PlayedWorker(settings)
    page.goto(url)
    page.set_input_files("#choose-files", [photo("a.jpg"), photo("b.jpg", (1, 2, 3))])
    expect(page.locator("#upload-part")).to_be_hidden()
    worker.tag(1)
    expect(page.locator(".card[data-phase=tagged]")).to_have_count(1)
    page.get_by_role("button", name="Cancel tagging").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel tagging").click()
    expect(page.locator("#batch-counts")).to_have_text("Cancelled: 1 of 2 photos tagged")
    expect(page.locator(".card[data-phase=cancelled]")).to_have_count(1)
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.locator("#recent-empty")).to_be_visible()


def test_the_fleet_is_paused_and_a_worker_drained(url: str, settings: Settings, page: Page) -> None:
    PlayedWorker(settings).beat(WorkerState.IDLE)
    page.goto(f"{url}/fleet")
    page.get_by_role("button", name="Drain played-1").click()
    page.get_by_role("dialog").get_by_role("button", name="Drain").click()
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#fleet-paused")).to_be_visible()
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("#fleet-paused")).to_be_hidden()
    expect(page.locator("#fleet-trouble")).to_be_hidden()
    expect(page.locator(".plot").filter(has_text="Workers").locator("strong").nth(2)).not_to_have_text("–")


class TestKeys:
    """Where the server asks for a key."""

    @pytest.fixture
    def extra(self, settings: Settings) -> dict[str, str]:
        environ = as_environment(settings) | {"PATH": "/usr/bin:/bin"}
        command = [sys.executable, "-m", "tagfleet", "keys", "create", "me", "--scope", "read", "--scope", "write"]
        made = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
        found = re.search(r"tf_[\w-]+", made.stdout)
        assert found, made.stdout
        return {"TAGFLEET_WEB__REQUIRE_KEYS": "true", "KEY": found.group()}

    def test_the_page_signs_in(
        self, url: str, extra: dict[str, str], settings: Settings, page: Page, photo: Photo, console: Any
    ) -> None:
        console.expect("status of 40[13]")
        page.goto(url)
        field = page.get_by_role("dialog", name="Sign in").get_by_label("Key")
        field.fill(extra["KEY"])
        field.press("Enter")
        expect(page.locator("#recent-empty")).to_be_visible()
        page.set_input_files("#choose-files", [photo("a.jpg")])
        PlayedWorker(settings).tag(1)
        expect(page.locator("#batch-counts")).to_have_text("1 photo tagged")
        page.goto(f"{url}/fleet")
        page.get_by_role("button", name="Pause").click()
        expect(page.locator("#fleet-trouble")).to_contain_text("operate")
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("dialog", name="Sign in")).to_be_visible()
