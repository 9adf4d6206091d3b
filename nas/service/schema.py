"""The schema of the service's database: brought to the newest by Alembic, by any number of processes at once.

Revisions are named ``nas_0001`` and so on, so that the database of another program is known by its revision.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import func, inspect, select
from sqlalchemy.engine import Connection

from nas.service.database import Database

EMPTY = "base"
"""The revision without tables."""

MIGRATIONS = Path(__file__).with_name("migrations")

LOCK = 0x6E6173
"""Which advisory lock of PostgreSQL keeps others from migrating at the same time: "nas" in ASCII."""


class SchemaError(ValueError):
    """The database's tables are not those of this program; the message says whose and what to do."""


def upgrade(database: Database) -> None:
    """Brings an empty or an older database to the newest schema, all or nothing.

    Raises:
        SchemaError: It is of a newer program, or of another one.
        DatabaseError: It is not there, or has no room.
    """
    with _alone(database) as connection:
        _revision(connection)
        command.upgrade(_config(connection), "head")


def downgrade(database: Database, revision: str) -> None:
    """Brings a database back to an older schema, all or nothing. What the older one cannot hold is lost.

    Args:
        database: Which one; nothing else may use it meanwhile.
        revision: Such as ``nas_0001``, or ``base`` for no tables.

    Raises:
        SchemaError: There is no such revision, or the database is of a newer program or of another one.
        DatabaseError: It is not there, or has no room.
    """
    known = [EMPTY, *_revisions()]
    if revision not in known:
        raise SchemaError(f"A revision must be one of {', '.join(known)}, got {revision!r}; choose one of them.")
    with _alone(database) as connection:
        found = _revision(connection) or EMPTY
        if known.index(revision) > known.index(found):
            raise SchemaError(
                f"A revision to go back to must not be newer than the database's, {found}, got {revision}; "
                "choose an older one, or upgrade the database."
            )
        command.downgrade(_config(connection), revision)


def require_current(database: Database) -> None:
    """Checks that the schema is the newest, and changes nothing.

    Raises:
        SchemaError: It is older, newer, or of another program.
        DatabaseError: The database is not there.
    """
    newest = _revisions()[-1]
    with database.reading() as connection:
        found = _revision(connection)
    if found != newest:
        raise SchemaError(
            f"The database's schema must be {newest}, got {found or 'an empty database'}; "
            "start `nas serve` of this version on it once, which upgrades it."
        )


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


@contextmanager
def _alone(database: Database) -> Iterator[Connection]:
    """A transaction for changing tables, which waits until no other process is in one."""
    with database.explained(), database.engine.connect() as connection:
        if database.is_sqlite:
            # A table is changed by copying it and dropping the first, which would delete the rows that refer to it.
            # The setting cannot be changed in a transaction; it goes with the connection, which is not used again.
            driver = connection.connection.driver_connection
            assert driver is not None
            connection.detach()
            driver.execute("PRAGMA foreign_keys=OFF")
        with connection.begin():
            if not database.is_sqlite:
                connection.execute(select(func.pg_advisory_xact_lock(LOCK)))
            yield connection
            if database.is_sqlite:
                assert connection.exec_driver_sql("PRAGMA foreign_key_check").first() is None


def _revision(connection: Connection) -> str | None:
    """The database's revision; None for an empty database."""
    heads = MigrationContext.configure(connection).get_current_heads()
    if not heads:
        tables = sorted(set(inspect(connection).get_table_names()) - {"alembic_version"})
        if tables:
            raise SchemaError(
                "A database for the service must be empty at first or the service's own, but this one belongs to "
                f"another program (it has the table {tables[0]}); give the URL of an empty one."
            )
        return None
    known = _revisions()
    if heads[0] not in known:
        raise SchemaError(
            f"The database's schema must be one that this program knows, {known[-1]} or older, got {heads[0]}; "
            "install the newer nas that wrote it (pip install --upgrade nas-llm), or give the URL of another database."
        )
    return heads[0]


def _revisions() -> list[str]:
    """All that there are, oldest first."""
    scripts = ScriptDirectory(str(MIGRATIONS)).walk_revisions()
    return [script.revision for script in scripts][::-1]
