"""Samples of the fleet; numbers that PostgreSQL would cut at 32 bits."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_LARGE = {"batches": ("change", "total", "completed", "failed", "cancelled"), "images": ("position", "change", "bytes")}


def upgrade() -> None:
    op.create_table(
        "samples",
        sa.Column("slot", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("sample", sa.JSON, nullable=False),
    )
    _resize(sa.BigInteger)


def downgrade() -> None:
    _resize(sa.Integer)
    op.drop_table("samples")


def _resize(kind: type[sa.Integer]) -> None:
    """SQLite's integers have 64 bits in any case."""
    if op.get_bind().dialect.name == "postgresql":
        for table, columns in _LARGE.items():
            for column in columns:
                op.alter_column(table, column, type_=kind)
