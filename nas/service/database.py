"""A database of the service: SQLite in a file by default, PostgreSQL by its URL, the same statements on both."""

import json
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydantic_core import from_json
from sqlalchemy import Double, Engine, Table, create_engine, event, func, literal_column, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    IntegrityError,
    NoSuchModuleError,
    ProgrammingError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.sql import ColumnElement

BUSY_S = 30.0
"""How long a writer of SQLite waits for another one; transactions here take milliseconds."""

CONNECT_S = 10
"""How long a PostgreSQL server may take to answer at all."""

IDLE_S = 10
"""How long a PostgreSQL transaction may stand still: a worker that falls asleep in one must not keep its job locked."""

READS = "nas_reads"
"""Execution option of connections that do not write."""


class DatabaseError(ValueError):
    """The database cannot be had or used; the message says why and what to do."""


class Database:
    """Connections to one database, for any number of threads.

    Args:
        url: As SQLAlchemy reads it: ``sqlite:////path/nas.db`` or ``postgresql://user@host/name``.

    Raises:
        DatabaseError: Another kind of database, or no URL.
    """

    def __init__(self, url: str) -> None:
        try:
            parsed = make_url(url)
            if parsed.get_backend_name() not in {"sqlite", "postgresql"}:
                raise ArgumentError(f"it is one of {parsed.get_backend_name()}")
            if parsed.get_backend_name() == "sqlite" and parsed.database in {None, "", ":memory:"}:
                raise ArgumentError("it names no file, and every thread would have a database of its own")
            if parsed.drivername == "postgresql":
                parsed = parsed.set(drivername="postgresql+psycopg")
            self._engine: Engine = create_engine(parsed, pool_pre_ping=True, **_options(parsed.get_backend_name()))
        except (ArgumentError, NoSuchModuleError, ImportError, ValueError) as error:
            raise DatabaseError(
                f"A database URL must begin with sqlite:/// or postgresql://, got {_public(url)!r} ({error}); "
                "mend it, or install the extra that holds PostgreSQL's driver: pip install 'nas-llm[service]'."
            ) from error
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        self._readers = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        if self.is_sqlite:
            self._readers = self._engine.execution_options(**{READS: True})
            event.listen(self._engine, "connect", _prepare_sqlite)
            event.listen(self._engine, "begin", _begin)
        else:
            event.listen(self._engine, "connect", _prepare_postgresql)

    @property
    def engine(self) -> Engine:
        """For migrations."""
        return self._engine

    @property
    def now(self) -> ColumnElement[float]:
        """Seconds since 1970 by the database's clock, at the moment of the statement."""
        if self.is_sqlite:
            return literal_column("((julianday('now') - 2440587.5) * 86400.0)", Double())
        return func.extract("epoch", func.clock_timestamp()).cast(Double())

    def insert_if_new(self, table: Table) -> Any:
        """An insert that does nothing where a unique key is taken already."""
        insert = sqlite.insert if self.is_sqlite else postgresql.insert
        return insert(table).on_conflict_do_nothing()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Commits at the end of the block. One writer at a time on SQLite, row locks on PostgreSQL.

        Raises:
            DatabaseError: The database is not there, or has no room.
        """
        with self.explained(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection for one statement, which sees one state of the database and keeps no writer waiting.

        Without BEGIN and ROLLBACK a reader waits half as often for PostgreSQL, and after each of these waits a thread
        of the API queues for the interpreter behind whatever else it is doing.

        Raises:
            DatabaseError: The database is not there.
        """
        with self.explained(), self._readers.connect() as connection:
            yield connection

    @contextmanager
    def explained(self) -> Iterator[None]:
        """For those that use ``engine``: the driver's errors as ``DatabaseError``."""
        try:
            yield
        except (IntegrityError, DataError, ProgrammingError):  # what was written is wrong, not the database
            raise
        except (DBAPIError, PoolTimeoutError) as error:
            reason = str(getattr(error, "orig", error))
            raise DatabaseError(
                "The service's database must be there and have room, but it says: "
                f"{' '.join(reason.split())}; mend that: what was stored before is kept, and workers go on "
                "by themselves."
            ) from error

    def close(self) -> None:
        """Closes idle connections."""
        self._engine.dispose()


def _public(url: str) -> str:
    return re.sub(r"(://[^:/@]*:)[^@]*@", r"\1***@", str(url))


def _options(backend: str) -> dict[str, Any]:
    options: dict[str, Any] = {"json_deserializer": read_json}
    if backend == "sqlite":
        return options | {"connect_args": {"timeout": BUSY_S}}
    return options | {"pool_size": 10, "max_overflow": 20, "connect_args": {"connect_timeout": CONNECT_S}}


def read_json(text: str | bytes) -> Any:
    """What ``json.loads`` makes of a text, in less than half the time: reading JSON is most of what the API does."""
    try:
        return from_json(text)
    except ValueError:  # it is stricter: half a surrogate pair, or lists in lists 200 deep
        return json.loads(text)


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    """Readers do not block the writer, a commit waits for the disk, and references hold."""
    connection.isolation_level = None  # transactions are begun below, at once as a writer's
    _switch_to_wal(connection)
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")


def _prepare_postgresql(connection: Any, _record: Any) -> None:
    """Has the server end a transaction whose client sleeps, or is gone without a word, and free what it locked."""
    connection.execute(f"SET idle_in_transaction_session_timeout = '{IDLE_S}s'")
    connection.commit()


def _switch_to_wal(connection: Any) -> None:
    """Of processes that open a new file at once, one switches; SQLite does not wait for it by itself."""
    give_up_at = time.monotonic() + BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname != "SQLITE_BUSY" or time.monotonic() > give_up_at:
                raise
        time.sleep(0.01)


def _begin(connection: Connection) -> None:
    """A writer begins as one: having read first, it could otherwise find that another has written in between."""
    reads = connection.get_execution_options().get(READS, False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")
