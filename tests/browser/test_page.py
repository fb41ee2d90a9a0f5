"""What every view must be: safe, plain about its state, and usable on any screen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tagfleet.testing import Deployment
from tests.browser.at_work import show_decision, show_fleet, show_pool, show_queue
from tests.browser.helpers import numbered, wait_for_images

pytestmark = pytest.mark.browser

Photo = Callable[..., Path]
Snap = Callable[[Page, str], None]

HOSTILE = "<img src=x onerror=document.title='owned'>"


@pytest.fixture
def replaced(service: Deployment) -> Deployment:
    """Another tagger than the wanted one serves, and a worker is launched."""
    show_fleet(service)
    show_queue(service)
    show_pool(service, serves="efficientnet-lite0")
    show_decision(service, at=996.0, action="launch 1", reason="31 images wait", terms={"boot_s": 1.63, "visible": 31})
    return service


def test_hostile_names_tags_and_errors_are_only_text(page: Page, service: Deployment, photo: Photo, snap: Snap) -> None:
    batch_id = service.add_batch(HOSTILE)
    names = [HOSTILE, "🏖️ “été” & 100%.jpg", "it's.jpg", "x" * 300 + ".jpg", "a/b/../c.jpg"]
    for name in names:
        service.add_photos(batch_id, {name: photo("a.jpg").read_bytes() + name.encode()})
    service.tag(HOSTILE, {HOSTILE: 0.9})
    service.fail("it's.jpg", HOSTILE)
    page.goto(f"{service.url}/batches/{batch_id}")
    expect(page.locator(".card")).to_have_count(5)
    shown = page.locator(".card-name").evaluate_all("(all) => all.map((one) => one.title)")
    assert sorted(shown) == sorted(names)
    expect(page.get_by_role("heading", level=1)).to_have_text(HOSTILE)
    expect(page.locator(".chip")).to_have_text([f"{HOSTILE} 1"])
    assert "owned" not in page.title().replace(HOSTILE, "")
    assert page.locator("img[src=x]").count() == 0
    page.locator(".card-name").first.click()
    expect(page.get_by_role("dialog")).to_be_visible()
    snap(page, "hostile")
    page.goto(service.url)
    expect(page.locator(".recent-row")).to_contain_text(HOSTILE)
    assert page.locator("img[src=x]").count() == 0


def test_uploaded_hostile_names_arrive_once(page: Page, service: Deployment, photo: Photo) -> None:
    page.goto(service.url)
    page.set_input_files(
        "#choose-files", [photo('say "cheese".jpg'), photo("🐈.jpg", (1, 2, 3)), photo("50%25.jpg", (9, 9, 9))]
    )
    wait_for_images(service, 3)
    expect(page.locator("#upload-part")).to_be_hidden()
    expect(page.locator(".card-name")).to_have_text(["🐈.jpg", "50%25.jpg", 'say "cheese".jpg'])


def test_a_pools_notice_is_a_plain_banner(page: Page, service: Deployment) -> None:
    sentence = (
        "ResNet50's weights could not be had; tags come from EfficientNet-Lite0. Put resnet50.safetensors into /w."
    )
    service.show_pools(preparing=True)
    page.goto(service.url)
    expect(page.locator(".banner")).to_contain_text("Preparing the tagger. The first time takes about 20 seconds.")
    service.show_pools(sentence)
    expect(page.locator(".banner")).to_have_text(sentence)


def test_no_worker_yet_is_explained(page: Page, service: Deployment, photo: Photo) -> None:
    batch_id = service.add_batch("holiday", numbered(3))
    service.close_batch(batch_id)
    show_fleet(service)
    show_decision(service, action="hold", reason="the cap is 0 workers: hold", terms={"rule": "cap", "cap": 0})
    service.show_workers()
    page.goto(f"{service.url}/batches/{batch_id}")
    expect(page.locator("#batch-pace")).to_have_text(
        "Tagging is switched off by the operator of this server. 3 photos are waiting."
    )
    service.show_workers(booting=1)
    expect(page.locator("#batch-pace")).to_have_text("Tagging starts in about 2 s.")
    service.show_workers(ready=1)
    expect(page.locator("#batch-pace")).to_have_text("")


def test_the_fleet(page: Page, replaced: Deployment, snap: Snap) -> None:
    page.goto(f"{replaced.url}/fleet")
    pool = page.locator(".pool")
    expect(pool).to_contain_text("ready, serves efficientnet-lite0 in place of resnet50")
    expect(pool.locator("[data-figure=visible] dd")).to_have_text("31")
    expect(pool).to_contain_text("launch 1 4 s ago")
    expect(pool).to_contain_text("31 images wait")
    pool.get_by_text("All terms").click()
    expect(pool.locator(".terms")).to_contain_text("1.63")
    expect(pool.get_by_title("Time from a launch to a ready worker (B, s)")).to_have_text("boot_s")
    row = page.get_by_role("row").nth(1)
    expect(row).to_contain_text("busy, 12 s")
    expect(row).to_contain_text("412 MB")
    snap(page, "fleet")
    replaced.show_workers()
    expect(page.get_by_text("No workers are running. The controller starts one when photos arrive.")).to_be_visible()
    expect(pool.locator(".terms")).to_be_visible()  # what is unfolded stays so


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280, 3840])
def test_no_view_scrolls_sideways(
    page: Page, replaced: Deployment, photo: Photo, snap: Snap, scheme: Any, width: int
) -> None:
    service = replaced
    show_pool(service, notice="n" * 200)
    service.tagger.at_work = True
    batch_id = service.add_batch("a_long_name_without_any_space_" * 4, numbered(30))
    service.tag("photo-00001.jpg", {"a tag of an unusual length, as ImageNet has them": 0.7})
    service.fail("photo-00000.jpg", "photo-00000.jpg " + "is damaged " * 20)
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=scheme)
    for path, ready in (
        ("/", ".recent-row"),
        (f"/batches/{batch_id}", ".card[data-phase=failed]"),
        ("/fleet", "tbody tr"),
    ):
        page.goto(service.url + path)
        expect(page.locator(ready).first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        snap(page, f"{path.split('/')[1] or 'home'}-{width}-{scheme}")


def test_dark_mode_is_dark(page: Page, service: Deployment) -> None:
    page.emulate_media(color_scheme="dark")
    page.goto(service.url)
    background = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert max(background) < 60


def test_the_first_load_is_light_and_asks_no_other_host(page: Page, service: Deployment) -> None:
    requests: list[Any] = []
    page.on("requestfinished", lambda request: requests.append(request))
    page.goto(service.url)
    expect(page.locator("#recent-empty")).to_be_visible()
    assert {request.url.split("/api")[0].startswith(service.url) for request in requests} == {True}
    sizes = [request.sizes() for request in list(requests)]
    transferred = sum(size["responseBodySize"] + size["responseHeadersSize"] for size in sizes)
    assert transferred <= 150_000


def test_the_keyboard_reaches_everything(page: Page, service: Deployment) -> None:
    service.add_batch("holiday", numbered(2))
    page.goto(service.url)
    expect(page.locator(".recent-row")).to_be_visible()
    reached = []
    for _ in range(8):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.textContent.trim().split('\\n')[0]"))
    views = ["Photos", "Batches", "Fleet"]
    assert reached[:7] == ["Skip to the content", "Tagfleet", *views, "Choose photos", "Choose a folder"]
    assert reached[7].startswith("holiday")
    page.keyboard.press("Enter")
    expect(page.locator("#batch-title")).to_be_focused()


@pytest.mark.parametrize("path", ["/", "/fleet", "/batches/x"])
def test_there_is_no_inline_script_or_style(service: Deployment, page: Page, console: Any, path: str) -> None:
    console.expect("status of 404")
    response = page.goto(service.url + path)
    assert response
    source = response.text()
    assert " style=" not in source
    assert "<style" not in source
    assert source.count("<script") == 1
    assert "script-src 'self'" in response.headers["content-security-policy"]
