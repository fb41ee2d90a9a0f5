"""Batches are cancelled, expire and are deleted; images are retried, and recognised by their content."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("batches", sa.Column("cancelled", sa.Integer, nullable=False, server_default="0"))
    for name in ("cancelled_at", "expired_at", "deleted_at", "purged_at"):
        op.add_column("batches", sa.Column(name, sa.Float))
    op.add_column("images", sa.Column("attempt", sa.Integer, nullable=False, server_default="0"))
    op.add_column("images", sa.Column("stored", sa.Boolean, nullable=False, server_default=sa.true()))
    # So far, only a file that was refused at its upload could fail for good without a tagger.
    op.execute("UPDATE images SET stored = false WHERE status = 'failed' AND tagger IS NULL AND NOT provisional")
    op.create_index("ix_images_sha256", "images", ["sha256"])


def downgrade() -> None:
    op.drop_index("ix_images_sha256", "images")
    op.drop_column("images", "stored")
    op.drop_column("images", "attempt")
    for name in ("purged_at", "deleted_at", "expired_at", "cancelled_at", "cancelled"):
        op.drop_column("batches", name)
