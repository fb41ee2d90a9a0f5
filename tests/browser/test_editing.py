"""Tags corrected by people: one photo or many, by mouse or keyboard, and taken back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tagfleet.testing import Deployment
from tests.browser.helpers import batches, card, numbered, wait_for_images

pytestmark = pytest.mark.browser

Photo = Callable[..., Path]
Snap = Callable[[Page, str], None]


def tags(page: Page, name: str) -> Any:
    return card(page, name).locator(".tag")


@pytest.fixture
def batch(page: Page, service: Deployment, photo: Photo) -> str:
    """Four photos of one batch, three of them tagged."""
    batch_id = service.add_batch("holiday")
    for number, name in enumerate(["a.jpg", "b.jpg", "c.jpg", "d.jpg"]):
        service.add_photos(batch_id, {name: photo(name, (60 * number, 90, 120)).read_bytes()})
    service.tag("a.jpg", {"dog": 0.9, "wolf": 0.2})
    service.tag("b.jpg", {"dog": 0.6}, boxes={"dog": [[0.25, 0.25, 0.5, 0.5]]})
    service.tag("c.jpg", {"cat": 0.95})
    service.fail("d.jpg", "d.jpg: the image is damaged")
    service.close_batch(batch_id)
    page.goto(f"{service.url}/batches/{batch_id}")
    expect(page.locator(".card")).to_have_count(4)
    return batch_id


def test_many_photos_get_a_tag_and_lose_it_again(page: Page, batch: str, service: Deployment, snap: Snap) -> None:
    card(page, "a.jpg").get_by_role("checkbox").check()
    card(page, "c.jpg").get_by_role("checkbox").click(modifiers=["Shift"])
    expect(page.locator("#selected-count")).to_have_text("3 photos selected")
    field = page.get_by_role("combobox", name="Add a tag to the selected photos")
    field.fill("holiday 2026")
    field.press("Enter")
    expect(page.locator("#edited-text")).to_have_text("Added “holiday 2026” to 3 photos.")
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        expect(tags(page, name).last).to_have_text("holiday 2026 by hand")
    snap(page, "selected")
    page.locator("#selected-tags").get_by_role("button", name="dog").click()
    expect(tags(page, "b.jpg")).to_have_text(["holiday 2026 by hand"])
    expect(tags(page, "c.jpg")).to_have_text(["cat 95%", "holiday 2026 by hand"])
    page.get_by_role("button", name="Undo").click()
    expect(tags(page, "b.jpg")).to_have_text(["dog 60%", "holiday 2026 by hand"])
    page.keyboard.press("Control+z")
    expect(tags(page, "b.jpg")).to_have_text(["dog 60%"])


def test_by_keyboard_alone(page: Page, batch: str) -> None:
    card(page, "a.jpg").locator(".card-name").focus()
    page.keyboard.press("ArrowRight")
    expect(card(page, "b.jpg").locator(".card-name")).to_be_focused()
    page.keyboard.press("Shift+ArrowRight")
    expect(page.locator("#selected-count")).to_have_text("2 photos selected")
    page.keyboard.press("t")
    page.keyboard.type("w")
    expect(page.locator("#selected-add").get_by_role("option")).to_have_text(["wolf 1"])
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(tags(page, "b.jpg")).to_have_text(["dog 60%", "wolf by hand"])
    expect(tags(page, "c.jpg")).to_have_text(["cat 95%", "wolf by hand"])
    page.keyboard.press("Control+z")
    expect(tags(page, "c.jpg")).to_have_text(["cat 95%"])
    page.keyboard.press("Escape")
    card(page, "a.jpg").locator(".card-name").focus()
    page.keyboard.press("Escape")
    expect(page.locator("#selected")).to_be_hidden()
    page.keyboard.press("Control+a")
    expect(page.locator("#selected-count")).to_have_text("3 photos selected")
    page.keyboard.press("x")
    expect(page.locator("#selected-count")).to_have_text("2 photos selected")


def test_keys_on_a_photo_just_opened_change_nothing(page: Page, batch: str) -> None:
    card(page, "a.jpg").locator(".card-name").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("heading", name="a.jpg")).to_be_focused()
    page.keyboard.press("Backspace")
    page.keyboard.press("Delete")
    page.keyboard.press("ArrowRight")
    expect(dialog.get_by_role("heading", name="b.jpg")).to_be_visible()
    page.keyboard.press("ArrowLeft")
    expect(dialog.locator(".tag")).to_have_text(["dog 90%✓×", "wolf 20%✓×"])


def test_arrow_keys_work_after_the_focused_tag_has_gone(page: Page, batch: str) -> None:
    card(page, "c.jpg").locator(".card-name").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name=": correct").first.focus()
    page.keyboard.press("ArrowRight")
    expect(dialog.get_by_role("heading", name="d.jpg")).to_be_visible()
    expect(dialog.locator(".tag")).to_have_count(0)
    page.keyboard.press("ArrowLeft")
    expect(dialog.get_by_role("heading", name="c.jpg")).to_be_visible()


def test_one_photos_tags_are_confirmed_corrected_and_removed(page: Page, batch: str, snap: Snap) -> None:
    card(page, "a.jpg").locator(".card-name").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="wolf: correct").click()
    field = dialog.get_by_role("textbox", name="Correct wolf")
    field.fill("husky")
    field.press("Enter")
    expect(dialog.locator(".tag")).to_have_text(["dog 90%✓×", "husky by hand×"])
    dialog.get_by_role("button", name="Confirm dog").click()
    expect(dialog.locator(".tag")).to_have_text(["dog by hand×", "husky by hand×"])
    dialog.get_by_role("button", name="dog: correct").focus()
    page.keyboard.press("Delete")
    expect(dialog.locator(".tag")).to_have_text(["husky by hand×"])
    page.keyboard.press("t")
    page.keyboard.type("snow")
    page.keyboard.press("Enter")
    expect(dialog.locator(".tag")).to_have_text(["husky by hand×", "snow by hand×"])
    snap(page, "detail")
    dialog.get_by_role("button", name="Undo").click()
    expect(dialog.locator(".tag")).to_have_text(["husky by hand×"])
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(tags(page, "a.jpg")).to_have_text(["husky by hand"])


def test_escape_leaves_only_the_field(page: Page, batch: str) -> None:
    card(page, "c.jpg").locator(".card-name").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="cat: correct").click()
    page.keyboard.press("Escape")
    expect(dialog.get_by_role("button", name="cat: correct")).to_be_focused()
    expect(dialog).to_be_visible()


def test_boxes_lie_where_the_thing_is(page: Page, batch: str, snap: Snap) -> None:
    expect(card(page, "b.jpg").locator(".boxes rect")).to_have_count(1)
    card(page, "b.jpg").locator(".card-name").click()
    rect = page.locator("#detail-picture .boxes rect")
    shown = {name: rect.get_attribute(name) for name in ("x", "y", "width", "height")}
    assert shown == {"x": "16", "y": "12", "width": "32", "height": "24"}  # of 64 x 48 pixels
    picture, box = page.locator("#detail-image").bounding_box(), rect.bounding_box()
    assert picture
    assert box
    assert box["x"] + box["width"] / 2 == pytest.approx(picture["x"] + picture["width"] / 2, abs=2)
    page.get_by_role("button", name="dog: correct").focus()
    expect(page.locator("#detail-picture .is-meant")).to_have_count(1)
    snap(page, "boxes")


def test_an_edit_that_is_refused_says_so(page: Page, batch: str, service: Deployment, console: Any) -> None:
    console.expect("status of 500")
    service.faults.answers_next("/tags", 500, method="PATCH")
    card(page, "a.jpg").get_by_role("checkbox").check()
    page.locator("#selected-add input").fill("x")
    page.locator("#selected-add input").press("Enter")
    expect(page.locator("#edited-text")).to_contain_text("Not saved:")


def test_confidence_filters_and_orders(page: Page, batch: str) -> None:
    names = page.locator(".card-name")
    page.get_by_role("slider", name="Confidence").fill("70")
    expect(page.locator("#filter-sure-value")).to_have_text("70% or more")
    expect(names).to_have_text(["a.jpg", "c.jpg", "d.jpg"])  # the failed one has no confidence to be held to
    expect(tags(page, "a.jpg")).to_have_text(["dog 90%"])
    page.get_by_role("slider", name="Confidence").fill("0")
    page.get_by_label("Order").select_option("Most certain first")
    expect(names).to_have_text(["c.jpg", "a.jpg", "b.jpg", "d.jpg"])
    page.get_by_label("Order").select_option("Least certain first")
    expect(names).to_have_text(["b.jpg", "a.jpg", "c.jpg", "d.jpg"])


def test_a_failed_photo_is_tried_again(page: Page, batch: str, service: Deployment) -> None:
    expect(card(page, "d.jpg")).to_contain_text("The image is damaged")
    card(page, "d.jpg").get_by_role("button", name="Try again").click()
    expect(card(page, "d.jpg")).to_contain_text("Waiting for its turn")
    service.tag("d.jpg", {"bird": 0.8})
    expect(tags(page, "d.jpg")).to_have_text(["bird 80%"])
    expect(page.locator("#batch-retry")).to_be_hidden()


def test_cancel_keeps_what_is_there(page: Page, service: Deployment) -> None:
    batch_id = service.add_batch("holiday", numbered(3))
    service.tag("photo-00000.jpg", {"dog": 0.9})
    page.goto(f"{service.url}/batches/{batch_id}")
    page.get_by_role("button", name="Cancel tagging").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel tagging").click()
    expect(page.locator("#batch-counts")).to_have_text("Cancelled: 1 of 3 photos tagged")
    expect(card(page, "photo-00001.jpg")).to_contain_text("Cancelled")
    expect(tags(page, "photo-00000.jpg")).to_have_text(["dog 90%"])
    page.get_by_role("button", name="Cancelled 2").click()
    expect(page.locator(".card")).to_have_count(2)


def test_deletion_asks_first(page: Page, batch: str, service: Deployment) -> None:
    page.get_by_role("button", name="Delete").click()
    dialog = page.get_by_role("dialog", name="Delete this batch?")
    expect(dialog).to_contain_text("4 photos with all tags")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    assert [one["id"] for one in batches(service)] == [batch]
    page.get_by_role("button", name="Delete").click()
    dialog.get_by_role("button", name="Delete").click()
    expect(page.locator("#recent-empty")).to_be_visible()
    assert batches(service) == []


def test_exports(page: Page, batch: str) -> None:
    page.get_by_text("Export").click()
    for link, ending in (("CSV", "csv"), ("JSONL", "jsonl"), ("COCO", "coco.json"), ("XMP", "xmp.zip")):
        with page.expect_download() as download:
            page.get_by_role("link", name=link).click()
        assert download.value.suggested_filename == f"holiday.{ending}"
        page.get_by_text("Export").click()


def test_files_that_are_here_already_are_not_sent_again(page: Page, service: Deployment, photo: Photo) -> None:
    old = service.add_batch("before")
    service.add_photos(old, {"other name.jpg": photo("a.jpg").read_bytes()})
    page.goto(service.url)
    page.set_input_files("#choose-files", [photo("a.jpg"), photo("b.jpg", (1, 2, 3))])
    expect(page.locator("#batch-pace")).to_have_text("1 photo recognised, not uploaded again")
    expect(page.locator(".card-name")).to_have_text(["a.jpg", "b.jpg"])
    wait_for_images(service, 3)
    assert service.faults.uploads()[-1:] == [["b.jpg"]]


def test_search_over_all_batches(page: Page, service: Deployment, snap: Snap) -> None:
    first, second = (service.add_batch(title) for title in ("one", "two"))
    service.add_photos(first, {"a.jpg": b"a"})
    service.add_photos(second, {"b.jpg": b"b"})
    service.tag("a.jpg", {"dog": 0.9})
    service.tag("b.jpg", {"dog": 0.4, "cat": 0.8})
    page.goto(f"{service.url}/batches")
    expect(page.locator("#all-tags .chip")).to_have_text(["dog 2", "cat 1"])
    page.get_by_role("combobox", name="Find photos by tag").fill("do")
    page.get_by_role("option", name="dog").click()
    expect(page.locator("#found-about")).to_have_text("2 photos tagged “dog”")
    expect(page).to_have_url(f"{service.url}/batches?tag=dog")
    expect(page.locator("#found .card-name")).to_have_text(["a.jpg", "b.jpg"])
    snap(page, "search")
    page.get_by_role("slider", name="Confidence").fill("80")
    expect(page.locator("#found .card-name")).to_have_text(["a.jpg"])
    page.get_by_role("button", name="Show all batches").click()
    expect(page.locator("#all-batches .recent-row")).to_have_count(2)


def test_hostile_tags_are_only_text_wherever_they_show(page: Page, service: Deployment, photo: Photo) -> None:
    hostile = "<img src=x onerror=document.title='owned'>"
    batch_id = service.add_batch("holiday")
    service.add_photos(batch_id, {"a.jpg": photo("a.jpg").read_bytes()})
    service.tag("a.jpg", {hostile: 0.9}, boxes={hostile: [[0.1, 0.1, 0.5, 0.5]]})
    page.goto(f"{service.url}/batches/{batch_id}")
    card(page, "a.jpg").get_by_role("checkbox").check()
    page.locator("#selected-add input").fill("<")
    expect(page.locator("#selected-add").get_by_role("option")).to_have_text(f"{hostile} 1")
    page.keyboard.press("Escape")
    card(page, "a.jpg").locator(".card-name").click()
    expect(page.locator("#detail-picture text")).to_have_text(hostile)
    page.get_by_role("button", name=f"Remove {hostile}").click()
    expect(page.locator("#edited-text")).to_have_text(f"Removed “{hostile}”.")
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#detail-tags .tag")).to_have_count(1)
    page.goto(f"{service.url}/batches")
    page.locator("#all-tags .chip").click()
    expect(page.locator("#found-about")).to_have_text(f"1 photo tagged “{hostile}”")
    assert page.locator("img[src=x]").count() == 0
    assert "owned" not in page.title()
