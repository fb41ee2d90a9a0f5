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


SCALE = """async ([full, steps]) => {
    const { Scale } = await import('/assets/js/scale.js');
    const scale = new Scale();
    scale.resize(full);
    return steps.map((step) => (step === null ? scale.settle() : scale.follow(step, 800)));
}"""


def test_a_list_that_fits_moves_as_the_document_does(call: Any, page: Page) -> None:
    steps = [-200, 0, 10, 7_000_000, 7_999_200, None]
    assert page.evaluate(SCALE, [8_000_000, steps]) == [*steps[:-1], 0]


def test_a_higher_list_is_reached_everywhere(call: Any, page: Page) -> None:
    full = 52_800_000
    begin, end, middle, *moved, by, after = page.evaluate(
        SCALE, [full, [0, 8_000_000 - 800, 4_000_000, 4_001_000, 4_002_000, None, 4_000_164]]
    )
    assert begin == 0
    assert end == full - 800
    assert middle == full / 2
    assert moved == [full / 2 + 1000, full / 2 + 2000], "small movements move the list by as much"
    assert by == round(2000 * 7_900_000 / (full - 100_000)) - 2000
    assert after == pytest.approx(full / 2 + 2000 + (4_000_164 - (4_002_000 + by)), abs=1), "a rest moves nothing"


@pytest.mark.parametrize("share", [0.001, 0.2, 0.5, 0.9, 0.9999])
def test_places_of_a_list_and_of_its_document_are_inverse(call: Any, page: Page, share: float) -> None:
    inverse = """async ([full, at]) => {
        const { Scale } = await import('/assets/js/scale.js');
        const scale = new Scale();
        scale.resize(full);
        return scale.toList(scale.toDocument(at));
    }"""
    for full in (9_000_000, 52_800_000, 400_000_000):
        assert page.evaluate(inverse, [full, share * full]) == pytest.approx(share * full, abs=1)


LARGE = """async () => {
    const { LargeEntries } = await import('/assets/js/large.js');
    const entries = new LargeEntries('bat_none', [], () => {});
    const names = (show) => {
        const found = entries.filter({ show, text: '', chip: '', atLeast: 0, order: 'name' });
        return Array.from({ length: found.length }, (_, n) => found.at(n)?.name ?? '');
    };
    const files = ['c.jpg', 'a.jpg', 'b10.jpg', 'b9.jpg'].map((name) => ({ file: new File([], name), name, bytes: 3 }));
    const made = entries.addFiles(files);
    for (const entry of made) entry.upload = { state: 'waiting', sent: 0, reason: '' };
    const answers = { order: made.map(({ name }) => name) };
    made[0].upload.state = made[3].upload.state = 'refused';
    entries.sort([made[0], made[3]]);
    answers.all = names('all');
    answers.failed = names('failed');
    made[3].upload.state = 'waiting';
    entries.sort([made[3]]);
    entries.stored(made[1], {});
    answers.after = names('all');
    const { waiting, failed, refused, all } = entries.counts();
    answers.counts = { waiting, failed, refused, all };
    entries.close();
    return answers;
}"""


def test_files_of_a_large_batch_are_kept_until_the_server_has_them(call: Any, page: Page) -> None:
    assert page.evaluate(LARGE) == {
        "order": ["a.jpg", "b9.jpg", "b10.jpg", "c.jpg"],
        "all": ["a.jpg", "c.jpg", "b9.jpg", "b10.jpg"],
        "failed": ["a.jpg", "c.jpg"],
        "after": ["a.jpg", "b10.jpg", "c.jpg"],
        "counts": {"waiting": 2, "failed": 1, "refused": 1, "all": 3},
    }
