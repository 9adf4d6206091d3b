"""The trials of one search, stored as they finish.

A trial that ``add`` has returned from is on the disk: it survives the process being killed and the power failing
(SQLite with a write-ahead log and a full sync at each commit, https://www.sqlite.org/pragma.html#pragma_synchronous).
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy import create_engine, event, insert, inspect, make_url, select, update
from sqlalchemy.engine import URL, Connection
from sqlalchemy.exc import DatabaseError, IntegrityError, OperationalError

from nas.store import tables
from nas.store.errors import DuplicateTrialError, StoreError
from nas.trial import Trial
from search_spaces.shape import SupernetShape


class TrialStore:
    """Trials in a database. Safe to read from several processes while one adds; close it after use."""

    def __init__(self, url_or_path: str | Path, *, only_read: bool = False) -> None:
        """Opens the database, and creates its tables where there are none.

        Args:
            url_or_path: A database URL as SQLAlchemy reads it, or the path of an SQLite file.
            only_read: Whether nothing will be added: then the file, which must have its tables, may lie where nobody
                can write.

        Raises:
            StoreError: Not a database, one of another program or of a newer version, or no way to read or write it.
        """
        address = str(url_or_path)
        url = make_url(address) if "://" in address else URL.create("sqlite", database=address)
        self._place = url.database or url.render_as_string()
        if only_read and url.get_backend_name() == "sqlite":
            url = url.set(database=uri_for_reading(Path(self._place)), query={"uri": "true"})
        self._engine = create_engine(url)
        if url.get_backend_name() == "sqlite":
            event.listen(self._engine, "connect", _make_durable)
            event.listen(self._engine, "begin", _begin)
        with self._explained(), self._engine.begin() as connection:
            self._prepare(connection)

    def add(self, *trials: Trial) -> None:
        """Stores trials, all or none; when this returns, nothing can undo it.

        Raises:
            DuplicateTrialError: Its number or its sub-network is in the store already.
            StoreError: The disk is full, or the database cannot be written to.
        """
        with self._explained(), self._engine.begin() as connection:
            for trial in trials:
                self._insert(connection, trial)

    def replace_measurements(self, trial: Trial) -> None:
        """Puts the trial's measurements in the place of those stored under its number, in one transaction.

        Raises:
            StoreError: The disk is full, or the database cannot be written to.
        """
        rows = update(tables.trials).where(tables.trials.c.number == trial.number)
        with self._explained(), self._engine.begin() as connection:
            connection.execute(rows.values(measurements=trial.to_json()["measurements"]))

    def trials(self, shape: SupernetShape) -> list[Trial]:
        """All trials by number.

        Args:
            shape: The supernet's that they were cut from.

        Raises:
            StoreError: A row is damaged or describes a sub-network of another supernet, or the database cannot be read.
        """
        try:
            with self._explained(), self._engine.connect() as connection:
                rows = connection.execute(select(tables.trials).order_by(tables.trials.c.number)).mappings().all()
            return [Trial.from_json({**row}, shape) for row in rows]
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, StoreError):
                raise
            raise StoreError(
                f"Every trial in {self._place} must be readable and fit the model that is searched, but one is not "
                f"({error}); use the model of that run, or start a new run with another --out."
            ) from error

    def close(self) -> None:
        """Releases the database."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _insert(self, connection: Connection, trial: Trial) -> None:
        row = trial.to_json() | {"sub_network_key": trial.sub_network.key}
        try:
            connection.execute(insert(tables.trials).values(row))
        except IntegrityError as error:
            raise DuplicateTrialError(
                f"A trial's number and its sub-network must be new to a search, but trial {trial.number} or "
                f"sub-network {trial.sub_network.key} is in {self._place} already; make sure that only one process "
                "searches there, and repeat with --resume."
            ) from error

    def _prepare(self, connection: Connection) -> None:
        existing = set(inspect(connection).get_table_names())
        if not existing:
            tables.metadata.create_all(connection)
            connection.execute(insert(tables.schema_version).values(version=tables.SCHEMA_VERSION))
            return
        if not existing >= set(tables.metadata.tables):
            raise StoreError(
                f"{self._place} must be a database of trials, but it is another program's; "
                "give another path, or move that file away."
            )
        version = connection.execute(select(tables.schema_version.c.version)).scalar()
        if version != tables.SCHEMA_VERSION:
            raise StoreError(
                f"{self._place} must be written in version {tables.SCHEMA_VERSION} of the tables, got {version}; "
                "use the version of nas that wrote it, or start a new run with another --out."
            )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turns the database's errors into sentences, but for a broken constraint, which says something else."""
        try:
            yield
        except IntegrityError:
            raise
        except OperationalError as error:
            if "disk is full" in str(error.orig):
                raise StoreError(
                    f"There must be room to store a trial, but the disk of {self._place} is full; the trials finished "
                    "so far are kept: free some space and repeat with --resume."
                ) from error
            raise StoreError(
                f"{self._place} must be readable and writable, but the database says: {error.orig}; mend that and "
                "repeat with --resume: the trials finished so far are kept."
            ) from error
        except DatabaseError as error:
            raise StoreError(
                f"{self._place} must be an intact database of trials, but the database says: {error.orig}; "
                "restore it from a copy, or start a new run with another --out."
            ) from error


def uri_for_reading(path: Path) -> str:
    """Where SQLite reads a file of trials, in a folder that can be written to or not.

    A file with a write-ahead log has an index beside it, even for readers, and where none can be made it cannot be
    opened (https://www.sqlite.org/wal.html#read_only_databases). But nobody writes to it there if it has no log, so it
    may be read as a file that does not change. Where there is a log, its index was left with it.
    """
    path = path.resolve()
    log = path.with_name(f"{path.name}-wal")
    has_log = log.exists() and log.stat().st_size > 0
    is_fixed = not has_log and not os.access(path.parent, os.W_OK, effective_ids=True)
    return f"{path.as_uri()}?{'immutable=1' if is_fixed else 'mode=rw'}"


def _make_durable(connection: Any, _record: Any) -> None:
    """For each new SQLite connection: readers do not block the writer, and a commit waits for the disk."""
    connection.isolation_level = None  # the driver would not open a transaction for the creation of tables; we do
    if connection.execute("SELECT name FROM sqlite_master").fetchone() is None:
        connection.execute("PRAGMA journal_mode=WAL")  # stays with the file, so that another program's is left alone
    connection.execute("PRAGMA synchronous=FULL")


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")
