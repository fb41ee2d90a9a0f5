"""Width and height of images, which workers report from now on; older results have none."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("images", sa.Column("width", sa.Integer))
    op.add_column("images", sa.Column("height", sa.Integer))


def downgrade() -> None:
    op.drop_column("images", "height")
    op.drop_column("images", "width")
