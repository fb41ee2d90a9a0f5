"""Operators on the page: live plots, pause, drain, dead letters; signing in and keys."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import APIResponse, Page, Route, expect
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from core.storage import layout
from tagfleet.testing import Deployment
from tests.browser.at_work import CHANGES, SAMPLES, show_changes, show_fleet, show_queue, show_samples, show_worker
from tests.browser.helpers import get, numbered, wait_for_images, wait_until

pytestmark = pytest.mark.browser

Photo = Callable[..., Path]
Snap = Callable[[Page, str], None]


@pytest.fixture
def busy(service: Deployment) -> Deployment:
    show_fleet(service)
    show_queue(service)
    return service


def test_plots_show_the_last_minutes(page: Page, busy: Deployment, snap: Snap) -> None:
    page.goto(f"{busy.url}/fleet")
    queue = page.locator(".plot").filter(has_text="Queue")
    expect(queue).to_contain_text("the last 1 min 40 s")
    expect(queue.locator(".plot-legend li")).to_have_text(["waiting 200", "in flight 20"])
    drawn = queue.locator(".plot-line").first.get_attribute("d") or ""
    assert len(drawn.split("L")) == len(SAMPLES)
    slider = queue.get_by_role("slider")
    slider.focus()
    page.keyboard.press("ArrowLeft")
    expect(queue).to_contain_text("5 s ago")
    expect(queue.locator(".plot-legend li")).to_have_text(["waiting 190", "in flight 19"])
    expect(slider).to_have_attribute("aria-valuetext", "waiting 190, in flight 19")
    expect(page.locator(".plot").filter(has_text="Images per second")).to_contain_text("tagged 80")
    snap(page, "plots")


def test_no_line_is_drawn_across_a_time_without_samples(page: Page, busy: Deployment) -> None:
    busy.clock.set(4000.0)
    later = [sample | {"at": sample["at"] + 3000} for sample in SAMPLES]
    show_samples(busy, [*SAMPLES, *later])
    page.goto(f"{busy.url}/fleet")
    for title in ("Queue", "Workers"):
        line = page.locator(".plot").filter(has_text=title).locator("svg path").first
        expect(line).to_have_attribute("d", re.compile(r"^M[^M]+M[^M]+$"))


def test_decisions_give_their_reasons(page: Page, busy: Deployment) -> None:
    page.goto(f"{busy.url}/fleet")
    rows = page.locator("#decisions li")
    expect(rows).to_contain_text(["enough workers run", "31 images wait"])
    expect(rows.first).to_contain_text("20 s ago")
    rows.last.get_by_text("All terms").click()
    expect(rows.last.locator(".terms")).to_have_text("visible31")


@pytest.mark.parametrize(
    "settings_of_service", [{"pools.lite.tagger": "efficientnet-lite0", "pools.florence2.tagger": "florence2"}]
)
def test_pools_stand_beside_each_other(page: Page, busy: Deployment) -> None:
    page.goto(f"{busy.url}/fleet")
    pools = page.locator(".pool")
    expect(pools).to_have_count(3)
    assert len(set(pools.evaluate_all("all => all.map(pool => pool.getBoundingClientRect().top)"))) == 1


def test_nothing_can_be_pressed_before_its_script_is_there(page: Page, busy: Deployment) -> None:
    held: list[Route] = []
    page.route("**/js/fleet.js", lambda route: held.append(route))
    with page.expect_request("**/js/fleet.js"):
        page.goto(f"{busy.url}/fleet", wait_until="commit")
    expect(page.get_by_text("Pause", exact=True)).to_be_visible()
    with pytest.raises(PlaywrightTimeout):  # a press that would do nothing is not taken
        page.get_by_text("Pause", exact=True).click(timeout=500)
    held[0].continue_()
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#fleet-paused")).to_be_visible()


def test_pause_drain_and_redrive(page: Page, busy: Deployment) -> None:
    page.goto(f"{busy.url}/fleet")
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#fleet-paused")).to_be_visible()
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("#fleet-paused")).to_be_hidden()
    page.get_by_role("button", name="Drain ins_06a8hkq2e3").click()
    page.get_by_role("dialog").get_by_role("button", name="Drain").click()
    wait_until(lambda: list(busy.backend.store.list(layout.DRAINS)), "asked for a drain")
    show_worker(busy, state="draining", seq=2)
    expect(page.locator("#fleet-workers tbody tr")).to_contain_text("draining")
    expect(page.get_by_role("button", name="Drain ins_06a8hkq2e3")).to_be_hidden()
    expect(page.locator("#dead-letters tbody tr")).to_contain_text("a.jpg")
    page.get_by_role("button", name="Retry all").click()
    expect(page.locator("#dead")).to_be_hidden()
    assert get(busy, "/fleet/dead-letters")["dead_letters"] == []


def test_a_cap_is_set_by_keyboard_and_taken_back(page: Page, busy: Deployment, snap: Snap) -> None:
    page.goto(f"{busy.url}/fleet")
    field = page.get_by_role("spinbutton", name="At most")
    expect(field).to_have_value("4")
    for nonsense in ("-1", "2.5", ""):
        field.fill(nonsense)
        field.press("Enter")
        expect(page.locator("#cap-trouble")).to_have_text("Enter a whole number of workers from 0 (none) to 10000.")
        expect(field).to_be_focused()
    assert get(busy, "/fleet")["cap"] == 4
    snap(page, "cap-trouble")
    field.fill("12")
    field.press("Enter")
    expect(page.locator("#cap-about")).to_have_text("workers, set by an operator")
    expect(page.locator("#cap-trouble")).to_be_hidden()
    assert get(busy, "/fleet")["cap"] == 12
    snap(page, "cap")
    page.get_by_role("button", name="Use the number from the settings").press("Enter")
    expect(field).to_have_value("4")
    expect(page.locator("#cap-about")).to_have_text("workers")
    field.fill("7")
    field.press("Escape")
    expect(field).to_have_value("4")


def test_changes_say_who_did_what_and_why(page: Page, busy: Deployment, snap: Snap) -> None:
    page.set_viewport_size({"width": 360, "height": 800})
    page.goto(f"{busy.url}/fleet")
    rows = page.locator("#changes li")
    expect(rows).to_contain_text(
        [
            "by the machine’s owner: a spot notice says",
            "by itself: 1.6 s after",
            "by the controller: 31 images wait and no worker runs: launch 1",
        ]
    )
    expect(rows.first).to_contain_text(
        "interrupted i-0a1b2c3d4e5f60718 resnet50, g4dn.xlarge spot in us-east-1b, 5 s ago"
    )
    show_changes(busy, CHANGES[0] | {"at": 999.0, "kind": "gone", "by": "itself", "reason": "its process ended"})
    expect(rows.first).to_contain_text("gone ins_06a8hkq2e3")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    page.locator("#changes-title").scroll_into_view_if_needed()
    snap(page, "changes-narrow")
    page.evaluate("scrollTo(0, 0)")
    snap(page, "cap-narrow")


class Late:
    """The next answer to a question of the page, held back until it is out of date."""

    def __init__(self, page: Page, address: str) -> None:
        self._page, self._address = page, address
        self._held: list[tuple[Route, APIResponse]] = []
        page.route(address, self._hold)

    def _hold(self, route: Route) -> None:
        if self._held:
            route.fallback()
        else:
            self._held.append((route, route.fetch()))

    def wait(self) -> None:
        while not self._held:  # bounded by the test's timeout
            self._page.wait_for_timeout(20)

    def arrive(self) -> None:
        ((route, answer),) = self._held
        route.fulfill(response=answer)
        self._page.evaluate("fetch('/healthz')")  # answered after it


def test_an_old_answer_does_not_undo_an_order_on_show(page: Page, busy: Deployment) -> None:
    page.goto(f"{busy.url}/fleet")
    expect(page.locator("#fleet-workers tbody tr")).to_have_count(1)
    late = Late(page, "**/api/v1/fleet")
    late.wait()
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#fleet-paused")).to_be_visible()
    late.arrive()
    assert page.locator("#fleet-paused").is_visible()


def test_an_old_answer_does_not_hide_a_new_key(page: Page, service: Deployment) -> None:
    late = Late(page, "**/api/v1/keys")
    page.goto(f"{service.url}/keys")
    late.wait()
    page.get_by_role("textbox", name="Name").fill("camera")
    page.get_by_role("button", name="Create key").click()
    expect(page.locator("#keys tbody tr")).to_contain_text("camera")
    late.arrive()
    assert page.locator("#keys tbody tr").is_visible()


def test_a_refused_order_says_why(page: Page, busy: Deployment, console: Any) -> None:
    console.expect("status of 404")
    page.goto(f"{busy.url}/fleet")
    expect(page.locator("#fleet-workers tbody tr")).to_have_count(1)
    page.route("**/fleet/pause", lambda route: route.fulfill(status=404, json={"detail": "This key may not operate."}))
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#fleet-trouble")).to_have_text("This key may not operate.")


@pytest.mark.parametrize("settings_of_service", [{"web.require_keys": True}])
def test_signing_in_and_out(page: Page, service: Deployment, photo: Photo, console: Any, snap: Snap) -> None:
    console.expect("status of 401")
    service.add_batch("holiday", numbered(1))
    page.goto(f"{service.url}/batches")
    dialog = page.get_by_role("dialog", name="Sign in")
    expect(dialog).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_be_visible()
    field = dialog.get_by_label("Key")
    field.fill("tf_wrong")
    field.press("Enter")
    expect(dialog).to_contain_text("does not know this key")
    snap(page, "sign-in")
    sign_in(page, service)
    expect(dialog).to_be_hidden()
    expect(page.locator("#all-batches .recent-row")).to_have_count(1)  # what was asked for goes on
    assert page.evaluate("document.cookie") == ""
    expect(page.get_by_role("link", name="Keys")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(dialog).to_be_visible()


def sign_in(page: Page, service: Deployment) -> None:
    field = page.get_by_role("dialog", name="Sign in").get_by_label("Key")
    field.fill(service.create_key("me", ("read", "write", "operate")))
    field.press("Enter")


def revoke_all(service: Deployment) -> None:
    """End the keys of all sessions that browsers have."""
    for key in get(service, "/keys")["keys"]:
        if key["name"] == "me":
            service.http().delete(f"/api/v1/keys/{key['id']}")


@pytest.mark.parametrize("settings_of_service", [{"web.require_keys": True}])
def test_a_session_that_ends_does_not_end_an_upload(
    page: Page, service: Deployment, photo: Photo, console: Any
) -> None:
    console.expect("status of 401")
    page.goto(service.url)
    sign_in(page, service)
    expect(page.locator("#recent-empty")).to_be_visible()
    revoke_all(service)
    page.set_input_files("#choose-files", [photo("a.jpg")])
    sign_in(page, service)
    wait_for_images(service, 1)
    expect(page.locator(".card-name")).to_have_text(["a.jpg"])


def test_keys_are_shown_once_and_revoked(page: Page, service: Deployment, snap: Snap) -> None:
    page.goto(f"{service.url}/keys")
    expect(page.locator("#keys-empty")).to_be_visible()
    page.get_by_role("textbox", name="Name").fill("camera upload")
    page.get_by_role("button", name="Create key").click()
    expect(page.locator("#key-secret")).to_have_text(re.compile(r"^tf_[\w-]{20,}$"))
    row = page.locator("#keys tbody tr")
    expect(row).to_contain_text("camera upload")
    expect(row).to_contain_text("read, write")
    snap(page, "keys")
    page.get_by_role("button", name="Revoke camera upload").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    expect(row).to_contain_text("revoked")
    page.reload()
    expect(row).to_be_visible()
    expect(page.locator("#key-secret")).to_be_hidden()
