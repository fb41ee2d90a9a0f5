"""Time the last migration of a filled catalogue, and what processes catch up with afterwards."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import URL

import web_tier
from bench.growth.catalogues import copied, ensure_filled, of_size, short
from web_tier.catalog.database import Database, migrate
from web_tier.catalog.placing import Placing, PlacingCatalog


def report(images: int, base: URL, scratch: Path) -> Iterator[str]:
    """Yield lines on the migration from the revision before the newest."""
    newest, before = _revisions()
    url = of_size(base.set(database=_at(str(base.database), before)), images)
    took = ensure_filled(url, images, before)
    yield f"{short(images)} images at revision {before}: {'found' if took is None else f'filled in {took:.0f} s'}"
    with copied(url, scratch) as copy:
        began = time.perf_counter()
        migrate(copy)
        yield f"migration from {before} to {newest}: {time.perf_counter() - began:.1f} s"
        yield f"placing and counting its tags meanwhile, with pauses: {_placing(copy):.1f} s"


def _placing(url: URL) -> float:
    """Return the seconds until housekeeping has placed and counted all tags."""
    with closing(Database(url)) as database:
        placing = Placing(PlacingCatalog(database), time.time)
        began, never = time.perf_counter(), threading.Event()
        while placing.work(never):
            pass
        return time.perf_counter() - began


def _at(database: str, revision: str) -> str:
    """Return the name of a catalogue of an earlier revision: catalog-0009.db, growth0009x."""
    path = Path(database)
    return str(path.with_name(f"{path.stem}-{revision}{path.suffix}")) if path.suffix else f"{database}{revision}x"


def _revisions() -> tuple[str, str]:
    """Return the newest revision, and the one before it."""
    config = Config()
    config.set_main_option("script_location", str(Path(web_tier.__file__).with_name("catalog") / "migrations"))
    script = ScriptDirectory.from_config(config)
    newest = script.get_revision("head")
    assert newest is not None
    return newest.revision, str(newest.down_revision)
