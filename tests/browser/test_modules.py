"""The page's pure functions, called where they run."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page

from tagfleet.testing import Deployment

pytestmark = pytest.mark.browser

CALL = """async ([module, name, args]) => (await import(`/assets/js/${module}.js`))[name](...args)"""


@pytest.fixture
def call(page: Page, service: Deployment) -> Any:
    page.goto(service.url)
    return lambda module, name, *args: page.evaluate(CALL, [module, name, list(args)])


def test_numbers_for_people(call: Any) -> None:
    sizes = {0: "0 B", 999: "999 B", 1000: "1.0 kB", 9_960: "10 kB", 999_700: "1.0 MB", 4_200_000_000: "4.2 GB"}
    assert {n: call("format", "bytes", n) for n in sizes} == sizes
    times = {0.04: "0.1 s", 0.96: "1 s", 2.44: "2.4 s", 59.6: "1 min", 61: "1 min 1 s", 3600: "1 h", 5400: "1 h 30 min"}
    assert {s: call("format", "duration", s) for s in times} == times
    shares = {0: "0%", 0.001: "<1%", 0.5: "50%", 0.994: "99%", 0.9999: ">99%", 1: "100%"}
    assert {c: call("format", "percent", c) for c in shares} == shares


@pytest.mark.parametrize(
    ("sizes", "taken"),
    [
        ([1] * 20, 8),
        ([3e6, 2e6], 1),
        ([50e6, 1], 1),
        ([2e6, 2e6, 1], 2),
        ([7], 1),
    ],
)
def test_a_request_holds_few_bytes_or_one_large_file(call: Any, sizes: list[float], taken: int) -> None:
    group = call("upload", "nextGroup", [{"bytes": size} for size in sizes])
    assert len(group) == taken


def test_a_batch_is_named_for_what_was_dropped(call: Any) -> None:
    def title(*names: str) -> Any:
        return call("session", "titleOf", [{"name": name} for name in names])

    assert title("holiday/a.jpg", "holiday/beach/b.jpg") == "holiday"
    assert title("a.jpg") == "a.jpg"
    assert title("one/a.jpg", "two/b.jpg", "c.jpg") == "a.jpg and 2 more"


def test_system_files_are_known(call: Any) -> None:
    names = {
        "holiday/.DS_Store": True,
        "Thumbs.db": True,
        "a/__MACOSX/b.jpg": True,
        "b.jpg": False,
        "v1.2/a.jpg": False,
    }
    assert {name: call("dropping", "isSystemFile", name) for name in names} == names


def test_addresses_choose_the_view(call: Any) -> None:
    paths = {"/": ["home", ""], "/fleet": ["fleet", ""], "/batches/bat_1": ["batch", "bat_1"]}
    assert {path: call("router", "parse", path) for path in paths} == paths


def test_a_name_is_found_and_matched_in_both_of_unicodes_forms(call: Any, page: Page) -> None:
    """macOS gives out `é` as two characters; the server may have it as one, and so may who types it."""
    composed, decomposed = "caf\u00e9.jpg", "cafe\u0301.jpg"
    found = page.evaluate(
        """async ([composed, decomposed]) => {
            const { Entries } = await import('/assets/js/entries.js');
            const entries = new Entries();
            const [entry] = entries.addFiles([{ file: new File([], decomposed), name: decomposed, bytes: 3 }]);
            entry.upload = { state: 'sending', sent: 0, reason: '' };
            const item = { image_id: 'img_1', name: composed, bytes: 3, status: 'queued', tags: [] };
            const same = entries.update(item) === entry;
            const count = (text) => entries.filter({ show: 'all', text, atLeast: 0, order: 'name' }).length;
            const counts = [composed, decomposed.toUpperCase(), 'other'].map(count);
            return { same, name: entry.name, found: counts };
        }""",
        [composed, decomposed],
    )
    assert found == {"same": True, "name": decomposed, "found": [1, 1, 0]}
