"""The registry's models on the page: their cards, and which version a name means."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from core.storage.models import Input, Manifest, Registry, sha256_of
from tagfleet.testing import Deployment
from tests.browser.at_work import show_fleet

pytestmark = pytest.mark.browser

Snap = Callable[[Page, str], None]

CARD = "# coco80\n\nWhat it was trained on, and what for."


def add_model(service: Deployment, folder: Path, mean: float, made_at: float) -> Manifest:
    """A version of the model `coco80`; another `mean` of its input makes another version. The first is the default."""
    weights = folder / "model.safetensors"
    with weights.open("wb") as file:
        file.truncate(95_000_000)
    manifest = Manifest(
        name="coco80",
        family="multilabel",
        architecture="torchvision/resnet50",
        labels=tuple(f"label {n}" for n in range(80)),
        input=Input(resize=256, crop=224, mean=(mean, 0.5, 0.5), std=(0.2, 0.2, 0.2)),
        thresholds=(0.5,) * 80,
        weights_sha256=sha256_of(weights),
        weights_bytes=95_000_000,
        metrics={"mAP": 0.76},
        trained_on="COCO",
        card=CARD,
        created_at=made_at,
    )
    return Registry(service.backend.store).add(manifest, weights, default=False)


def test_a_model_shows_its_card_and_can_become_the_default(
    page: Page, service: Deployment, tmp_path: Path, snap: Snap
) -> None:
    show_fleet(service)
    first, second = add_model(service, tmp_path, 0.5, 900.0), add_model(service, tmp_path, 0.4, 800.0)
    page.set_viewport_size({"width": 360, "height": 800})
    page.goto(f"{service.url}/fleet")
    rows = page.locator("#registry-models li")
    expect(rows).to_contain_text([f"{first.reference}, the default", second.reference])
    expect(rows.first).to_contain_text("any of 80 labels, torchvision/resnet50, 95 MB")
    rows.first.get_by_text("Card").click()
    expect(rows.first).to_contain_text("mAP0.76")
    expect(rows.first.locator(".model-card")).to_contain_text("What it was trained on")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    page.locator("#registry-title").scroll_into_view_if_needed()
    snap(page, "registry-narrow")
    page.set_viewport_size({"width": 1200, "height": 800})
    snap(page, "registry")
    expect(page.get_by_role("button", name=f"Make {first.reference} the default")).to_be_hidden()
    page.get_by_role("button", name=f"Make {second.reference} the default").click()
    page.get_by_role("dialog").get_by_role("button", name="Make default").click()
    expect(rows.nth(1)).to_contain_text(", the default")
    expect(page.get_by_role("button", name=f"Make {first.reference} the default")).to_be_visible()


def test_without_models_nothing_is_said_of_them(page: Page, service: Deployment) -> None:
    show_fleet(service)
    with page.expect_response("**/models/registered"):
        page.goto(f"{service.url}/fleet")
    expect(page.locator("#registry")).to_be_hidden()
