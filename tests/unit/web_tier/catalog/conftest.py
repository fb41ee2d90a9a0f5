"""A catalogue for tests of its queries, on each kind of database."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from config.settings import Settings
from web_tier.catalog.database import Database, catalog_url, migrate


@pytest.fixture
def database(cataloged: Settings) -> Iterator[Database]:
    migrate(catalog_url(cataloged))
    database = Database(catalog_url(cataloged))
    yield database
    database.close()
