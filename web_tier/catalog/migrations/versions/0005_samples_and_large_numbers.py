"""Samples of the fleet; 64 bits for numbers that may exceed 32 in PostgreSQL."""

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
    """Change the type in PostgreSQL. SQLite's integers have 64 bits anyway."""
    if op.get_bind().dialect.name == "postgresql":
        for table, columns in _LARGE.items():
            for column in columns:
                op.alter_column(table, column, type_=kind)
