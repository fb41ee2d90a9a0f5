"""Results arriving on the page, and being found again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tagfleet.testing import Deployment
from tests.browser.helpers import card, items, numbered, only_batch, wait_for_close, wait_for_images

pytestmark = pytest.mark.browser

Photo = Callable[..., Path]
Snap = Callable[[Page, str], None]


def upload(page: Page, service: Deployment, photo: Photo, *file_names: str) -> str:
    page.goto(service.url)
    page.set_input_files("#choose-files", [photo(name) for name in file_names])
    wait_for_images(service, len(file_names))
    expect(page.locator("#upload-part")).to_be_hidden()
    wait_for_close(service)
    return str(only_batch(service)["id"])


def test_results_appear_one_by_one(page: Page, service: Deployment, photo: Photo, snap: Snap) -> None:
    service.clock.set(1_800_000_000.0)
    upload(page, service, photo, "dog.jpg", "owl.jpg", "torn.jpg")
    page.evaluate("window.sameDocument = true")
    service.tag("owl.jpg", {"great grey owl": 0.97, "kite": 0.02})
    expect(card(page, "owl.jpg").locator(".tag")).to_have_text(["great grey owl 97%", "kite 2%"])
    expect(page.locator("#batch-counts")).to_have_text("1 of 3 photos tagged")
    expect(card(page, "dog.jpg")).to_contain_text("Waiting for its turn")
    service.fail("torn.jpg", "torn.jpg: the image is damaged: its data ends too early")
    expect(card(page, "torn.jpg")).to_contain_text("The image is damaged: its data ends too early")
    expect(page.locator("#batch-counts")).to_have_text("1 of 3 photos tagged, 1 failed")
    service.clock.advance(4)
    service.tag("dog.jpg", {"golden retriever": 0.61})
    expect(page.locator("#batch-counts")).to_have_text("2 photos tagged, 1 failed")
    expect(page.locator("#batch-pace")).to_have_text("took 4 s, 0.8 images/s")
    assert page.evaluate("window.sameDocument")
    snap(page, "results")


def test_bars_are_as_long_as_the_tag_is_sure(page: Page, service: Deployment, photo: Photo) -> None:
    upload(page, service, photo, "dog.jpg")
    service.tag("dog.jpg", {"dog": 0.5, "caption only": None, "hint": 0.001})
    rows = card(page, "dog.jpg").locator(".tag")
    expect(rows).to_have_text(["dog 50%", "caption only", "hint <1%"])
    share = "(row) => row.querySelector('.tag-bar').offsetWidth / row.offsetWidth"
    assert rows.nth(0).evaluate(share) == pytest.approx(0.5, abs=0.02)
    expect(rows.nth(1).locator(".tag-bar")).to_have_count(0)


def test_an_image_without_a_certain_tag_says_so(page: Page, service: Deployment, photo: Photo) -> None:
    upload(page, service, photo, "grey.jpg")
    service.tag("grey.jpg")
    expect(card(page, "grey.jpg")).to_contain_text("No tag is certain enough.")


def test_a_reload_in_the_middle_finds_the_batch(page: Page, service: Deployment, photo: Photo) -> None:
    upload(page, service, photo, "a.jpg", "b.jpg")
    service.tag("a.jpg", {"dog": 0.9})
    page.reload()
    expect(card(page, "a.jpg").locator(".tag")).to_have_text(["dog 90%"])
    expect(card(page, "a.jpg").locator("img")).to_have_attribute(
        "src", f"/api/v1/images/{items(service)[0]['image_id']}/thumbnail"
    )
    service.tag("b.jpg", {"cat": 0.8})
    expect(card(page, "b.jpg").locator(".tag")).to_have_text(["cat 80%"])
    expect(page.locator("#batch-counts")).to_have_text("2 photos tagged")


def test_a_link_shows_a_completed_batch_in_another_browser(page: Page, service: Deployment) -> None:
    batch_id = service.add_batch("holiday", numbered(2500))  # three pages of results
    service.tagger.answer = lambda _photo: {"dog": 0.9}
    service.close_batch(batch_id)
    page.goto(f"{service.url}/batches/{batch_id}")
    expect(page.locator("#filter-status")).to_contain_text("Tagged 2,500")
    expect(page.locator("#batch-counts")).to_have_text("2,500 photos tagged")
    assert service.faults.count("/events") == 0
    assert page.locator(".card").count() < 100


def test_scrolling_through_thousands_draws_only_what_is_near(page: Page, service: Deployment) -> None:
    batch_id = service.add_batch("holiday", numbered(5000))
    service.close_batch(batch_id)
    page.goto(f"{service.url}/batches/{batch_id}")
    expect(page.locator("#filter-status")).to_contain_text("Waiting 5,000")
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    last = page.locator('.card-name[title="photo-04999.jpg"]')
    expect(last).to_be_in_viewport()
    expect(page.locator('.card-name[title="photo-00000.jpg"]')).to_have_count(0)
    assert page.locator(".card").count() < 100


def test_a_broken_stream_goes_on_where_it_ended(page: Page, service: Deployment, photo: Photo, console: Any) -> None:
    console.expect_lost_connections()
    upload(page, service, photo, "a.jpg", "b.jpg")
    service.tag("a.jpg", {"dog": 0.9})
    expect(card(page, "a.jpg").locator(".tag")).to_have_count(1)
    service.stop()
    service.tag("b.jpg", {"cat": 0.8})
    expect(page.locator(".banner")).to_contain_text("does not answer")
    service.start()
    expect(card(page, "b.jpg").locator(".tag")).to_have_text(["cat 80%"])
    expect(page.locator(".banner")).to_have_count(0)


def test_without_streams_the_page_asks(page: Page, service: Deployment, photo: Photo, console: Any) -> None:
    console.expect("status of 503")
    service.faults.refuses_next("/events", 503, "No streams today.", times=None)
    upload(page, service, photo, "a.jpg", "b.jpg")
    service.tag("a.jpg", {"dog": 0.9})
    expect(card(page, "a.jpg").locator(".tag")).to_have_text(["dog 90%"])
    service.tag("b.jpg", {"cat": 0.8})
    expect(page.locator("#batch-counts")).to_have_text("2 photos tagged")


def test_filters(page: Page, service: Deployment, photo: Photo) -> None:
    upload(page, service, photo, "a.jpg", "b.jpg", "c.jpg", "d.jpg")
    service.tag("a.jpg", {"dog": 0.9})
    service.tag("b.jpg", {"cat": 0.8, "dog": 0.1})
    service.fail("c.jpg", "c.jpg is empty")
    expect(page.locator("#filter-status")).to_have_text("All 4 Tagged 2 Failed 1 Waiting 1", use_inner_text=True)
    page.get_by_role("button", name="Failed 1").click()
    expect(page.locator(".card-name")).to_have_text(["c.jpg"])
    page.get_by_role("button", name="All 4").click()
    page.get_by_role("searchbox").fill("DOG")
    expect(page.locator(".card-name")).to_have_text(["a.jpg", "b.jpg"])
    page.get_by_role("searchbox").fill("no such tag")
    expect(page.locator("#results-empty")).to_have_text("No photos match this filter.")
    page.get_by_role("searchbox").fill("")
    page.locator(".chip", has_text="cat").click()
    expect(page.locator(".card-name")).to_have_text(["b.jpg"])


def test_one_photo_in_full(page: Page, service: Deployment, photo: Photo) -> None:
    service.clock.set(1_800_000_000.0)
    upload(page, service, photo, "a.jpg", "b.jpg")
    service.clock.advance(0.812)
    service.tag("a.jpg", {f"tag {n}": 0.9 - n / 10 for n in range(7)})
    service.fail("b.jpg", "b.jpg is empty")
    expect(card(page, "a.jpg").locator(".tag")).to_have_count(5)
    page.locator(".card-name").first.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog.locator(".tag")).to_have_count(7)
    expect(dialog).to_contain_text("waited 0.8 s, tagged in 0.1 s")
    page.keyboard.press("ArrowRight")
    expect(dialog).to_contain_text("b.jpg is empty")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()


def test_recent_batches_are_listed_with_their_progress(page: Page, service: Deployment, photo: Photo) -> None:
    for n in range(14):
        service.add_batch(f"batch {n}", numbered(2))
    page.goto(service.url)
    rows = page.locator("#recent-list .recent-row")
    expect(rows).to_have_count(12)
    expect(rows.first).to_contain_text("batch 13")
    expect(rows.first).to_contain_text("0 of 2 tagged, upload not finished")
    page.get_by_role("link", name="All batches").click()
    rows = page.locator("#all-batches .recent-row")
    expect(rows).to_have_count(14)
    expect(page.locator("#batches-about")).to_have_text("14 batches")
    rows.first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("batch 13")
    page.get_by_role("button", name="Finish this batch").click()
    expect(page.locator("#batch-open")).to_be_hidden()
    page.get_by_role("link", name="Tagfleet").click()
    expect(page.locator("#recent-list .recent-row").first).to_contain_text("0 of 2 tagged")


def test_a_link_to_nothing_says_so(page: Page, service: Deployment, console: Any) -> None:
    console.expect("status of 404")
    page.goto(f"{service.url}/batches/bat_none")
    expect(page.get_by_text("there is no batch 'bat_none'")).to_be_visible()
    expect(page.get_by_role("heading", level=1)).to_have_text("Batch not found")
