"""Exports of trials: asked for, made by a worker, published as artifacts.

A search measures its trials again when it ends, and may train those on its front further. So an export notes, in its
job's payload, the digest of the measurements that its trial had when it was made: with others it is another model, or
at least another card.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, insert, select, update
from sqlalchemy.engine import Connection

from nas.artifacts import Artifact, ArtifactStore
from nas.service import tables
from nas.service.database import Database
from nas.service.queue import JobState, Lease, Queue
from nas.service.searches import unknown as unknown_search

EXPORT = "export"
"""The kind of the job that makes one."""
_DIGEST = "measurements_sha256"
"""In a job's payload, beside what was asked for."""


class UnknownExportError(LookupError):
    """There is no such export, or it is of a search that is none of the asker's."""


def folder_of(search_id: str) -> str:
    """Where the files of a search's exports are, among all artifacts."""
    return f"exports/{search_id}"


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

    def ask(self, search_id: str, *, trial: int, to: str, artifacts: ArtifactStore) -> str:
        """Puts an export into the queue, unless one is under way, or is there and has the trial as it is.

        Args:
            search_id: The search's; it exists.
            trial: Number of the trial; it exists.
            to: The runtime; it is known.
            artifacts: Where exports are kept.

        Returns:
            Its id.

        Raises:
            UnknownSearchError: The search was deleted meanwhile.
            ArtifactError: Where they are kept does not answer.
        """
        exports, jobs = tables.exports.c, tables.jobs.c
        same = (
            select(exports.id, exports.artifact, jobs.payload)
            .join(tables.jobs, jobs.id == exports.id)
            .where(exports.search_id == search_id, exports.trial == trial, exports.target == to)
            .order_by(jobs.created_at.desc(), exports.id.desc())
        )
        with self._database.reading() as connection:
            made = connection.execute(same.where(jobs.state == JobState.COMPLETE)).all()
            digest = _digest(connection, search_id, trial)
        for one in made:  # outside of any transaction, as object stores may take their time
            if one.payload.get(_DIGEST) == digest and artifacts.exists(one.artifact):
                return str(one.id)
        others = same.where(
            jobs.state.in_([JobState.QUEUED, JobState.RUNNING, JobState.COMPLETE]),
            exports.id.not_in([one.id for one in made]),
        )
        has_front = tables.searches.c.front.is_not(None)
        alone = select(has_front).where(tables.searches.c.id == search_id).with_for_update()
        with self._database.transaction() as connection:
            # Of two who ask at once, the second sees what the first has asked for.
            if not connection.execute(alone).scalar_one_or_none():
                raise unknown_search(search_id)  # deleted meanwhile, or about to be
            if (found := connection.execute(others).scalars().first()) is not None:
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

    def digest(self, search_id: str, trial: int) -> str:
        """Of a trial's measurements as they are. A worker asks for it before it reads the trial, so never too late."""
        with self._database.reading() as connection:
            return _digest(connection, search_id, trial)

    def complete(self, connection: Connection, lease: Lease, artifact: Artifact, *, digest: str) -> None:
        """Notes what was published, in a transaction that holds the job.

        Args:
            connection: The transaction, from ``guarded``.
            lease: The claim on the job.
            artifact: What was published.
            digest: Of the trial's measurements in it.
        """
        mine, job = tables.exports.c.id == lease.job_id, tables.jobs.c.id == lease.job_id
        published = {"artifact": artifact.name, "num_bytes": artifact.num_bytes, "sha256": artifact.sha256}
        connection.execute(update(tables.exports).where(mine).values(published))
        connection.execute(update(tables.jobs).where(job).values(payload={**lease.payload, _DIGEST: digest}))


def _digest(connection: Connection, search_id: str, trial: int) -> str:
    columns = tables.trials.c
    query = select(columns.measurements).where(columns.search_id == search_id, columns.number == trial)
    measurements = connection.execute(query).scalar_one_or_none()
    return hashlib.sha256(json.dumps(measurements, sort_keys=True).encode()).hexdigest()


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
