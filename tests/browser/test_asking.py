"""Which tagger a batch asks and what for, and results without confidences: a caption, and boxes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tagfleet.testing import Deployment
from tests.browser.helpers import only_batch

pytestmark = pytest.mark.browser

Photo = Callable[..., Path]
CALL = """async ([name, args]) => (await import('/assets/js/asking.js'))[name](...args)"""


def asked(batch: dict[str, Any]) -> dict[str, Any]:
    """The options that were chosen."""
    return {name: value for name, value in batch["options"].items() if value}


def test_one_tagger_that_is_asked_nothing_is_no_choice(page: Page, service: Deployment, photo: Photo) -> None:
    with page.expect_response("**/api/v1/models"):
        page.goto(service.url)
    page.locator("#choose-files").set_input_files(photo("a.jpg"))
    batch = only_batch(service)
    assert (batch["tagger"], asked(batch)) == ("resnet50", {})
    expect(page.locator("#asking")).to_be_hidden()


@pytest.mark.parametrize("settings_of_service", [{"pools.pictures.tagger": "florence2"}])
def test_florence2_is_asked_what_is_chosen(page: Page, service: Deployment, photo: Photo, snap: Any) -> None:
    page.goto(service.url)
    expect(page.get_by_label("things, with boxes")).to_be_hidden()
    page.get_by_label("Tagger").select_option("pictures (florence2)")
    page.get_by_label("things, with boxes").uncheck()
    page.get_by_label("Look for").fill("red car,  traffic   light, red car,")
    snap(page, "asking")
    page.locator("#choose-files").set_input_files(photo("a.jpg"))
    batch = only_batch(service)
    assert batch["tagger"] == "pictures"
    assert asked(batch) == {"tasks": ["caption", "find"], "candidates": ["red car", "traffic light"]}
    expect(page.locator("#batch-about")).to_contain_text("pictures")


@pytest.mark.parametrize(
    ("tasks", "text", "wanted"),
    [
        ([], " , ", {}),
        (["detect"], "", {"tasks": ["detect"]}),
        ([], "a\nb;a", {"tasks": ["find"], "candidates": ["a", "b"]}),
    ],
)
def test_nothing_chosen_leaves_it_to_the_pool(
    page: Page, service: Deployment, tasks: list, text: str, wanted: dict
) -> None:
    page.goto(service.url)
    assert page.evaluate(CALL, ["questions", [tasks, text]]) == wanted


def test_a_caption_and_boxes_stand_without_made_up_confidences(
    page: Page, service: Deployment, photo: Photo, snap: Any
) -> None:
    batch_id = service.add_batch("holiday")
    for name in ("a.jpg", "b.jpg"):
        service.add_photos(batch_id, {name: photo(name).read_bytes()})
    boxes = {"dog": [[0.25, 0.25, 0.5, 0.5], [0, 0, 0.25, 0.25]], "ball": [[0.5, 0.5, 0.25, 0.25]]}
    service.tag("a.jpg", {"dog": None, "ball": None}, boxes=boxes, caption="Two dogs play with a ball.")
    service.tag("b.jpg", caption="A <b>blue</b> wall.")
    service.close_batch(batch_id)
    page.goto(f"{service.url}/batches/{batch_id}")
    first, second = page.locator(".card").first, page.locator(".card").last
    expect(first.locator(".tag")).to_have_text(["dog", "ball"])
    expect(first.locator(".card-status")).to_have_text("Two dogs play with a ball.")
    expect(first.locator(".boxes rect")).to_have_count(3)
    expect(second.locator(".card-status")).to_have_text("A <b>blue</b> wall.")
    page.get_by_role("slider", name="Confidence").fill("90")
    expect(first.locator(".tag")).to_have_count(2)
    first.locator(".card-name").click()
    expect(page.locator("#detail-caption")).to_have_text("Two dogs play with a ball.")
    expect(page.locator("#detail-picture .boxes rect")).to_have_count(3)
    expect(page.locator("#detail-picture .boxes text")).to_have_text(["dog", "dog", "ball"])
    expect(page.locator("#detail-tags")).not_to_contain_text("%")
    snap(page, "caption")
