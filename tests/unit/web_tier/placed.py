"""A service over a catalogue at a given URL, and waiting for what becomes of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from config.settings import Settings
from core.wiring import Backend
from tests.clock import Clock
from tests.unit.web_tier.conftest import Web, web_over

PATIENCE_S = 120


def until(condition: Callable[[], object], what: str) -> None:
    """Wait for it; the limit is a net for a test that hangs."""
    late = threading.Event()
    net = threading.Timer(PATIENCE_S, late.set)
    net.start()
    try:
        while not condition():
            assert not late.is_set(), what
            late.wait(0.02)
    finally:
        net.cancel()


@contextmanager
def served(settings: Settings, url: str) -> Iterator[Web]:
    """The service over the catalogue at `url`."""
    placed = settings.model_copy(update={"web": settings.web.model_copy(update={"catalog_url": url})})
    with web_over(Backend(placed), Clock()) as web:
        yield web
