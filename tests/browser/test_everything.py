"""The page over a whole `tagfleet up`: real workers, real tags."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from bench.deployment import Deployment

pytestmark = [pytest.mark.browser, pytest.mark.e2e]

Snap = Callable[[Page, str], None]

SETTINGS = {
    "TAGFLEET_POOLS__RESNET50__TAGGER": "efficientnet-lite0",
    "TAGFLEET_POOLS__RESNET50__FALLBACK": "",
}
"""A tagger whose weights come with a package."""


@pytest.fixture
def url(tmp_path: Path, engine_cache: Path) -> Iterator[str]:
    deployment = Deployment(tmp_path / "home", {**SETTINGS, "TAGFLEET_CACHE": str(engine_cache)})
    try:
        deployment.start()
        yield deployment.url
        deployment.stop()
    finally:
        deployment.kill_everything()


def test_photos_get_the_tags_that_people_expect(url: str, page: Page, data: Path, snap: Snap) -> None:
    photos = sorted(data.glob("photos/*.jpg"))
    page.goto(url)
    page.set_input_files("#choose-files", [*photos, data / "odd" / "broken.png"])
    expect(page.locator("#batch-counts")).to_have_text(f"{len(photos)} photos tagged, 1 failed", timeout=300_000)
    for name, tag in (("parrot.jpg", "Macaw"), ("hot_dog.jpg", "Hotdog")):
        first = page.locator(f'.card:has([title="{name}"]) .tag-name').first
        expect(first).to_have_text(tag)
    expect(page.locator(".card[data-phase=failed] .card-name")).to_have_text("broken.png")
    expect(page.locator(".card[data-phase=failed] .card-status")).not_to_be_empty()
    snap(page, "everything")
    page.get_by_role("link", name="Fleet", exact=True).click()
    expect(page.locator("tbody tr").first).to_contain_text("efficientnet-lite0")
    snap(page, "everything-fleet")
