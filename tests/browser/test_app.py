"""The page as an installed app: its manifest, its service worker, shared photos, the camera."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tagfleet.testing import Deployment
from tests.browser.helpers import batches, numbered, wait_for_images

pytestmark = pytest.mark.browser

READY = "navigator.serviceWorker.ready.then(() => new Promise((done) => { \
  if (navigator.serviceWorker.controller) done(); else navigator.serviceWorker.oncontrollerchange = () => done(); }))"
SHARE = """async (names) => {
  const form = new FormData();
  for (const name of names) form.append('files', new File([name], name, { type: 'image/jpeg' }));
  const answer = await fetch('/share', { method: 'POST', body: form, redirect: 'manual' });
  return answer.type;
}"""


def test_the_manifest_makes_it_installable(page: Page, service: Deployment) -> None:
    page.goto(service.url)
    manifest = page.evaluate("fetch(document.querySelector('[rel=manifest]').href).then((one) => one.json())")
    assert (manifest["start_url"], manifest["display"]) == ("/", "standalone")
    sizes = page.evaluate(
        """(sources) => Promise.all(sources.map(async (src) => {
          const image = new Image();
          image.src = src;
          await image.decode();
          return `${image.naturalWidth}x${image.naturalHeight}`;
        }))""",
        [icon["src"] for icon in manifest["icons"]],
    )
    assert sizes == [icon["sizes"] for icon in manifest["icons"]]
    errors = page.context.new_cdp_session(page).send("Page.getInstallabilityErrors")["installabilityErrors"]
    assert {error["errorId"] for error in errors} <= {"in-incognito"}  # which is how tests browse


@pytest.mark.usefixtures("as_app")
def test_without_the_server_the_page_still_opens(page: Page, service: Deployment, console: Any) -> None:
    console.expect("ERR_|Failed to (fetch|load)|FetchEvent")
    service.add_batch("holiday", numbered(1))
    page.goto(service.url)
    page.evaluate(READY)
    service.stop()
    page.goto(f"{service.url}/fleet")
    expect(page.locator(".banner")).to_contain_text("Tagfleet does not answer")
    expect(page.get_by_role("heading", name="Fleet")).to_be_visible()
    page.goto(service.url)
    service.start()
    expect(page.locator(".banner")).to_have_count(0)
    expect(page.locator(".recent-row")).to_contain_text("holiday")


@pytest.mark.usefixtures("as_app")
def test_nothing_of_the_api_is_kept(page: Page, service: Deployment) -> None:
    service.add_batch("holiday", numbered(1))
    page.goto(service.url)
    page.evaluate(READY)
    page.reload()
    expect(page.locator(".recent-row")).to_be_visible()
    kept = page.evaluate(
        """(async () => {
          const found = [];
          for (const name of await caches.keys()) {
            for (const { url } of await (await caches.open(name)).keys()) found.push(new URL(url).pathname);
          }
          return found;
        })()"""
    )
    assert "/" in kept
    assert [path for path in kept if path != "/" and not path.startswith("/assets/")] == []


@pytest.mark.usefixtures("as_app")
def test_photos_shared_by_another_app_are_uploaded(page: Page, service: Deployment) -> None:
    page.goto(service.url)
    page.evaluate(READY)
    assert page.evaluate(SHARE, ["IMG 1.jpg", "é.jpg"]) == "opaqueredirect"
    page.goto(f"{service.url}/?shared=yes")
    expect(page.locator(".card-name")).to_have_text(["é.jpg", "IMG 1.jpg"])
    wait_for_images(service, 2)
    page.goto(f"{service.url}/?shared=yes")
    expect(page.locator("#gathering")).to_have_text("The shared photos did not arrive. Please share them again.")


def test_a_share_that_no_worker_took_says_so(page: Page, service: Deployment) -> None:
    page.goto(service.url)
    address = page.evaluate("fetch('/share', { method: 'POST', body: new FormData() }).then(({ url }) => url)")
    page.goto(address)
    expect(page.locator("#gathering")).to_contain_text("Please share them again.")
    assert batches(service) == []


def test_a_phone_offers_its_camera(service: Deployment, browser: Any) -> None:
    context = browser.new_context(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    page = context.new_page()
    page.goto(service.url)
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Take a photo").click()
    assert chooser.value.element.get_attribute("capture") == "environment"
    context.close()
