"""The first tables: searches, their jobs, trials and events, and tokens."""

import sqlalchemy as sa
from alembic import op

revision = "nas_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates all tables."""
    op.create_table(
        "searches",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("max_trials", sa.Integer()),
        sa.Column("num_trials", sa.Integer(), nullable=False),
        sa.Column("num_events", sa.Integer(), nullable=False),
        sa.Column("hypervolume", sa.Double()),
        sa.Column("front", sa.JSON()),
        sa.Column("environment", sa.JSON()),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("idempotency_key", sa.String(255)),
        sa.Column("request_sha256", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_searches"),
        sa.UniqueConstraint("owner", "idempotency_key", name="uq_searches_owner_idempotency_key"),
    )
    op.create_index("ix_searches_owner_created_at", "searches", ["owner", "created_at"])
    op.create_index("ix_searches_created_at", "searches", ["created_at"])
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("search_id", sa.String(32), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("payload", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("num_claims", sa.Integer(), nullable=False),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("started_at", sa.Double()),
        sa.Column("ended_at", sa.Double()),
        sa.Column("lock_token", sa.String(32)),
        sa.Column("lock_owner", sa.String(200)),
        sa.Column("lock_expires_at", sa.Double()),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
        _of_search("jobs"),
    )
    op.create_index("ix_jobs_state_created_at", "jobs", ["state", "created_at"])
    op.create_index("ix_jobs_search_id_kind", "jobs", ["search_id", "kind"])
    op.create_table(
        "trials",
        sa.Column("search_id", sa.String(32), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("sub_network_key", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("source", sa.String(64), nullable=False),
        sa.Column("fidelity", sa.Double(), nullable=False),
        sa.Column("duration_s", sa.Double(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("candidate", sa.JSON()),
        sa.Column("sub_network", sa.JSON(), nullable=False),
        sa.Column("measurements", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("search_id", "number", name="pk_trials"),
        _of_search("trials"),
        sa.UniqueConstraint("search_id", "sub_network_key", name="uq_trials_search_id_sub_network_key"),
    )
    op.create_table(
        "begun_trials",
        sa.Column("search_id", sa.String(32), nullable=False),
        sa.Column("sub_network_key", sa.String(16), nullable=False),
        sa.Column("num_begun", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("search_id", "sub_network_key", name="pk_begun_trials"),
        _of_search("begun_trials"),
    )
    op.create_table(
        "events",
        sa.Column("search_id", sa.String(32), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("search_id", "number", name="pk_events"),
        _of_search("events"),
    )
    op.create_table(
        "tokens",
        sa.Column("id", sa.String(16), nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("secret_sha256", sa.String(64), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double()),
        sa.Column("revoked_at", sa.Double()),
        sa.Column("last_used_at", sa.Double()),
        sa.PrimaryKeyConstraint("id", name="pk_tokens"),
    )


def downgrade() -> None:
    """Drops all tables, with what is in them."""
    for name in ("tokens", "events", "begun_trials", "trials", "jobs", "searches"):
        op.drop_table(name)


def _of_search(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["search_id"], ["searches.id"], name=f"fk_{table}_search_id", ondelete="CASCADE")
