"""The catalogue's tables of who may do what, and of whom to tell. `migrations/` brings a database to this shape."""

from __future__ import annotations

from sqlalchemy import JSON, Column, Float, ForeignKey, Index, Integer, Table, Text

from web_tier.catalog.tables import batches, metadata

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("fingerprint", Text, nullable=False, unique=True),
    Column("scopes", JSON, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("last_used_at", Float),
    Column("revoked_at", Float),
)

sessions = Table(
    "sessions",
    metadata,
    Column("fingerprint", Text, primary_key=True),
    Column("key_id", Text, ForeignKey("api_keys.id"), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Index(None, "key_id"),
    Index(None, "expires_at"),
)

webhooks = Table(
    "webhooks",
    metadata,
    Column("id", Text, primary_key=True),
    Column("url", Text, nullable=False),
    Column("events", JSON, nullable=False),
    Column("secret", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("last_status", Integer),
    Column("last_error", Text),
    Column("last_delivery_at", Float),
)
"""`secret` signs what is sent, so it is kept as it is, and not as a fingerprint."""

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", Text, primary_key=True),
    Column("webhook_id", Text, ForeignKey("webhooks.id", ondelete="CASCADE"), nullable=False),
    Column("batch_id", Text, nullable=False),
    Column("event", Text, nullable=False),
    Column("occurred_at", Float, nullable=False),
    Column("body", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_at", Float),
    Index(None, "webhook_id", "batch_id", "event", "occurred_at", unique=True),
    Index(None, "next_at"),
    Index(None, "occurred_at"),
)
"""One event for one webhook. `next_at`: when it is tried next; null once it arrived or was given up.

`batch_id` names no row that must be there: a batch may be deleted while its last event is on its way.
"""

Index("ix_batches_completed_at", batches.c.completed_at)
"""By which ends are found that webhooks were not told of yet."""
