"""Images of dropped files; an index of batches by the time of their creation."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("images", sa.Column("origin", sa.Text))
    op.create_index("ix_batches_created_at_id", "batches", ["created_at", "id"])


def downgrade() -> None:
    op.drop_index("ix_batches_created_at_id", "batches")
    op.drop_column("images", "origin")
