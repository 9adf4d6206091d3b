"""The tables that a search writes, for SQLite and PostgreSQL alike.

Raise ``SCHEMA_VERSION`` with every change that an older program cannot read.
"""

from sqlalchemy import JSON, Column, Float, Integer, MetaData, String, Table, Text

SCHEMA_VERSION = 1

metadata = MetaData()

schema_version = Table("schema_version", metadata, Column("version", Integer, nullable=False))
"""One row: the version that created the tables."""

trials = Table(
    "trials",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("sub_network_key", String(16), nullable=False, unique=True),
    Column("state", String(16), nullable=False),
    Column("source", String(64), nullable=False),
    Column("fidelity", Float, nullable=False),
    Column("duration_s", Float, nullable=False),
    Column("reason", Text, nullable=False),
    Column("candidate", JSON(none_as_null=True)),
    Column("sub_network", JSON, nullable=False),
    Column("measurements", JSON, nullable=False),
)
"""One row a trial; but for the key, the columns are the entries of ``Trial.to_json``."""
