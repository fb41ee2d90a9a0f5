"""The catalogue's tables. `migrations/` brings a database to this schema."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    false,
    text,
    true,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

batches = Table(
    "batches",
    metadata,
    Column("id", Text, primary_key=True),
    Column("pool", Text, nullable=False),
    Column("options", JSON, nullable=False),
    Column("metadata", JSON, nullable=False),
    Column("idempotency_key", Text, unique=True),
    Column("payload_hash", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("changed_at", Float, nullable=False),
    Column("closed_at", Float),
    Column("completed_at", Float),
    Column("change", BigInteger, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("completed", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("cancelled", BigInteger, nullable=False, server_default="0"),
    Column("cancelled_at", Float),
    Column("expired_at", Float),
    Column("deleted_at", Float),
    Column("purged_at", Float),
    Column("removed", BigInteger, nullable=False, server_default="0"),
    Column("cleared_at", Float),
    Column("emptied_at", Float),
    Column("counted", BigInteger, nullable=False, server_default="0"),
    Index(None, "created_at", "id"),
    Index(
        "ix_batches_removing",
        "deleted_at",
        sqlite_where=text("deleted_at IS NOT NULL AND purged_at IS NULL"),
        postgresql_where=text("deleted_at IS NOT NULL AND purged_at IS NULL"),
    ),
    Index(
        "ix_batches_cancelling",
        "cancelled_at",
        sqlite_where=text("cancelled_at IS NOT NULL AND completed_at IS NULL"),
        postgresql_where=text("cancelled_at IS NOT NULL AND completed_at IS NULL"),
    ),
)
"""A deleted batch keeps its row, emptied and invisible: late results are recognised by it, and totals never shrink.

- `deleted_at` hides the images. They are removed in small groups: `removed` of `total` so far, all by `cleared_at`.
- `purged_at`: objects that came into the store after the deletion are removed, too.
- `emptied_at`: when the earlier images of a batch of dropped files were deleted; it has started anew since.
- `cancelled_at`: waiting images count as cancelled. Once their rows say so too, the batch has `completed_at`.
- `counted` grows with `change`. It differs once an earlier version, which counts no tags, has changed the batch.
"""

PERCENT = "round(surest * 100 - 0.49)"
"""SQL: `surest` in whole per cent. It grows with `surest`, and is the same in all databases but for rounding errors."""

images = Table(
    "images",
    metadata,
    Column("id", Text, primary_key=True),
    Column("batch_id", Text, ForeignKey("batches.id"), nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("change", BigInteger, nullable=False),
    Column("name", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("status", Text, nullable=False),
    Column("provisional", Boolean, nullable=False),
    Column("error", Text),
    Column("caption", Text),
    Column("tags", JSON, nullable=False),
    Column("timings", JSON),
    Column("tagger", Text),
    Column("created_at", Float, nullable=False),
    Column("finished_at", Float),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("stored", Boolean, nullable=False, server_default=true()),
    Column("edited", Boolean, nullable=False, server_default=false()),
    Column("said", JSON(none_as_null=True)),
    Column("origin", Text),
    Column("feedback", BigInteger),
    Column("width", Integer),
    Column("height", Integer),
    Column("surest", Float),
    Index(None, "batch_id", "position", unique=True),
    Index(None, "batch_id", "change", unique=True),
    Index(None, "batch_id", "sha256", "name", unique=True),
    Index(None, "sha256"),
    Index(None, "batch_id", "status", "position"),
    Index(None, "batch_id", "surest", "position"),
    Index(
        "ix_images_batch_id_percent_position",
        "batch_id",
        text(PERCENT),
        "position",
        sqlite_where=text("surest IS NOT NULL"),
        postgresql_where=text("surest IS NOT NULL"),
    ),
    Index(
        "ix_images_unsent",
        "created_at",
        sqlite_where=text("status = 'received'"),
        postgresql_where=text("status = 'received'"),
    ),
    Index(
        "ix_images_untold",
        "id",
        sqlite_where=text("feedback IS NOT NULL"),
        postgresql_where=text("feedback IS NOT NULL"),
    ),
)
"""- `provisional`: failed because its job became a dead letter; a later result replaces it.
- `attempt`: how often it was retried; results of earlier attempts do not count.
- `stored`: our store has its bytes. False for a refused upload and for a dropped file.
- `origin`: the address of a dropped file.
- `tags`: the tags to show. `said`: the tagger's own, if there are edits. `edited`: the two differ.
- `feedback`: the change number of the last tag edit, until it is published to adaptive taggers.
- `width`, `height`: pixels of the upright image, null if no worker reported them.
- `surest`: the highest confidence of its shown tags, 1 for a person's; null without any, or while they are unplaced.
"""

_KEY = Text().with_variant(Text(collation="C"), "postgresql")

tags = Table(
    "tags",
    metadata,
    Column("image_id", Text, ForeignKey("images.id", ondelete="CASCADE"), primary_key=True),
    Column("key", _KEY, primary_key=True),
    Column("name", Text, nullable=False),
    Column("confidence", Float),
    Column("source", Text, nullable=False),
    Column("batch_id", Text),
    Column("position", BigInteger),
    Index(None, "key", "image_id", "name"),
    Index(
        "ix_tags_unplaced",
        "image_id",
        sqlite_where=text("batch_id IS NULL"),
        postgresql_where=text("batch_id IS NULL"),
    ),
    Index(
        "ix_tags_batch_id_key_position",
        "batch_id",
        "key",
        "position",
        "confidence",
        "source",
        sqlite_where=text("batch_id IS NOT NULL"),
        postgresql_where=text("batch_id IS NOT NULL"),
    ),
)
"""The shown tags of images again, for search. `key` is the name in folded case, and sorts by code points.

An index has `confidence` and `source` at its end, so that a search by a minimal confidence reads no rows.
`batch_id` and `position` are the image's. They are null in *unplaced* rows, which an earlier version wrote.
"""

tag_counts = Table(
    "tag_counts",
    metadata,
    Column("batch_id", Text, primary_key=True),
    Column("key", _KEY, primary_key=True),
    Column("name", Text, nullable=False),
    Column("images", BigInteger, nullable=False),
    Index(
        "ix_tag_counts_most",
        "images",
        "key",
        sqlite_where=text("batch_id = ''"),
        postgresql_where=text("batch_id = ''"),
    ),
)
"""How many images have a tag: in each batch, and under the batch "" in all that are not deleted.

It counts placed rows of `tags`. `name` is one of their spellings: the greatest since the count was last zero.
"""

verdicts = Table(
    "verdicts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("edit_id", Text, nullable=False, index=True),
    Column("image_id", Text, ForeignKey("images.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("wanted", Boolean, nullable=False),
    Column("feedback", Text),
    Column("created_at", Float, nullable=False),
    Column("undone_at", Float),
)
"""People's tag edits, one row per image and tag. Undone rows stay. `feedback`: accept, reject or add, if given so."""

samples = Table(
    "samples",
    metadata,
    Column("slot", Integer, primary_key=True, autoincrement=False),
    Column("at", Float, nullable=False),
    Column("sample", JSON, nullable=False),
)
"""The fleet over the last hour. `slot` is the number of the sampling interval, modulo the number of slots."""

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
"""`secret` signs messages, so it is stored itself and not as a hash."""

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
"""One event for one webhook. `next_at`: the time of the next attempt; null once it arrived or was given up.

`batch_id` is no foreign key: a batch may be deleted while its last event is on its way.
"""

Index("ix_batches_completed_at", batches.c.completed_at)
"""Finds ends of batches that are not announced to webhooks yet."""
