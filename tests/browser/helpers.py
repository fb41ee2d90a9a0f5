"""What browser tests do to the deployment behind the page, and wait for."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page

from tagfleet.testing import Deployment

PATIENCE_S = 60
BATCH_URL = re.compile(r"/batches/(bat_\w+)$")


def numbered(count: int) -> dict[str, bytes]:
    """So many photos, no two alike."""
    return {f"photo-{n:05}.jpg": b"photo %d" % n for n in range(count)}


def get(service: Deployment, path: str) -> Any:
    return service.http().get(f"/api/v1{path}").json


def batches(service: Deployment) -> list[dict[str, Any]]:
    """All of them, the newest first."""
    found: list[dict[str, Any]] = get(service, "/batches?limit=100")["batches"]
    return found


def items(service: Deployment) -> list[dict[str, Any]]:
    """The photos of all batches."""
    pages = [get(service, f"/batches/{batch['id']}/results?limit=500") for batch in batches(service)]
    return [item for page in pages for item in page["results"]]


def wait_until(reached: Callable[[], object], what: str) -> None:
    """The page says what is on show before its next request is here; `what` is told when it never comes."""
    deadline = time.monotonic() + PATIENCE_S
    while not reached():
        if time.monotonic() > deadline:
            pytest.fail(f"after {PATIENCE_S} s the page had not {what}")
        time.sleep(0.02)


def only_batch(service: Deployment) -> dict[str, Any]:
    wait_until(lambda: batches(service), "made a batch")
    (batch,) = batches(service)
    return batch


def wait_for_images(service: Deployment, count: int) -> None:
    wait_until(lambda: sum(one["request_counts"]["total"] for one in batches(service)) >= count, f"sent {count} photos")


def wait_for_close(service: Deployment) -> None:
    """The page closes its batch once all is uploaded, after it has said so."""
    wait_until(lambda: only_batch(service)["closed_at"], "closed its batch")


def card(page: Page, name: str) -> Any:
    return page.locator(".card").filter(has=page.locator(f'.card-name[title="{name}"]'))
