"""A service over a catalogue at a given URL, and waiting for what becomes of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from config.settings import Settings
from core.wiring import Backend
from tests.unit.web_tier.conftest import Clock, Web
from web_tier.app import create_app
from web_tier.catalog.database import Database, catalog_url, migrate
from web_tier.catalog.results import ResultCatalog
from web_tier.collector.collector import Collector

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
    migrate(catalog_url(placed))
    backend, clock, database = Backend(placed), Clock(), Database(catalog_url(placed))
    catalog = ResultCatalog(database)
    app = create_app(backend, placed, clock)
    yield Web(
        settings=placed,
        backend=backend,
        clock=clock,
        client=app.test_client(),
        collector=Collector(backend, catalog, placed, clock),
        catalog=catalog,
    )
    app.extensions["tagfleet"].database.close()
    database.close()
