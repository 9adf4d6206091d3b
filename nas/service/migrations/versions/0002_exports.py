"""Exports of trials."""

import sqlalchemy as sa
from alembic import op

revision = "nas_0002"
down_revision = "nas_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates their table."""
    op.create_table(
        "exports",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("search_id", sa.String(32), nullable=False),
        sa.Column("trial", sa.Integer(), nullable=False),
        sa.Column("target", sa.String(32), nullable=False),
        sa.Column("artifact", sa.String(300)),
        sa.Column("num_bytes", sa.BigInteger()),
        sa.Column("sha256", sa.String(64)),
        sa.PrimaryKeyConstraint("id", name="pk_exports"),
        sa.ForeignKeyConstraint(["id"], ["jobs.id"], name="fk_exports_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["search_id"], ["searches.id"], name="fk_exports_search_id", ondelete="CASCADE"),
    )
    op.create_index("ix_exports_search_id", "exports", ["search_id"])


def downgrade() -> None:
    """Drops it, with the jobs that only it makes sense of."""
    op.drop_table("exports")
    op.execute("DELETE FROM jobs WHERE kind = 'export'")
