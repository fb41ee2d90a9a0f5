"""The catalogue's ring of samples of the fleet: the last hour, however long it runs."""

from __future__ import annotations

from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError

from web_tier.api.schemas.fleet import Sample
from web_tier.catalog.database import Database
from web_tier.catalog.tables import samples

EVERY_S = 5.0
_SLOTS = 720


class SampleCatalog:
    """Both methods are one transaction and may raise Unavailable; times are Unix seconds."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def keep(self, sample: Sample) -> None:
        """Into the slot of its moment, over the one of an hour ago; of several hosts' samples one is kept."""
        slot = int(sample.at // EVERY_S) % _SLOTS
        values = {"at": sample.at, "sample": sample.model_dump(mode="json")}
        try:
            with self._database.writing() as connection:
                if not connection.execute(update(samples).where(samples.c.slot == slot).values(values)).rowcount:
                    connection.execute(insert(samples), {"slot": slot, **values})
        except IntegrityError:
            return  # another host was first

    def after(self, at: float, now: float) -> list[Sample]:
        """Those of the last hour that are later than `at`, oldest first."""
        oldest = max(at, now - EVERY_S * _SLOTS)
        query = select(samples.c.sample).where(samples.c.at > oldest).order_by(samples.c.at)
        with self._database.reading() as connection:
            return [Sample.model_validate(sample) for sample in connection.execute(query).scalars()]
