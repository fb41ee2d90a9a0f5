"""The registry's models on the page: their cards, and which version a name means."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from web_tier.api.schemas import example_of
from web_tier.api.schemas.models import Registered

pytestmark = pytest.mark.browser

Snap = Callable[[Page, str], None]

MODEL = example_of(Registered)
OLDER = MODEL | {"reference": "coco80@0badcafe", "version": "0badcafe", "default": False, "metrics": {"mAP": 0.71}}


def test_a_model_shows_its_card_and_can_become_the_default(page: Page, service: Any, snap: Snap) -> None:
    service.show_fleet()
    service.registered = [MODEL, OLDER]
    page.set_viewport_size({"width": 360, "height": 800})
    page.goto(f"{service.url}/fleet")
    rows = page.locator("#registry-models li")
    expect(rows).to_contain_text(["coco80@1a2b3c4d, the default", "coco80@0badcafe"])
    expect(rows.first).to_contain_text("any of 80 labels, torchvision/resnet50, 95 MB")
    rows.first.get_by_text("Card").click()
    expect(rows.first).to_contain_text("mAP0.76")
    expect(rows.first.locator(".model-card")).to_contain_text("What it was trained on")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    page.locator("#registry-title").scroll_into_view_if_needed()
    snap(page, "registry-narrow")
    page.set_viewport_size({"width": 1200, "height": 800})
    snap(page, "registry")
    expect(page.get_by_role("button", name="Make coco80@1a2b3c4d the default")).to_be_hidden()
    page.get_by_role("button", name="Make coco80@0badcafe the default").click()
    page.get_by_role("dialog").get_by_role("button", name="Make default").click()
    expect(rows.nth(1)).to_contain_text(", the default")
    expect(page.get_by_role("button", name="Make coco80@1a2b3c4d the default")).to_be_visible()


def test_without_models_nothing_is_said_of_them(page: Page, service: Any) -> None:
    service.show_fleet()
    with page.expect_response("**/models/registered"):
        page.goto(f"{service.url}/fleet")
    expect(page.locator("#registry")).to_be_hidden()
