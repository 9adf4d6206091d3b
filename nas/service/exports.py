"""Exports of trials: asked for, made by a worker, published as artifacts."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, insert, select, update
from sqlalchemy.engine import Connection

from nas.artifacts import Artifact
from nas.service import tables
from nas.service.database import Database
from nas.service.queue import JobState, Lease, Queue

EXPORT = "export"
"""The kind of the job that makes one."""


class UnknownExportError(LookupError):
    """There is no such export, or it is of a search that is none of the asker's."""


def unknown(export_id: str) -> UnknownExportError:
    """The same for an export that does not exist and for one of another owner."""
    return UnknownExportError(
        f"An export's id must be one that was asked for, got {export_id!r}; /v1/searches/ID/exports lists those of a "
        "search."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRecord:
    """One export.

    Attributes:
        id: Its id, which is its job's.
        search_id: The search's.
        owner: Of the search.
        trial: Number of the trial.
        to: The runtime that it is for.
        state: Of the job.
        reason: Why it failed; empty otherwise.
        created_at: Seconds since 1970, like the next one.
        ended_at: None until it is over.
        artifact: Its name in the store; None before it is complete, like the next two.
        num_bytes: Of the file.
        sha256: Of the file.
    """

    id: str
    search_id: str
    owner: str
    trial: int
    to: str
    state: JobState
    reason: str
    created_at: float
    ended_at: float | None
    artifact: str | None
    num_bytes: int | None
    sha256: str | None

    @property
    def file_name(self) -> str | None:
        """What a download is to be called."""
        return None if self.artifact is None else self.artifact.rpartition("/")[2]


class Exports:
    """The exports in one database. Every method may raise ``DatabaseError``.

    Args:
        database: Where they are.
        queue: What makes them.
    """

    def __init__(self, database: Database, queue: Queue) -> None:
        self._database = database
        self._queue = queue

    def ask(self, search_id: str, *, trial: int, to: str) -> str:
        """Puts an export into the queue, unless there is one that has not failed.

        Args:
            search_id: The search's; it exists.
            trial: Number of the trial; it exists.
            to: The runtime; it is known.

        Returns:
            Its id.
        """
        same = (
            select(tables.exports.c.id)
            .join(tables.jobs, tables.jobs.c.id == tables.exports.c.id)
            .where(
                tables.exports.c.search_id == search_id,
                tables.exports.c.trial == trial,
                tables.exports.c.target == to,
                tables.jobs.c.state != JobState.FAILED,
            )
        )
        alone = select(tables.searches.c.id).where(tables.searches.c.id == search_id).with_for_update()
        with self._database.transaction() as connection:
            connection.execute(alone)  # of two who ask at once, the second sees what the first has asked for
            if (found := connection.execute(same).scalar()) is not None:
                return str(found)
            export_id = self._queue.put(connection, search_id, EXPORT, {"trial": trial, "to": to})
            connection.execute(insert(tables.exports).values(id=export_id, search_id=search_id, trial=trial, target=to))
        return export_id

    def get(self, export_id: str) -> ExportRecord:
        """One export, whoever's it is.

        Raises:
            UnknownExportError: There is none.
        """
        with self._database.reading() as connection:
            row = connection.execute(_records().where(tables.exports.c.id == export_id)).one_or_none()
        if row is None:
            raise unknown(export_id)
        return _record(row)

    def of(self, search_id: str) -> list[ExportRecord]:
        """Those of a search, newest first."""
        query = _records().where(tables.exports.c.search_id == search_id)
        with self._database.reading() as connection:
            newest = query.order_by(tables.jobs.c.created_at.desc(), tables.exports.c.id.desc())
            return [_record(row) for row in connection.execute(newest)]

    def complete(self, connection: Connection, lease: Lease, artifact: Artifact) -> None:
        """Notes what was published, in a transaction that holds the job."""
        mine = update(tables.exports).where(tables.exports.c.id == lease.job_id)
        connection.execute(mine.values(artifact=artifact.name, num_bytes=artifact.num_bytes, sha256=artifact.sha256))


def _records() -> Any:
    exports, jobs, searches = tables.exports.c, tables.jobs.c, tables.searches.c
    return (
        select(
            *(exports.id, exports.search_id, exports.trial, exports.target.label("to")),
            *(exports.artifact, exports.num_bytes, exports.sha256),
            *(jobs.state, jobs.reason, jobs.created_at, jobs.ended_at, searches.owner),
        )
        .join(tables.jobs, jobs.id == exports.id)
        .join(tables.searches, searches.id == exports.search_id)
    )


def _record(row: Row[Any]) -> ExportRecord:
    return ExportRecord(**{**row._mapping, "state": JobState(row.state)})
