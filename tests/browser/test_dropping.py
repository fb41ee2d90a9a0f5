"""How photos get onto the page."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tagfleet.testing import Deployment
from tests.browser.helpers import BATCH_URL, batches, items, numbered, wait_for_images

pytestmark = pytest.mark.browser

Photo = Callable[..., Path]

DROP = """([name, type, base64]) => {
  const transfer = new DataTransfer();
  const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  transfer.items.add(new File([bytes], name, { type }));
  for (const kind of ['dragenter', 'dragover', 'drop']) {
    window.dispatchEvent(new DragEvent(kind, { dataTransfer: transfer, bubbles: true, cancelable: true }));
  }
}"""

PASTE = """(base64) => {
  const transfer = new DataTransfer();
  const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  transfer.items.add(new File([bytes], 'image.png', { type: 'image/png' }));
  window.dispatchEvent(new ClipboardEvent('paste', { clipboardData: transfer, bubbles: true }));
}"""


def drop_from_desktop(page: Page, *paths: Path) -> None:
    """What a file manager does: real folders, which no script can make."""
    session = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, "x": 200, "y": 300, "data": data})


def names(page: Page) -> Any:
    return page.locator(".card-name")


def test_chosen_files_become_a_batch_with_its_own_address(page: Page, service: Deployment, photo: Photo) -> None:
    page.goto(service.url)
    page.set_input_files("#choose-files", [photo("b.jpg"), photo("a.jpg")])
    expect(page).to_have_url(BATCH_URL)
    expect(names(page)).to_have_text(["a.jpg", "b.jpg"])
    expect(page.get_by_role("heading", level=1)).to_have_text("b.jpg and 1 more")
    expect(page.locator("#batch-counts")).to_have_text("0 of 2 photos tagged")
    wait_for_images(service, 2)


def test_the_buttons_open_the_choosers(page: Page, service: Deployment, photo: Photo) -> None:
    page.goto(service.url)
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose photos").click()
    assert chooser.value.is_multiple()
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose a folder").click()
    photo("a.jpg")
    chooser.value.set_files(photo("b.jpg").parent)
    expect(names(page)).to_have_text(["a.jpg", "b.jpg"])


def test_a_dropped_file(page: Page, service: Deployment, photo: Photo) -> None:
    page.goto(service.url)
    page.evaluate(DROP, ["owl.jpg", "image/jpeg", base64.b64encode(photo("owl.jpg").read_bytes()).decode()])
    expect(names(page)).to_have_text(["owl.jpg"])


def test_files_dropped_from_a_file_manager(page: Page, service: Deployment, photo: Photo) -> None:
    page.goto(service.url)
    drop_from_desktop(page, photo("a.jpg"), photo("b.jpg"))
    expect(names(page)).to_have_text(["a.jpg", "b.jpg"])


def test_a_dropped_folder_is_walked_to_its_last_file(page: Page, service: Deployment, photo: Photo) -> None:
    folder = photo("holiday/first.jpg").parent
    for n in range(120):  # a reader of folders hands out 100 at a time
        photo(f"holiday/beach/{n:03}.jpg")
    (folder / ".DS_Store").write_bytes(b"system")
    (folder / "Thumbs.db").write_bytes(b"system")
    page.goto(service.url)
    drop_from_desktop(page, folder)
    wait_for_images(service, 121)
    assert {item["name"] for item in items(service)} == {
        "holiday/first.jpg",
        *(f"holiday/beach/{n:03}.jpg" for n in range(120)),
    }
    expect(page.get_by_role("heading", level=1)).to_have_text("holiday")
    expect(names(page).first).to_have_attribute("title", "holiday/beach/000.jpg")


def test_a_chosen_folder_keeps_its_name(page: Page, service: Deployment, photo: Photo) -> None:
    photo("holiday/a.jpg")
    page.goto(service.url)
    page.set_input_files("#choose-folder", photo("holiday/b.jpg").parent)
    wait_for_images(service, 2)
    assert {item["name"] for item in items(service)} == {"holiday/a.jpg", "holiday/b.jpg"}


def test_a_folder_of_nothing_says_so(page: Page, service: Deployment, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    page.goto(service.url)
    drop_from_desktop(page, empty)
    expect(page.locator("#gathering")).to_have_text("This folder is empty.")
    assert batches(service) == []


def test_a_pasted_image_gets_a_name(page: Page, service: Deployment, photo: Photo) -> None:
    page.goto(service.url)
    page.evaluate(PASTE, base64.b64encode(photo("a.jpg").read_bytes()).decode())
    expect(names(page)).to_have_text([re.compile(r"^Pasted 20\d\d-.*\.png$")])


def test_more_photos_dropped_on_an_open_batch_join_it(page: Page, service: Deployment, photo: Photo) -> None:
    batch_id = service.add_batch("holiday", numbered(1))
    page.goto(f"{service.url}/batches/{batch_id}")
    expect(page.locator("#batch-open-text")).to_contain_text("This batch is still open")
    page.set_input_files("#choose-files", [photo("z.jpg")])
    expect(names(page)).to_have_text(["photo-00000.jpg", "z.jpg"])
    expect(page.locator("#batch-open")).to_be_hidden()
    assert len(batches(service)) == 1


def test_the_same_photos_again_are_stored_once(page: Page, service: Deployment, photo: Photo) -> None:
    batch_id = service.add_batch("holiday")
    service.add_photos(batch_id, {"a.jpg": photo("a.jpg").read_bytes()})
    page.goto(f"{service.url}/batches/{batch_id}")
    expect(names(page)).to_have_text(["a.jpg"])
    page.set_input_files("#choose-files", [photo("a.jpg"), photo("b.jpg", (1, 2, 3))])
    expect(names(page)).to_have_text(["a.jpg", "b.jpg"])
    expect(page.locator("#batch-pace")).to_contain_text("1 photo skipped: already in this batch")
