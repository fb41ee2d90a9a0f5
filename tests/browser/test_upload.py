"""Uploading: groups, progress, and what happens when the server will not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tagfleet.testing import Deployment
from tests.browser.helpers import batches, card, numbered, only_batch, wait_for_close, wait_for_images

pytestmark = pytest.mark.browser

Photo = Callable[..., Path]


def test_small_files_travel_together_and_the_batch_is_closed(page: Page, service: Deployment, photo: Photo) -> None:
    with service.faults.hold("/images", method="POST"):
        page.goto(service.url)
        page.set_input_files("#choose-files", [photo(f"{n:02}.jpg") for n in range(40)])
        expect(page.locator("#upload-counts")).to_have_text("Uploading 0 of 40")
        expect(card(page, "00.jpg")).to_contain_text("Uploading")
        expect(card(page, "39.jpg")).to_have_count(0)  # out of sight, so not drawn
    wait_for_images(service, 40)
    expect(page.locator("#upload-part")).to_be_hidden()
    assert [len(names) for names in service.faults.uploads()] == [8, 8, 8, 8, 8]
    wait_for_close(service)


def test_a_busy_server_is_asked_again(page: Page, service: Deployment, photo: Photo, console: Any) -> None:
    console.expect("status of 503")
    service.faults.refuses_next("/images", 503, "The disk of the store is full.", times=2)
    page.goto(service.url)
    page.set_input_files("#choose-files", [photo("a.jpg")])
    expect(card(page, "a.jpg")).to_contain_text("The disk of the store is full. Trying again.")
    expect(card(page, "a.jpg")).to_contain_text("Waiting for its turn")
    wait_for_close(service)


def test_a_refused_file_says_why_and_spares_the_others(
    page: Page, service: Deployment, photo: Photo, console: Any
) -> None:
    console.expect("status of 413")
    service.faults.refuses_next("/images", 413, "The request is too large.")
    service.faults.refuses_next("/images", 413, "a.jpg is larger than 64 MB.")
    page.goto(service.url)
    page.set_input_files("#choose-files", [photo("a.jpg"), photo("b.jpg")])
    expect(card(page, "a.jpg")).to_contain_text("a.jpg is larger than 64 MB.")
    expect(card(page, "b.jpg")).to_contain_text("Waiting for its turn")
    service.tag("b.jpg", {"dog": 0.9})
    expect(page.locator("#batch-counts")).to_have_text("1 photo tagged, 1 failed")


def test_a_batch_closed_elsewhere_refuses(page: Page, service: Deployment, photo: Photo, console: Any) -> None:
    console.expect("status of 409")
    batch_id = service.add_batch("holiday", numbered(1))
    with service.faults.hold("/events"):  # so that the page does not hear of it
        page.goto(f"{service.url}/batches/{batch_id}")
        expect(page.locator("#batch-open")).to_be_visible()
        service.close_batch(batch_id)
        page.set_input_files("#choose-files", [photo("a.jpg")])
        expect(card(page, "a.jpg")).to_contain_text("is closed")


def test_a_file_beyond_what_a_request_may_hold_is_not_sent(
    page: Page, service: Deployment, photo: Photo, tmp_path: Path
) -> None:
    huge = tmp_path / "huge.tif"
    huge.write_bytes(bytes(2_000_000))
    page.goto(service.url)
    page.set_input_files("#choose-files", [huge, photo("a.jpg")])
    expect(card(page, "huge.tif")).to_contain_text("Too large to upload.")
    expect(card(page, "a.jpg")).to_contain_text("Waiting for its turn")
    wait_for_close(service)


def test_given_up_files_wait_for_their_owner(page: Page, service: Deployment, photo: Photo, console: Any) -> None:
    console.expect("status of 503")
    page.clock.install()
    service.faults.refuses_next("/images", 503, "The store is away.", times=6)
    page.goto(service.url)
    page.set_input_files("#choose-files", [photo("a.jpg")])
    notice = page.locator("#batch-open-text")
    while not notice.is_visible():  # bounded by the test's timeout
        page.clock.run_for(500)  # the pauses between its attempts
    expect(notice).to_have_text("1 file could not be uploaded.")
    assert not only_batch(service)["closed_at"]
    page.locator("#batch-again").click()
    expect(card(page, "a.jpg")).to_contain_text("Waiting for its turn")
    expect(page.locator("#batch-open")).to_be_hidden()


def test_a_server_that_goes_away_is_waited_for(page: Page, service: Deployment, photo: Photo, console: Any) -> None:
    console.expect_lost_connections()
    page.goto(service.url)
    expect(page.locator("#recent-empty")).to_be_visible()
    service.stop()
    page.set_input_files("#choose-files", [photo("a.jpg")])
    expect(page.locator(".banner")).to_contain_text("Tagfleet does not answer at 127.0.0.1")
    service.start()
    expect(card(page, "a.jpg")).to_contain_text("Waiting for its turn")
    expect(page.locator(".banner")).to_have_count(0)
    assert len(batches(service)) == 1


def test_looking_elsewhere_does_not_stop_an_upload(page: Page, service: Deployment, photo: Photo) -> None:
    with service.faults.hold("/images", method="POST"):
        page.goto(service.url)
        page.set_input_files("#choose-files", [photo(f"{n}.jpg") for n in range(30)])
        expect(page.locator("#upload-counts")).to_have_text("Uploading 0 of 30")
        page.get_by_role("link", name="Fleet", exact=True).click()
        expect(page.get_by_role("heading", name="Workers")).to_be_visible()
    wait_for_images(service, 30)
    page.go_back()
    expect(page.locator("#batch-counts")).to_have_text("0 of 30 photos tagged")
    assert len(batches(service)) == 1
