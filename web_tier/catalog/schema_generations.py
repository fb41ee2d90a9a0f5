"""Versions of Tagfleet that share one catalogue while hosts are replaced one after the other.

1. The first host of a new version migrates the catalogue. Hosts of the version before still use it, and may start anew.
2. So a migration only adds: tables, columns that a row may lack, indexes, wider types. What code of the version before
   reads and writes goes on working.
3. Revisions count up within a *generation*: 0001 to 0999 are the first, 1000 to 1999 the next. Code goes on with a
   newer revision of its own generation, and refuses a newer generation in one line.
4. A migration that removes or renames begins a generation. Every process of the version before is stopped first.

`tests/unit/web_tier/test_migrations_expand.py` holds each migration to 2.
"""

from __future__ import annotations

import structlog
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from core.errors import TagfleetError

_SIZE = 1000
_log = structlog.get_logger(__name__)


def shared_with_newer(connection: Connection, config: Config, place: str) -> bool:
    """Return whether a newer version keeps this catalogue in a shape that this version can use as it is.

    `place` is the database as messages name it. Raises TagfleetError where a newer version's shape is of no use here.
    """
    script = ScriptDirectory.from_config(config)
    newest = script.get_current_head() or ""
    current = MigrationContext.configure(connection).get_current_revision()
    if current is None or any(current == known.revision for known in script.walk_revisions()):
        return False
    if _generation(current) != _generation(newest):
        raise TagfleetError(
            f"catalogue {place}: a newer version of Tagfleet wrote it (revision {current}, this version has {newest}); "
            "run that version"
        )
    _log.info("catalogue of a newer version", catalogue=place, revision=current, own_revision=newest)
    return True


def _generation(revision: str) -> int | str:
    """A revision that is no number is its own generation: nothing is known of it."""
    return int(revision) // _SIZE if revision.isascii() and revision.isdigit() else revision
