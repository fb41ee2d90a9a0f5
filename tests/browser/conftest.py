"""Debian's Chromium, pages that fail their test on any console error, and a deployment in memory."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from tagfleet.testing import Deployment, deployment

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
]
SCREENSHOTS = Path(__file__).with_name("screenshots")
PATIENCE_MS = 1000 * int(os.environ.get("BROWSER_PATIENCE_S", "60"))
"""How long a busy machine may take; it costs nothing where the page is quick."""

expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        if os.environ.get("CI") == "true":
            pytest.fail(f"{CHROMIUM} is missing: apt-get install chromium")
        pytest.skip(f"{CHROMIUM} is missing")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


class Console:
    """What a page complained of. A test that provokes a complaint says so by `expect`."""

    def __init__(self) -> None:
        self.complaints: list[str] = []
        self._expected = [re.compile("registration blocked by Playwright")]

    def expect(self, pattern: str) -> None:
        self._expected.append(re.compile(pattern))

    def expect_lost_connections(self) -> None:
        """Chromium has many names for a server that went away; which one comes is a matter of microseconds."""
        self.expect(r"net::ERR_(CONNECTION|EMPTY|INCOMPLETE|SOCKET)_")

    def watch(self, page: Page) -> None:
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def unexpected(self) -> list[str]:
        return [text for text in self.complaints if not any(pattern.search(text) for pattern in self._expected)]

    def _note(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.text} {message.location.get('url', '')}")


@pytest.fixture
def console() -> Iterator[Console]:
    console = Console()
    yield console
    assert console.unexpected() == []


@pytest.fixture
def context(request: pytest.FixtureRequest, browser: Browser, console: Console) -> Iterator[BrowserContext]:
    if "service" in request.fixturenames:
        request.getfixturevalue("service")  # so that pages are closed before it goes
    workers: Any = "allow" if "as_app" in request.fixturenames else "block"
    context = browser.new_context(viewport={"width": 1280, "height": 800}, locale="en-GB", service_workers=workers)
    context.set_default_timeout(PATIENCE_MS)
    context.on("page", console.watch)
    context.on("dialog", lambda dialog: dialog.accept())
    yield context
    context.close()


@pytest.fixture
def as_app() -> None:
    """Pages of this test may have their service worker, which would only be in the way of others."""


@pytest.fixture
def page(context: BrowserContext) -> Page:
    """As slow as a busy machine's where SLOW_BROWSER says how many times."""
    page = context.new_page()
    if times := os.environ.get("SLOW_BROWSER"):
        context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": float(times)})
    return page


@pytest.fixture
def settings_of_service() -> dict[str, Any]:
    """Settings by their dotted names, for tests that need other ones than the defaults."""
    return {}


@pytest.fixture
def service(settings_of_service: dict[str, Any]) -> Iterator[Deployment]:
    """The real web tier in memory. Photos wait until the test tags them."""
    limits = {"web.max_request_mb": 1, "controller.max_workers": 4}
    with deployment(settings=limits | settings_of_service) as fleet:
        yield fleet


@pytest.fixture
def photo(tmp_path: Path) -> Callable[..., Path]:
    """Makes a small JPEG of one colour under tmp_path/photos."""

    def make(name: str, colour: tuple[int, int, int] = (70, 130, 180)) -> Path:
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        out = io.BytesIO()
        Image.new("RGB", (64, 48), colour).save(out, "JPEG")
        path.write_bytes(out.getvalue())
        return path

    return make


@pytest.fixture
def snap(request: pytest.FixtureRequest) -> Callable[[Page, str], None]:
    """Keeps a picture of the page, for people to look at."""

    def take(page: Page, name: str) -> None:
        SCREENSHOTS.mkdir(exist_ok=True)
        page.screenshot(path=SCREENSHOTS / f"{name}.png")

    return take
