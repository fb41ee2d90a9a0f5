"""Catalogue queries for webhooks and their deliveries.

The end of a batch is recorded with the batch itself, and deliveries are derived from that. So no end is lost before it
is announced, whatever caused it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, case, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from core.domain.ids import new_id
from core.errors import TagfleetError
from web_tier.catalog.batches import BATCH_COLUMNS, Batch
from web_tier.catalog.database import AnyRow, Database
from web_tier.catalog.pace import Pace
from web_tier.catalog.tables import batches, deliveries, webhooks

EVENTS = ("batch.completed", "batch.cancelled", "batch.expired")

Render = Callable[[str, Batch], str]
"""Returns the body of an event, one of `EVENTS`, about a batch."""

ANNOUNCED_FOR_S = 7 * 86_400.0

_GROUP = 100
_PORTION = 1000
_KEPT_S = 14 * 86_400.0
"""Longer than `ANNOUNCED_FOR_S`, so that a deleted delivery is not announced again."""
_CLAIMED_S = 60.0
"""Longer than one attempt can take; after a crash another attempt follows."""


class NoSuchWebhook(TagfleetError):
    """The catalogue has no webhook of this id."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """A receiver: the events it wants, and its last delivery. Times are Unix seconds."""

    id: str
    url: str
    events: list[str]
    secret: str = field(repr=False)
    created_at: float
    last_status: int | None = None
    last_error: str | None = None
    last_delivery_at: float | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message that is due; `attempts` counts those made before."""

    id: str
    webhook_id: str
    body: str
    attempts: int
    next_at: float
    url: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request to a receiver: the status of its answer, or the reason why there is none."""

    status: int | None
    error: str | None
    at: float


_WEBHOOK = [webhooks.c[name] for name in Webhook.__dataclass_fields__]
_EVENT = case(
    (batches.c.cancelled_at.is_not(None), "batch.cancelled"),
    (batches.c.expired_at.is_not(None), "batch.expired"),
    else_="batch.completed",
)


class WebhookCatalog:
    """Keeps webhooks, and each one's deliveries. Every method may raise Unavailable; times are Unix seconds."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, url: str, events: Sequence[str], secret: str, now: float) -> Webhook:
        """Add a webhook for these of the `EVENTS`; `secret` signs its messages."""
        webhook = Webhook(new_id("whk", now), url, [event for event in EVENTS if event in events], secret, now)
        values = {name: getattr(webhook, name) for name in Webhook.__dataclass_fields__}
        with self._database.writing() as connection:
            connection.execute(insert(webhooks), values)
        return webhook

    def list_all(self) -> list[Webhook]:
        """Return all webhooks, newest first."""
        with self._database.reading() as connection:
            return [Webhook(*row) for row in connection.execute(select(*_WEBHOOK).order_by(webhooks.c.id.desc()))]

    def get(self, webhook_id: str) -> Webhook:
        """Return a webhook. Raises NoSuchWebhook."""
        with self._database.reading() as connection:
            row = connection.execute(select(*_WEBHOOK).where(webhooks.c.id == webhook_id)).one_or_none()
        if row is None:
            raise NoSuchWebhook(f"there is no webhook {webhook_id[:80]!r}")
        return Webhook(*row)

    def remove(self, webhook_id: str) -> None:
        """Remove a webhook and its deliveries. Raises NoSuchWebhook."""
        self._remove_deliveries(deliveries.c.webhook_id == webhook_id)  # most of them in groups; the row takes the rest
        with self._database.writing() as connection:
            gone = connection.execute(delete(webhooks).where(webhooks.c.id == webhook_id))
        if not gone.rowcount:
            raise NoSuchWebhook(f"there is no webhook {webhook_id[:80]!r}")

    def announce(self, render: Render, now: float, over_s: float = ANNOUNCED_FOR_S) -> int:
        """Add a delivery for each batch that ended since a webhook was made; return how many were added.

        Only batches that ended in the last `over_s` seconds count. A batch whose images are tried again ends again,
        and is announced again.
        """
        with self._database.reading() as connection:
            rows = connection.execute(_UNANNOUNCED.where(batches.c.completed_at > now - over_s)).all()
        if not rows:
            return 0
        new = [_delivery(render, row, now) for row in rows]
        with suppress(IntegrityError), self._database.writing() as connection:  # another collector was faster
            connection.execute(insert(deliveries), new)
            return len(new)
        return 0

    def due(self, now: float) -> list[Delivery]:
        """Return deliveries that are due, the longest waiting first."""
        columns = [deliveries.c[name] for name in ("id", "webhook_id", "body", "attempts", "next_at")]
        query = (
            select(*columns, webhooks.c.url, webhooks.c.secret)
            .join(webhooks, webhooks.c.id == deliveries.c.webhook_id)
            .where(deliveries.c.next_at <= now)
            .order_by(deliveries.c.next_at)
            .limit(_GROUP)
        )
        with self._database.reading() as connection:
            rows: Sequence[AnyRow] = connection.execute(query).all()
        return [Delivery(*row) for row in rows]

    def claim(self, delivery: Delivery, now: float) -> bool:
        """Claim the next attempt; return whether the caller got it. Of several collectors one does."""
        mine = deliveries.c.id == delivery.id, deliveries.c.next_at == delivery.next_at
        with self._database.writing() as connection:
            taken = connection.execute(
                update(deliveries).where(*mine).values(next_at=now + _CLAIMED_S, attempts=deliveries.c.attempts + 1)
            )
        return bool(taken.rowcount)

    def record_attempt(self, delivery: Delivery, attempt: Attempt, *, next_at: float | None) -> None:
        """Record an attempt at a delivery. The next one is due at `next_at`; None means there is none."""
        with self._database.writing() as connection:
            connection.execute(update(deliveries).where(deliveries.c.id == delivery.id).values(next_at=next_at))
            self._set_last(connection, delivery.webhook_id, attempt)

    def record_test(self, webhook_id: str, attempt: Attempt) -> None:
        """Record a test delivery, which belongs to no event."""
        with self._database.writing() as connection:
            self._set_last(connection, webhook_id, attempt)

    def forget(self, now: float) -> int:
        """Remove deliveries that arrived or were given up long ago; return how many."""
        return self._remove_deliveries(and_(deliveries.c.next_at.is_(None), deliveries.c.occurred_at < now - _KEPT_S))

    def _remove_deliveries(self, which: ColumnElement[bool]) -> int:
        """Remove them in groups, each a short transaction of its own."""
        removed = 0
        pace = Pace()
        query = select(deliveries.c.id).where(which).limit(_PORTION)
        while True:
            with self._database.reading() as connection:
                found = list(connection.execute(query).scalars())
            for group in pace.groups(found):
                with self._database.writing() as connection, pace.measuring():
                    removed += connection.execute(delete(deliveries).where(deliveries.c.id.in_(group))).rowcount
            if len(found) < _PORTION:
                return removed

    @staticmethod
    def _set_last(connection: Connection, webhook_id: str, attempt: Attempt) -> None:
        values = {"last_status": attempt.status, "last_error": attempt.error, "last_delivery_at": attempt.at}
        connection.execute(update(webhooks).where(webhooks.c.id == webhook_id).values(values))


_UNANNOUNCED = (
    select(
        webhooks.c.id.label("webhook_id"),
        webhooks.c.events,
        _EVENT.label("event"),
        *BATCH_COLUMNS,
    )
    .join(webhooks, webhooks.c.created_at <= batches.c.completed_at)
    .outerjoin(
        deliveries,
        and_(
            deliveries.c.webhook_id == webhooks.c.id,
            deliveries.c.batch_id == batches.c.id,
            deliveries.c.event == _EVENT,
            deliveries.c.occurred_at == batches.c.completed_at,
        ),
    )
    .where(
        batches.c.closed_at.is_not(None),
        batches.c.completed_at.is_not(None),
        batches.c.deleted_at.is_(None),
        deliveries.c.id.is_(None),
    )
    .order_by(batches.c.completed_at)
    .limit(_GROUP)
)


def _delivery(render: Render, row: AnyRow, now: float) -> dict[str, Any]:
    """Return a new row. An event the webhook did not ask for counts as delivered, so that it is not found again."""
    webhook_id, events, event, *columns = row
    batch, wanted = Batch(*columns), event in events
    return {
        "id": new_id("msg", now),
        "webhook_id": webhook_id,
        "batch_id": batch.id,
        "event": event,
        "occurred_at": batch.completed_at,
        "body": render(event, batch) if wanted else "",
        "attempts": 0,
        "next_at": now if wanted else None,
    }
