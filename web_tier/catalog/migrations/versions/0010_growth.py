"""Counts of tags, and columns and indexes by which queries take the same time however large the catalogue is.

Rows of `tags` that are there already, and those that the previous version still writes, have no `batch_id`: they are
*unplaced*. `web_tier.catalog.placing` places and counts them later, in small groups, while the service runs. It then
counts each batch whose `counted` is not its `change`.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

_KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_WHOLE: dict[str, list[str | sa.TextClause]] = {
    "ix_images_batch_id_status_position": ["batch_id", "status", "position"],
    "ix_images_batch_id_surest_position": ["batch_id", "surest", "position"],
}
_PARTIAL: dict[str, tuple[str, list[str | sa.TextClause], str]] = {
    "ix_tags_unplaced": ("tags", ["image_id"], "batch_id IS NULL"),
    "ix_tags_batch_id_key_position": (
        "tags",
        ["batch_id", "key", "position", "confidence", "source"],
        "batch_id IS NOT NULL",
    ),
    "ix_images_batch_id_percent_position": (
        "images",
        ["batch_id", sa.text("round(surest * 100 - 0.49)"), "position"],
        "surest IS NOT NULL",
    ),
    "ix_tag_counts_most": ("tag_counts", ["images", "key"], "batch_id = ''"),
}


def upgrade() -> None:
    op.create_table(
        "tag_counts",
        sa.Column("batch_id", sa.Text, primary_key=True),
        sa.Column("key", _KEY, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("images", sa.BigInteger, nullable=False),
    )
    op.add_column("tags", sa.Column("batch_id", sa.Text))
    op.add_column("tags", sa.Column("position", sa.BigInteger))
    op.add_column("images", sa.Column("surest", sa.Float))
    op.add_column("batches", sa.Column("counted", sa.BigInteger, nullable=False, server_default="0"))
    for name, (table, columns, where) in _PARTIAL.items():
        op.create_index(name, table, columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
    for name, columns in _WHOLE.items():
        op.create_index(name, "images", columns)


def downgrade() -> None:
    for name in _WHOLE:
        op.drop_index(name, "images")
    for name, (table, _, _) in _PARTIAL.items():
        op.drop_index(name, table)
    op.drop_column("batches", "counted")
    op.drop_column("images", "surest")
    op.drop_column("tags", "position")
    op.drop_column("tags", "batch_id")
    op.drop_table("tag_counts")
