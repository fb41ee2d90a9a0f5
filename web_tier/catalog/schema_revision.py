"""The revision of a catalogue's schema."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from core.errors import TagfleetError

if TYPE_CHECKING:
    from alembic.config import Config

_MIGRATIONS = Path(__file__).with_name("migrations")


def migration_config() -> Config:
    """Return Alembic's configuration of the catalogue's migrations."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    return config


def own_revision() -> str:
    """Return the revision of this version's schema."""
    from alembic.script import ScriptDirectory

    return ScriptDirectory.from_config(migration_config()).get_current_head() or ""


def current_revision(connection: Connection) -> str | None:
    """Return the revision of a catalogue's schema; None if it has none."""
    from alembic.runtime.migration import MigrationContext

    return MigrationContext.configure(connection).get_current_revision()


def check_revision(connection: Connection, place: str) -> None:
    """Raise TagfleetError unless the catalogue has this version's schema."""
    current, own = current_revision(connection), own_revision()
    if current != own:
        raise TagfleetError(
            f"catalogue {place}: its schema has revision {current}, and this version of Tagfleet has {own}; "
            "use the version that wrote it"
        )
