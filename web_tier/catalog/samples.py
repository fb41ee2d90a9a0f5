"""Catalogue queries for samples of the fleet over the last hour. Each new sample replaces the one of an hour ago."""

from __future__ import annotations

from pydantic import BaseModel
from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError

from web_tier.catalog.database import Database
from web_tier.catalog.tables import samples

EVERY_S = 5.0
_SLOTS = 720


class Sample(BaseModel):
    """Queues and workers of all pools together at the time `at`, in Unix seconds.

    `visible` counts waiting images, `workers` the live ones by state. `rate` is images/s since the previous sample.
    """

    at: float
    visible: int
    in_flight: int
    dead: int
    workers: dict[str, int]
    rate: float


class SampleCatalog:
    """Keeps the samples. Every method is one transaction and may raise Unavailable; times are Unix seconds."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def keep(self, sample: Sample) -> None:
        """Store a sample in the slot of its time. If several hosts take one for the same slot, one is kept."""
        slot = int(sample.at // EVERY_S) % _SLOTS
        values = {"at": sample.at, "sample": sample.model_dump(mode="json")}
        try:
            with self._database.writing() as connection:
                if not connection.execute(update(samples).where(samples.c.slot == slot).values(values)).rowcount:
                    connection.execute(insert(samples), {"slot": slot, **values})
        except IntegrityError:
            return  # another host was first

    def after(self, at: float, now: float) -> list[Sample]:
        """Return the samples of the last hour that are later than `at`, oldest first."""
        oldest = max(at, now - EVERY_S * _SLOTS)
        query = select(samples.c.sample).where(samples.c.at > oldest).order_by(samples.c.at)
        with self._database.reading() as connection:
            return [Sample.model_validate(sample) for sample in connection.execute(query).scalars()]
