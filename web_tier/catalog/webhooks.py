"""The catalogue's webhooks and what they are still to be told.

That a batch ended is written down with the batch itself; what is due to a webhook follows from that. So nothing is
lost between an end and its announcement, however the end came about.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, case, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from core.domain.ids import new_id
from core.errors import TagfleetError
from web_tier.catalog.access_tables import deliveries, webhooks
from web_tier.catalog.batches import AnyRow
from web_tier.catalog.database import Database
from web_tier.catalog.pace import Pace
from web_tier.catalog.tables import batches
from web_tier.services.serializers import iso
from web_tier.services.webhook_client import Outcome

EVENTS = ("batch.completed", "batch.cancelled", "batch.expired")

ANNOUNCED_FOR_S = 7 * 86_400.0

_GROUP = 100
_PORTION = 1000
_KEPT_S = 14 * 86_400.0
"""Longer than ends are announced for: what is forgotten is not announced again."""
_CLAIMED_S = 60.0
"""Longer than one attempt can take; after a crash it is made again."""


class NoSuchWebhook(TagfleetError):
    """The catalogue has no webhook of this id."""


@dataclass(frozen=True, slots=True)
class Webhook:
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
    """`attempts` were made before this one."""

    id: str
    webhook_id: str
    body: str
    attempts: int
    next_at: float
    url: str
    secret: str = field(repr=False)


_WEBHOOK = [webhooks.c[name] for name in Webhook.__dataclass_fields__]
_EVENT = case(
    (batches.c.cancelled_at.is_not(None), "batch.cancelled"),
    (batches.c.expired_at.is_not(None), "batch.expired"),
    else_="batch.completed",
)


class WebhookCatalog:
    """Every method may raise Unavailable; times are Unix seconds."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, url: str, events: Sequence[str], secret: str, now: float) -> Webhook:
        webhook = Webhook(new_id("whk", now), url, [event for event in EVENTS if event in events], secret, now)
        values = {name: getattr(webhook, name) for name in Webhook.__dataclass_fields__}
        with self._database.writing() as connection:
            connection.execute(insert(webhooks), values)
        return webhook

    def listed(self) -> list[Webhook]:
        """The newest first."""
        with self._database.reading() as connection:
            return [Webhook(*row) for row in connection.execute(select(*_WEBHOOK).order_by(webhooks.c.id.desc()))]

    def webhook(self, webhook_id: str) -> Webhook:
        """Raises NoSuchWebhook."""
        with self._database.reading() as connection:
            row = connection.execute(select(*_WEBHOOK).where(webhooks.c.id == webhook_id)).one_or_none()
        if row is None:
            raise NoSuchWebhook(f"there is no webhook {webhook_id[:80]!r}")
        return Webhook(*row)

    def remove(self, webhook_id: str) -> None:
        """With all that it was still to be told. Raises NoSuchWebhook."""
        self._remove_deliveries(deliveries.c.webhook_id == webhook_id)  # in groups; its row takes the rest along
        with self._database.writing() as connection:
            gone = connection.execute(delete(webhooks).where(webhooks.c.id == webhook_id))
        if not gone.rowcount:
            raise NoSuchWebhook(f"there is no webhook {webhook_id[:80]!r}")

    def announce(self, now: float, over_s: float = ANNOUNCED_FOR_S) -> int:
        """Write down what webhooks are to be told of batches that ended since they were made; how much was new.

        Looks at the ends of the last `over_s` seconds. A batch whose images were tried again ends again, and is
        announced again.
        """
        with self._database.reading() as connection:
            rows = connection.execute(_UNANNOUNCED.where(batches.c.completed_at > now - over_s)).all()
        if not rows:
            return 0
        new = [_delivery(row, now) for row in rows]
        with suppress(IntegrityError), self._database.writing() as connection:  # another collector was faster
            connection.execute(insert(deliveries), new)
            return len(new)
        return 0

    def due(self, now: float) -> list[Delivery]:
        """What should be sent by now, the longest waiting first."""
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
        """Whether the next attempt is the caller's: of several collectors one gets it."""
        mine = deliveries.c.id == delivery.id, deliveries.c.next_at == delivery.next_at
        with self._database.writing() as connection:
            taken = connection.execute(
                update(deliveries).where(*mine).values(next_at=now + _CLAIMED_S, attempts=deliveries.c.attempts + 1)
            )
        return bool(taken.rowcount)

    def tried(self, delivery: Delivery, outcome: Outcome, now: float, *, next_at: float | None) -> None:
        """Note what came of an attempt; it is made again at `next_at`, or never where that is None."""
        with self._database.writing() as connection:
            connection.execute(update(deliveries).where(deliveries.c.id == delivery.id).values(next_at=next_at))
            self._note(connection, delivery.webhook_id, outcome, now)

    def noted(self, webhook_id: str, outcome: Outcome, now: float) -> None:
        """Note what came of an attempt that stood for no event."""
        with self._database.writing() as connection:
            self._note(connection, webhook_id, outcome, now)

    def forget(self, now: float) -> int:
        """Remove deliveries that arrived or were given up long ago; how many."""
        return self._remove_deliveries(and_(deliveries.c.next_at.is_(None), deliveries.c.occurred_at < now - _KEPT_S))

    def _remove_deliveries(self, which: ColumnElement[bool]) -> int:
        """In groups, each a short transaction of its own."""
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
    def _note(connection: Connection, webhook_id: str, outcome: Outcome, now: float) -> None:
        values = {"last_status": outcome.status, "last_error": outcome.error, "last_delivery_at": now}
        connection.execute(update(webhooks).where(webhooks.c.id == webhook_id).values(values))


_UNANNOUNCED = (
    select(
        webhooks.c.id.label("webhook_id"),
        webhooks.c.events,
        _EVENT.label("event"),
        *(
            batches.c[name]
            for name in ("id", "pool", "total", "completed", "failed", "cancelled", "created_at", "completed_at")
        ),
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


def _delivery(row: AnyRow, now: float) -> dict[str, Any]:
    """An event that the webhook did not ask for is noted as done, so that it is not found again and again."""
    wanted = row.event in row.events
    return {
        "id": new_id("msg", now),
        "webhook_id": row.webhook_id,
        "batch_id": row.id,
        "event": row.event,
        "occurred_at": row.completed_at,
        "body": _body(row) if wanted else "",
        "attempts": 0,
        "next_at": now if wanted else None,
    }


def _body(row: AnyRow) -> str:
    counts = {name: getattr(row, name) for name in ("total", "completed", "failed", "cancelled")}
    data = {
        "id": row.id,
        "status": row.event.removeprefix("batch."),
        "tagger": row.pool,
        "request_counts": counts,
        "created_at": iso(row.created_at),
        "completed_at": iso(row.completed_at),
    }
    return json.dumps({"type": row.event, "timestamp": iso(row.completed_at), "data": data})
