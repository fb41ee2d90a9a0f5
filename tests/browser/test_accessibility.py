"""axe-core finds nothing to complain of, on any view, in the light and in the dark."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tagfleet.testing import Deployment
from tests.browser.at_work import show_fleet, show_pool, show_queue

pytestmark = pytest.mark.browser

Photo = Callable[..., Path]
Snap = Callable[[Page, str], None]

AXE = (Path(__file__).with_name("vendor") / "axe-core" / "axe.min.js").read_text()
FIND = """async () => (await axe.run()).violations.flatMap(
  ({ id, nodes }) => nodes.map(({ html, failureSummary }) => `${id}: ${html} ${failureSummary}`))"""


@pytest.fixture(params=["light", "dark"])
def scheme(request: pytest.FixtureRequest, page: Page) -> str:
    page.emulate_media(color_scheme=request.param, reduced_motion="reduce")
    return str(request.param)


@pytest.fixture
def settings_of_service() -> dict[str, Any]:
    return {"pools.p.tagger": "florence2"}


@pytest.fixture
def filled(service: Deployment, photo: Photo) -> str:
    """A service with something of everything to show."""
    show_fleet(service)
    show_queue(service)
    service.tagger.at_work = True
    service.http().post("/api/v1/fleet/pause")
    show_pool(service, notice="A notice.")
    service.create_key("camera", ["read"])
    batch_id = service.add_batch("holiday")
    for number, name in enumerate(["a.jpg", "b.jpg", "c.jpg"]):
        service.add_photos(batch_id, {name: photo(name, (90 * number, 90, 120)).read_bytes()})
    service.tag("a.jpg", {"dog": 0.9, "wolf": 0.2}, boxes={"dog": [[0.1, 0.1, 0.5, 0.5]]})
    service.fail("b.jpg", "b.jpg: the image is damaged")
    return batch_id


def views(page: Page, url: str, batch_id: str) -> Iterator[str]:
    """Opens one view after the other, and gives each one's name."""
    page.goto(url)
    expect(page.locator("#recent-list .recent-row").first).to_be_visible()
    expect(page.locator(".banner")).to_be_visible()
    page.locator("#asking-pool").select_option("p")
    expect(page.locator("#asking-tasks")).to_be_visible()
    yield "home"
    page.goto(f"{url}/batches")
    expect(page.locator("#all-tags .chip")).to_have_count(2)
    yield "batches"
    page.goto(f"{url}/batches?tag=dog")
    expect(page.locator("#found .card")).to_have_count(1)
    yield "search"
    page.goto(f"{url}/batches/{batch_id}")
    page.locator(".card[data-phase=tagged]").get_by_role("checkbox").check()
    expect(page.locator("#selected")).to_be_visible()
    yield "batch"
    page.locator(".card[data-phase=tagged] .card-name").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    yield "photo"
    page.get_by_role("button", name="Close").click()
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    yield "question"
    page.goto(f"{url}/fleet")
    expect(page.locator("#dead-letters tbody tr")).to_be_visible()
    expect(page.locator("#decisions li")).to_have_count(2)
    yield "fleet"
    page.goto(f"{url}/keys")
    expect(page.locator("#keys tbody tr")).to_be_visible()
    yield "keys"


@pytest.mark.parametrize("width", [360, 1280])
def test_no_violations(page: Page, service: Deployment, filled: str, scheme: str, width: int, snap: Snap) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    found = {}
    for name in views(page, service.url, filled):
        page.evaluate(AXE)
        snap(page, f"axe-{name}-{width}-{scheme}")
        if complaints := page.evaluate(FIND):
            found[name] = complaints
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
    assert found == {}


@pytest.mark.parametrize("settings_of_service", [{"web.require_keys": True}])
def test_no_violations_when_signing_in(page: Page, service: Deployment, scheme: str, console: Any) -> None:
    console.expect("status of 401")
    page.goto(service.url)
    expect(page.get_by_role("dialog", name="Sign in")).to_be_visible()
    page.evaluate(AXE)
    assert page.evaluate(FIND) == []


def test_axe_does_look(page: Page, service: Deployment) -> None:
    page.goto(service.url)
    page.evaluate(AXE)
    page.evaluate("document.querySelector('main').append(document.createElement('button'))")
    assert any(complaint.startswith("button-name") for complaint in page.evaluate(FIND))
