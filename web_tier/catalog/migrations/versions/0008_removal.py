"""Images of deleted and cancelled batches are removed and cancelled in small groups."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

_TO_REMOVE = sa.text("deleted_at IS NOT NULL AND purged_at IS NULL")
_TO_CANCEL = sa.text("cancelled_at IS NOT NULL AND completed_at IS NULL")


def upgrade() -> None:
    op.add_column("batches", sa.Column("removed", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("batches", sa.Column("cleared_at", sa.Float))
    op.add_column("batches", sa.Column("emptied_at", sa.Float))
    # So far, the transaction that deleted a batch removed its images.
    op.execute("UPDATE batches SET removed = total, cleared_at = deleted_at WHERE deleted_at IS NOT NULL")
    for name, column, which in (("removing", "deleted_at", _TO_REMOVE), ("cancelling", "cancelled_at", _TO_CANCEL)):
        op.create_index(f"ix_batches_{name}", "batches", [column], sqlite_where=which, postgresql_where=which)


def downgrade() -> None:
    """Remove images of batches that are being removed, which would become visible again."""
    deleted = sa.text("batch_id IN (SELECT id FROM batches WHERE deleted_at IS NOT NULL AND cleared_at IS NULL)")
    op.execute(sa.delete(sa.table("images")).where(deleted))
    for name in ("cancelling", "removing"):
        op.drop_index(f"ix_batches_{name}", "batches")
    for name in ("emptied_at", "cleared_at", "removed"):
        op.drop_column("batches", name)
