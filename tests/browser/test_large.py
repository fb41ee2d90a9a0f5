"""A batch of 20,000 photos: the page loads what it shows."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, Request, Route, expect

from bench.catalogs import fill, image_id
from tagfleet.testing import Deployment
from tests.browser.helpers import card, get, numbered, wait_until
from web_tier.catalog.database import Database, catalog_url

pytestmark = pytest.mark.browser

BATCH = "bat_large"
COUNT = 20_000
FAILED = range(15_001, 15_011)
CATS = range(12_001, 12_151)
"""Positions of photos that failed, and of those with the tag “cat”."""
OPENING_BYTES = 200_000
HEAP_BYTES = 25e6

Snap = Callable[[Page, str], None]


def name(position: int) -> str:
    return f"{position:08}.jpg"


@pytest.fixture
def large(service: Deployment) -> str:
    """A finished batch; return its address."""
    database = Database(catalog_url(service.settings))
    fill(database, BATCH, COUNT, tags=1)
    database.close()
    with closing(sqlite3.connect(service.settings.home / "catalog.db", timeout=30)) as catalog, catalog:
        failed, cats = (
            f"WHERE batch_id = '{BATCH}' AND position BETWEEN {of[0]} AND {of[-1]}" for of in (FAILED, CATS)
        )
        cat = json.dumps([{"name": "Cat", "confidence": 0.9, "source": "model", "instances": []}])
        catalog.execute(f"UPDATE images SET status = 'failed', error = 'torn', tags = '[]' {failed}")
        catalog.execute(f"DELETE FROM tags WHERE image_id IN (SELECT id FROM images {failed})")
        catalog.execute(f"UPDATE images SET tags = ?, surest = 0.9 {cats}", [cat])
        catalog.execute(f"UPDATE tags SET key = 'cat', name = 'Cat' WHERE image_id IN (SELECT id FROM images {cats})")
        catalog.execute("UPDATE tag_counts SET images = ?", [COUNT - len(FAILED) - len(CATS)])
        counted = [(of, "cat", "Cat", len(CATS)) for of in ("", BATCH)]
        catalog.executemany("INSERT INTO tag_counts (batch_id, key, name, images) VALUES (?, ?, ?, ?)", counted)
        catalog.execute("UPDATE batches SET failed = ? WHERE id = ?", [len(FAILED), BATCH])
    return f"{service.url}/batches/{BATCH}"


@pytest.fixture
def asked(page: Page) -> list[Request]:
    """The requests for results so far."""
    found: list[Request] = []
    page.on("request", lambda request: found.append(request) if "/results" in request.url else None)
    return found


def cursors(asked: list[Request]) -> list[str]:
    return [parse_qs(urlsplit(request.url).query).get("cursor", [""])[0] for request in asked]


def scroll_to(page: Page, share: float) -> None:
    page.evaluate("(share) => scrollTo(0, share * (document.documentElement.scrollHeight - innerHeight))", share)


def place(page: Page) -> int:
    """Return the place that the page keeps for a reload."""
    return int(page.evaluate("history.state?.photo ?? 0"))


def columns(page: Page) -> int:
    style = "getComputedStyle(document.querySelector('#results .grid'))"
    return int(page.evaluate(f"{style}.gridTemplateColumns.split(' ').length"))


def test_opening_loads_what_is_shown(page: Page, large: str, asked: list[Request], snap: Snap) -> None:
    page.goto(large)
    expect(card(page, name(1))).to_be_visible()
    expect(page.locator("#filter-status")).to_have_text(
        "All 20,000 Tagged 19,990 Failed 10 Waiting 0", use_inner_text=True
    )
    expect(page.locator("#batch-counts")).to_have_text("19,990 photos tagged, 10 failed")
    page.wait_for_load_state("networkidle")
    assert sorted(cursors(asked)) == ["", "100"], "the first page, and the next one ahead of time"
    sizes = [request.sizes() for request in asked]
    assert sum(size["responseBodySize"] + size["responseHeadersSize"] for size in sizes) < OPENING_BYTES / 2
    assert page.locator(".card").count() < 100
    snap(page, "large-1280")


def test_any_place_shows_its_photos_and_memory_stays_bounded(page: Page, large: str, asked: list[Request]) -> None:
    page.goto(large)
    expect(card(page, name(1))).to_be_visible()
    scroll_to(page, 1)
    expect(card(page, name(COUNT))).to_be_in_viewport()
    scroll_to(page, 0.5)
    expect(page.locator(".card-name", has_text="00010000.jpg")).to_have_count(1)
    for step in range(60):
        scroll_to(page, step / 60)
        expect(page.locator(".card-name").first).to_be_visible()
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    assert session.send("Runtime.getHeapUsage")["usedSize"] < HEAP_BYTES
    assert page.locator(".card").count() < 100


def test_requests_for_places_scrolled_past_are_aborted(page: Page, service: Deployment, large: str) -> None:
    aborted: list[str] = []
    page.on("requestfailed", lambda request: aborted.append(request.url))
    page.goto(large)
    expect(card(page, name(1))).to_be_visible()
    page.wait_for_load_state("networkidle")
    with service.faults.hold("/results"):
        for step in (0.2, 0.4, 0.6, 0.8):
            scroll_to(page, step)
            page.wait_for_timeout(30)
        expect(page.locator(".is-coming").first).to_be_visible()
        expect(page.locator(".is-coming .sr-only").first).to_have_text("Loading")
    scroll_to(page, 0.5)
    expect(page.locator(".card-name", has_text="00010000.jpg")).to_have_count(1)
    assert any("cursor=" in url for url in aborted)
    expect(page.locator(".banner")).to_have_count(0)


def test_the_server_filters(page: Page, large: str, asked: list[Request]) -> None:
    page.goto(large)
    expect(card(page, name(1))).to_be_visible()
    page.get_by_role("button", name="Failed 10").click()
    expect(page.locator(".card-name")).to_have_text([name(position) for position in FAILED])
    page.get_by_role("button", name="All 20,000").click()
    page.locator("#top-tags .chip", has_text="Cat").click()
    expect(page.locator(".card-name").first).to_have_text(name(CATS[0]))
    expect(page.locator(".card[aria-setsize='150']").first).to_be_attached()  # the list grows
    scroll_to(page, 1)
    expect(card(page, name(CATS[-1]))).to_be_in_viewport()
    page.get_by_role("button", name="Failed 10").click()
    expect(page.locator("#results-empty")).to_have_text("No photos match this filter.")
    assert len(asked) < 12


def test_typing_asks_for_tags_that_begin_so(page: Page, large: str, asked: list[Request]) -> None:
    page.goto(large)
    field = page.get_by_role("searchbox", name="Filter by tag")
    field.press_sequentially("ca")
    expect(page.locator(".card-name").first).to_have_text(name(CATS[0]))
    expect(page.locator("#filter-order option").first).to_have_text("In order of upload")
    with page.expect_request(lambda request: "order=surest" in request.url):
        page.select_option("#filter-order", label="Most certain first")
    expect(page.locator(".card[aria-setsize='150']").first).to_be_attached()
    queries = [parse_qs(urlsplit(request.url).query) for request in asked]
    assert {"limit": ["100"], "q": ["ca"]} in queries
    assert {"limit": ["100"], "q": ["ca"], "order": ["surest"]} in queries
    field.fill("no such tag")
    expect(page.locator("#results-empty")).to_have_text("No photos match this filter.")


def test_photos_are_selected_across_pages(page: Page, service: Deployment, large: str, snap: Snap) -> None:
    page.goto(large)
    expect(card(page, name(1))).to_be_visible()
    card(page, name(3)).locator(".card-name").click(modifiers=["Control"])
    scroll_to(page, 0.01)
    target = page.locator(".card[aria-posinset='200'] .card-name")
    expect(target).to_be_visible()
    target.click(modifiers=["Shift"])
    expect(page.locator("#selected-count")).to_have_text("198 photos selected")
    scroll_to(page, 1)
    expect(card(page, name(COUNT))).to_be_in_viewport()
    scroll_to(page, 0)
    expect(card(page, name(3))).to_have_class("card is-chosen")
    page.locator("#selected-add input").fill("mine")
    page.locator("#selected-add input").press("Enter")
    expect(page.locator("#edited-text")).to_have_text("Added “mine” to 198 photos.")
    expect(page.locator("#selected-tags .chip", has_text="mine")).to_contain_text("198")
    assert get(service, f"/images/{image_id(BATCH, 200)}")["edited"]
    assert not get(service, f"/images/{image_id(BATCH, 201)}")["edited"]


def test_everything_that_a_filter_shows_is_edited(page: Page, service: Deployment, large: str) -> None:
    page.goto(large)
    page.locator("#top-tags .chip", has_text="Cat").click()
    expect(card(page, name(CATS[0]))).to_be_visible()
    page.locator("#batch-title").click()
    page.keyboard.press("Control+a")
    expect(page.locator("#selected-count")).to_have_text("All tagged photos that match selected")
    card(page, name(CATS[1])).locator(".card-name").click(modifiers=["Control"])
    page.locator("#selected-add input").fill("pet")
    page.locator("#selected-add input").press("Enter")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.locator("#edited-text")).to_have_text("Added “pet” to 149 photos.")
    tagged = get(service, f"/batches/{BATCH}/results?tag=pet&limit=1000")["results"]
    assert [image["name"] for image in tagged] == [name(position) for position in CATS if position != CATS[1]]
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#edited-text")).to_contain_text("Undone")
    assert get(service, f"/batches/{BATCH}/results?tag=pet")["results"] == []


def test_the_whole_batch_is_selected_by_its_number(page: Page, large: str) -> None:
    page.goto(large)
    card(page, name(1)).locator(".card-name").click(modifiers=["Control"])
    page.get_by_role("button", name="Select all").click()
    expect(page.locator("#selected-count")).to_have_text("All 19,990 tagged photos selected")
    page.locator("#top-tags .chip", has_text="Cat").click()
    expect(card(page, name(CATS[0]))).to_be_visible()
    expect(page.locator("#selected")).to_be_hidden()


def test_previous_and_next_go_across_pages_that_are_not_loaded(page: Page, large: str) -> None:
    page.goto(large)
    expect(card(page, name(1))).to_be_visible()
    scroll_to(page, 1)
    expect(card(page, name(COUNT))).to_be_in_viewport()
    page.wait_for_load_state("networkidle")
    first = page.locator(".card[aria-posinset='19990'] .card-name")
    first.click()
    dialog = page.get_by_role("dialog")
    for position in range(19_989, 19_780, -1):
        page.keyboard.press("ArrowLeft")
        if position % 50 == 0:
            expect(dialog.locator("#detail-name")).to_have_text(name(position))
    expect(dialog.locator("#detail-name")).to_have_text(name(19_781))
    expect(dialog.locator(".tag")).to_have_count(1)


def test_arrow_keys_move_through_a_large_batch(page: Page, large: str) -> None:
    page.goto(large)
    card(page, name(1)).locator(".card-name").focus()
    for _ in range(60):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    expect(page.locator(f".card[aria-posinset='{60 * columns(page) + 2}'] .card-name")).to_be_focused()


def test_a_reload_returns_to_the_place(page: Page, large: str) -> None:
    page.goto(large)
    expect(card(page, name(1))).to_be_visible()
    scroll_to(page, 0.5)
    middle = page.locator(".card-name", has_text="00010000.jpg")
    expect(middle).to_be_in_viewport()
    wait_until(lambda: place(page) > 9000, "kept its place")
    page.reload()
    expect(middle).to_be_in_viewport()


@pytest.mark.parametrize("width", [360, 1280])
def test_a_list_higher_than_an_element_can_be_is_reached_everywhere(
    page: Page, service: Deployment, large: str, width: int, snap: Snap
) -> None:
    """As with 300,000 photos on a phone: the counts and photos of a batch that nobody has to fill in."""
    count = 300_000
    results = get(service, f"/batches/{BATCH}/results?limit=1")["results"][0]
    batch = get(service, f"/batches/{BATCH}")

    def answer(route: Route) -> None:
        query = parse_qs(urlsplit(route.request.url).query)
        start = int(query.get("cursor", ["0"])[0])
        found = [
            results | {"image_id": f"img_{position}", "name": name(position)}
            for position in range(start + 1, min(count, start + int(query["limit"][0])) + 1)
        ]
        route.fulfill(json={"results": found, "next_cursor": str(start + len(found))})

    page.route("**/results?*", answer)
    page.route(
        f"**/api/v1/batches/{BATCH}",
        lambda route: route.fulfill(
            json=batch | {"request_counts": {"total": count, "completed": count, "failed": 0, "cancelled": 0}}
        ),
    )
    page.route(
        "**/thumbnail",
        lambda route: route.fulfill(
            status=200, body="<svg xmlns='http://www.w3.org/2000/svg'/>", content_type="image/svg+xml"
        ),
    )
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(large)
    expect(card(page, name(1))).to_be_visible()
    scroll_to(page, 1)
    expect(card(page, name(count))).to_be_in_viewport()
    expect(page.locator(".is-coming")).to_have_count(0)
    snap(page, f"large-end-{width}")
    page.mouse.move(width / 2, 300)
    page.mouse.wheel(0, -5000)
    expect(card(page, name(count))).to_have_count(0)
    scroll_to(page, 0.5)
    wait_until(lambda: abs(place(page) - count / 2) < 500, "kept its place")
    before = place(page)
    for _ in range(8):
        page.mouse.wheel(0, 700)
        page.wait_for_timeout(300)  # rests, so that the scroll bar is set right
    moved = (place(page) - before) / columns(page)
    assert 8 * 700 / 176 - 2 <= moved <= 8 * 700 / 176 + 2, "a wheel moves by its own measure, and rests move nothing"
    snap(page, f"large-middle-{width}")
    scroll_to(page, 0)
    expect(card(page, name(1))).to_be_in_viewport()


def test_a_large_batch_at_work_is_counted_and_what_is_shown_is_kept_up(
    page: Page, service: Deployment, photo: Callable[..., Path]
) -> None:
    batch_id = service.add_batch("holiday", numbered(5200))
    page.goto(f"{service.url}/batches/{batch_id}")
    expect(card(page, "photo-00000.jpg")).to_contain_text("Waiting for its turn")
    service.tag("photo-00001.jpg", {"dog": 0.9})
    expect(card(page, "photo-00001.jpg").locator(".tag")).to_have_text(["dog 90%"])
    expect(page.locator("#batch-counts")).to_have_text("1 of 5,200 photos tagged")
    service.tag("photo-05000.jpg", {"owl": 0.8})
    service.fail("photo-05001.jpg", "torn")
    expect(page.locator("#batch-counts")).to_have_text("2 of 5,200 photos tagged, 1 failed")
    streams = [request for request in service.faults.requests if request.path.endswith("/events")]
    assert len(streams) == 1
    page.get_by_role("button", name="Failed 1").click()
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#filter-status")).to_contain_text("Failed 0")
    expect(page.locator("#results-empty")).to_have_text("No photos match this filter.")
    page.get_by_role("button", name="All 5,200").click()
    page.set_input_files("#choose-files", [photo("new-1.jpg"), photo("new-2.jpg", (9, 9, 9))])
    expect(page.locator("#filter-status")).to_contain_text("All 5,202")
    wait_until(lambda: get(service, f"/batches/{batch_id}")["closed_at"], "closed the batch")
    service.tagger.answer = lambda _photo: {"dog": 0.9}
    expect(page.locator("#batch-counts")).to_have_text("5,202 photos tagged")
    expect(card(page, "photo-00000.jpg").locator(".tag")).to_have_text(["dog 90%"])
    scroll_to(page, 1)
    expect(card(page, "new-2.jpg").locator(".tag")).to_have_text(["dog 90%"])
