"""The catalogue's tables: batches and their images. `migrations/` brings a database to this shape."""

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
"""A deleted batch keeps its row, emptied and shown to nobody: its late results are known by it, and sums still grow.

Its images are hidden by `deleted_at`, and go in small groups: `removed` of `total` so far, all of them by `cleared_at`.
`purged_at`: what came into the store after the deletion was removed too. `emptied_at`: when what a batch of dropped
files held before was deleted. Images that wait in a batch with `cancelled_at` count as cancelled; once their rows say
so too, it has `completed_at`.
"""

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
    Index(None, "batch_id", "position", unique=True),
    Index(None, "batch_id", "change", unique=True),
    Index(None, "batch_id", "sha256", "name", unique=True),
    Index(None, "sha256"),
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
"""`provisional`: failed because its job was found among the dead letters; a later result takes its place.

`attempt`: how often it was tried again; results of earlier attempts no longer count. `stored`: its bytes are in the
store, which those of a file refused at its upload are not; `origin`: where the bytes of a dropped file lie. `tags` are
those to show; `said`: the tagger's own, where verdicts stand over them; `edited`: the verdicts make a difference.
`feedback`: the change number of the last edit of its tags, until taggers that learn were told of it. `width`, `height`:
pixels of the upright picture, null where no worker told them.
"""

tags = Table(
    "tags",
    metadata,
    Column("image_id", Text, ForeignKey("images.id", ondelete="CASCADE"), primary_key=True),
    Column("key", Text().with_variant(Text(collation="C"), "postgresql"), primary_key=True),
    Column("name", Text, nullable=False),
    Column("confidence", Float),
    Column("source", Text, nullable=False),
    Index(None, "key", "image_id", "name"),
)
"""The tags of images once more, for search: `key` is the name without its case, and sorts by code points."""

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
"""What people decided, one row for each image and tag; those that are undone stay. `feedback`: accept, reject or add,
where it was given as such.
"""

samples = Table(
    "samples",
    metadata,
    Column("slot", Integer, primary_key=True, autoincrement=False),
    Column("at", Float, nullable=False),
    Column("sample", JSON, nullable=False),
)
"""The fleet over the last hour, a ring: `slot` is the sample's moment, counted in samples, modulo the ring's length."""
