"""Tags get rows of their own, for search, and people's decisions about them are kept."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_GROUP = 500
_KEPT = 200


def upgrade() -> None:
    op.add_column("images", sa.Column("edited", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("images", sa.Column("said", sa.JSON(none_as_null=True)))
    tags = op.create_table(
        "tags",
        sa.Column("image_id", sa.Text, sa.ForeignKey("images.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("key", _KEY, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("confidence", sa.Float),
        sa.Column("source", sa.Text, nullable=False),
    )
    op.create_table(
        "verdicts",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("edit_id", sa.Text, nullable=False),
        sa.Column("image_id", sa.Text, sa.ForeignKey("images.id", ondelete="CASCADE"), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("wanted", sa.Boolean, nullable=False),
        sa.Column("feedback", sa.Text),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("undone_at", sa.Float),
    )
    _copy_tags(tags)
    op.create_index("ix_tags_key_image_id_name", "tags", ["key", "image_id", "name"])
    op.create_index("ix_verdicts_image_id", "verdicts", ["image_id"])
    op.create_index("ix_verdicts_edit_id", "verdicts", ["edit_id"])


def _copy_tags(tags: sa.Table) -> None:
    """Add rows for the tags that the images have."""
    images = sa.table("images", sa.column("id", sa.Text), sa.column("tags", sa.JSON))
    connection = op.get_bind()
    last = ""
    query = sa.select(images.c.id, images.c.tags).order_by(images.c.id).limit(_GROUP)
    while found := connection.execute(query.where(images.c.id > last)).all():
        last = found[-1].id
        rows = {
            (image_id, tag["name"].casefold()[:_KEPT]): {
                "image_id": image_id,
                "key": tag["name"].casefold()[:_KEPT],
                "name": tag["name"][:_KEPT],
                "confidence": tag["confidence"],
                "source": tag["source"],
            }
            for image_id, said in found
            for tag in reversed(said)  # of two tags of one name the first counts
        }
        if rows:
            connection.execute(sa.insert(tags), list(rows.values()))


def downgrade() -> None:
    op.drop_table("verdicts")
    op.drop_table("tags")
    op.drop_column("images", "said")
    op.drop_column("images", "edited")
