"""The service's tables, for SQLite and PostgreSQL alike. The migrations create them; a test compares the two.

Times are seconds since 1970 by the database's own clock, so that the clocks of workers need not agree.
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)

searches = Table(
    "searches",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("owner", String(64), nullable=False),
    Column("name", String(200), nullable=False),
    Column("config", JSON, nullable=False),
    Column("max_trials", Integer),
    Column("num_trials", Integer, nullable=False),
    Column("num_events", Integer, nullable=False),
    Column("hypervolume", Double),
    Column("front", JSON(none_as_null=True)),
    Column("environment", JSON(none_as_null=True)),
    Column("created_at", Double, nullable=False),
    Column("idempotency_key", String(255)),
    Column("request_sha256", String(64), nullable=False),
    UniqueConstraint("owner", "idempotency_key"),
    Index(None, "owner", "created_at"),
    Index(None, "created_at"),
)
"""What was asked for, and what came of it so far. ``environment`` is that of the worker that began it."""

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("search_id", String(32), ForeignKey("searches.id", ondelete="CASCADE"), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("payload", JSON, nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", Text, nullable=False),
    Column("num_claims", Integer, nullable=False),
    Column("cancel_requested", Boolean, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("started_at", Double),
    Column("ended_at", Double),
    Column("lock_token", String(32)),
    Column("lock_owner", String(200)),
    Column("lock_expires_at", Double),
    Index(None, "state", "created_at"),
    Index(None, "search_id", "kind"),
)
"""Work for workers. ``num_claims`` counts how often it was taken up since it last got on."""

trials = Table(
    "trials",
    metadata,
    Column("search_id", String(32), ForeignKey("searches.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("sub_network_key", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("source", String(64), nullable=False),
    Column("fidelity", Double, nullable=False),
    Column("duration_s", Double, nullable=False),
    Column("reason", Text, nullable=False),
    Column("candidate", JSON(none_as_null=True)),
    Column("sub_network", JSON, nullable=False),
    Column("measurements", JSON, nullable=False),
    UniqueConstraint("search_id", "sub_network_key"),
)
"""One row a trial; but for the first and the key, the columns are the entries of ``Trial.to_json``."""

begun_trials = Table(
    "begun_trials",
    metadata,
    Column("search_id", String(32), ForeignKey("searches.id", ondelete="CASCADE"), primary_key=True),
    Column("sub_network_key", String(16), primary_key=True),
    Column("num_begun", Integer, nullable=False),
)
"""Trials begun and not ended, and how often."""

events = Table(
    "events",
    metadata,
    Column("search_id", String(32), ForeignKey("searches.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("kind", String(16), nullable=False),
    Column("data", JSON, nullable=False),
    Column("created_at", Double, nullable=False),
)
"""What happened to a search, numbered from 1 without gaps."""

exports = Table(
    "exports",
    metadata,
    Column("id", String(32), ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("search_id", String(32), ForeignKey("searches.id", ondelete="CASCADE"), nullable=False),
    Column("trial", Integer, nullable=False),
    Column("target", String(32), nullable=False),
    Column("artifact", String(300)),
    Column("num_bytes", BigInteger),
    Column("sha256", String(64)),
    Index(None, "search_id"),
)
"""What is exported of a search, and the artifact that came of it. ``id`` is the job's."""

tokens = Table(
    "tokens",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("owner", String(64), nullable=False),
    Column("scopes", JSON, nullable=False),
    Column("secret_sha256", String(64), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
    Column("revoked_at", Double),
    Column("last_used_at", Double),
)
"""Who may use the service. Of a token's secret only the hash is kept."""
