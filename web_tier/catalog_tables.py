"""The catalogue's tables: batches and their images. `migrations/` brings a database to this shape."""

from __future__ import annotations

from sqlalchemy import JSON, Boolean, Column, Float, ForeignKey, Index, Integer, MetaData, Table, Text, text

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
    Column("change", Integer, nullable=False),
    Column("total", Integer, nullable=False),
    Column("completed", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
)

images = Table(
    "images",
    metadata,
    Column("id", Text, primary_key=True),
    Column("batch_id", Text, ForeignKey("batches.id"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("change", Integer, nullable=False),
    Column("name", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("bytes", Integer, nullable=False),
    Column("status", Text, nullable=False),
    Column("provisional", Boolean, nullable=False),
    Column("error", Text),
    Column("caption", Text),
    Column("tags", JSON, nullable=False),
    Column("timings", JSON),
    Column("tagger", Text),
    Column("created_at", Float, nullable=False),
    Column("finished_at", Float),
    Index(None, "batch_id", "position", unique=True),
    Index(None, "batch_id", "change", unique=True),
    Index(None, "batch_id", "sha256", "name", unique=True),
    Index(
        "ix_images_unsent",
        "created_at",
        sqlite_where=text("status = 'received'"),
        postgresql_where=text("status = 'received'"),
    ),
)
"""`provisional`: failed because its job was found among the dead letters; a later result takes its place."""
