"""Feedback that is not published to adaptive taggers yet. All decisions so far count as unpublished."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("images", sa.Column("feedback", sa.BigInteger))
    images = sa.table("images", *(sa.column(name) for name in ("id", "change", "feedback")))
    verdicts = sa.table("verdicts", sa.column("image_id"), sa.column("undone_at"))
    judged = sa.select(verdicts.c.image_id).where(verdicts.c.undone_at.is_(None))
    op.execute(sa.update(images).where(images.c.id.in_(judged)).values(feedback=images.c.change))
    untold = sa.text("feedback IS NOT NULL")
    op.create_index("ix_images_untold", "images", ["id"], sqlite_where=untold, postgresql_where=untold)


def downgrade() -> None:
    op.drop_index("ix_images_untold", "images")
    op.drop_column("images", "feedback")
