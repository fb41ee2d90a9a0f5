"""The page over a whole `tagfleet up`: real workers, real tags."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.e2e]

Snap = Callable[[Page, str], None]

SETTINGS = {
    "TAGFLEET_PORT": "0",
    "TAGFLEET_POOLS__RESNET50__TAGGER": "efficientnet-lite0",
    "TAGFLEET_POOLS__RESNET50__FALLBACK": "",
}
"""A tagger whose weights come with a package."""


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    ours = {"TAGFLEET_HOME": str(tmp_path / "home"), "TAGFLEET_CACHE": str(tmp_path / "cache"), "PYTHONUNBUFFERED": "1"}
    environ = {name: value for name, value in os.environ.items() if not name.startswith("TAGFLEET_")}
    command = [sys.executable, "-m", "tagfleet", "up"]
    said = ""
    with subprocess.Popen(
        command, env=environ | SETTINGS | ours, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as up:
        assert up.stdout
        while not (found := re.search(r"Tagfleet is at (http://\S+)", said)):
            line = up.stdout.readline()
            assert line, f"it ended: {said}"
            said += line
        yield found.group(1)
        up.send_signal(signal.SIGINT)
        up.communicate(timeout=20)


@pytest.mark.timeout(300)
def test_photos_get_the_tags_that_people_expect(url: str, page: Page, data: Path, snap: Snap) -> None:
    photos = sorted(data.glob("photos/*.jpg"))
    page.goto(url)
    page.set_input_files("#choose-files", [*photos, data / "odd" / "broken.png"])
    expect(page.locator("#batch-counts")).to_have_text(f"{len(photos)} photos tagged, 1 failed", timeout=180_000)
    for name, tag in (("parrot.jpg", "macaw"), ("hot_dog.jpg", "hotdog")):
        first = page.locator(f'.card:has([title="{name}"]) .tag-name').first
        expect(first).to_have_text(tag)
    expect(page.locator(".card[data-phase=failed] .card-name")).to_have_text("broken.png")
    expect(page.locator(".card[data-phase=failed] .card-status")).not_to_be_empty()
    snap(page, "everything")
    page.get_by_role("link", name="Fleet", exact=True).click()
    expect(page.locator("tbody tr").first).to_contain_text("efficientnet-lite0")
    snap(page, "everything-fleet")
