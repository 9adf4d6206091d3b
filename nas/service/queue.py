"""The queue: jobs in a table, taken up by whoever holds the lease on the row.

A worker claims a job for some seconds and renews that while it works. Where it dies, the lease runs out and another
worker claims the job. A worker that was asleep past its lease may wake up and think the job its own, so everything it
writes is written in a transaction that first finds its token on the row, unexpired, and locks it. All times are by
the database's clock.

    queued --claim--> running --end--> complete | failed | cancelled
                         |  ^
          lease runs out |  | claim by another worker
                         +--+
"""

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import and_, func, insert, or_, select, update
from sqlalchemy.engine import Connection, RowMapping

from nas.service import tables
from nas.service.database import Database
from nas.service.events import Events

MAX_CLAIMS = 6
"""How often a job may be taken up without getting on before it fails: more often than a single trial may crash."""

NO_MORE_CLAIMS = (
    f"A job must not end its workers, but this one ended {MAX_CLAIMS} without getting on; look at the worker's log and "
    "at its memory, and submit it again."
)


class LeaseLostError(RuntimeError):
    """The job is another worker's by now, or ended; nothing was written."""


class JobState(StrEnum):
    """How a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETE = "complete"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_over(self) -> bool:
        """Whether nothing will happen to it any more."""
        return self not in {JobState.QUEUED, JobState.RUNNING}


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A claim on a job.

    Attributes:
        job_id: The job's.
        token: Proves the claim.
        search_id: The search that it is work for.
        kind: What is to be done.
        payload: The particulars.
    """

    job_id: str
    token: str
    search_id: str
    kind: str
    payload: Mapping[str, Any]


class Queue:
    """Jobs of all searches.

    Args:
        database: Where they are.
        lease_s: How long a claim holds without being renewed.
    """

    def __init__(self, database: Database, *, lease_s: float = 30.0) -> None:
        self._database = database
        self._lease_s = lease_s
        self._events = Events(database)

    def put(self, connection: Connection, search_id: str, kind: str, payload: Mapping[str, Any]) -> str:
        """Adds a job, in a transaction of the caller's.

        Returns:
            Its id.
        """
        job_id = uuid.uuid4().hex
        connection.execute(
            insert(tables.jobs).values(
                id=job_id,
                search_id=search_id,
                kind=kind,
                payload=dict(payload),
                state=JobState.QUEUED,
                reason="",
                num_claims=0,
                cancel_requested=False,
                created_at=self._database.now,
            )
        )
        self._announce(connection, search_id, kind, job_id, JobState.QUEUED)
        return job_id

    def claim(self, owner: str, kinds: Sequence[str], *, on_end: Callable[[Lease], None] | None = None) -> Lease | None:
        """Takes up the oldest job that nobody works at.

        Args:
            owner: Who claims, for people to read.
            kinds: What the claimer can do.
            on_end: Called with each job that was found to be over, in place of being worked at.

        Returns:
            None where there is nothing to do.
        """
        while True:
            with self._database.transaction() as connection:
                row = self._claim(connection, owner, kinds)
                if row is None:
                    return None
                lease = Lease(
                    job_id=row["id"],
                    token=row["lock_token"],
                    search_id=row["search_id"],
                    kind=row["kind"],
                    payload=row["payload"],
                )
                if row["cancel_requested"]:  # while nobody held it
                    self.end(connection, lease, JobState.CANCELLED)
                elif row["num_claims"] > MAX_CLAIMS:
                    self.end(connection, lease, JobState.FAILED, NO_MORE_CLAIMS)
                else:
                    self._announce(connection, *_job(lease), JobState.RUNNING, worker=owner)
                    return lease
            if on_end is not None:
                on_end(lease)

    def renew(self, lease: Lease) -> bool:
        """Holds a claim for another ``lease_s``.

        Returns:
            Whether the job is to be cancelled.

        Raises:
            LeaseLostError: Another worker has it by now.
        """
        mine = update(tables.jobs).where(_is_held(lease))
        with self._database.transaction() as connection:
            row = connection.execute(
                mine.values(lock_expires_at=self._database.now + self._lease_s).returning(
                    tables.jobs.c.cancel_requested
                )
            ).one_or_none()
        if row is None:
            raise _lost(lease)
        return bool(row.cancel_requested)

    @contextmanager
    def guarded(self, lease: Lease) -> Iterator[Connection]:
        """A transaction that is the holder's alone.

        Raises:
            LeaseLostError: The claim has run out; nothing is written.
        """
        with self._database.transaction() as connection:
            held = select(tables.jobs.c.id).where(_is_held(lease), tables.jobs.c.lock_expires_at > self._database.now)
            if connection.execute(held.with_for_update()).one_or_none() is None:
                raise _lost(lease)
            yield connection

    def got_on(self, connection: Connection, lease: Lease) -> None:
        """Notes progress: a job that gets on may be taken up as often as it takes."""
        connection.execute(update(tables.jobs).where(tables.jobs.c.id == lease.job_id).values(num_claims=1))

    def end(self, connection: Connection, lease: Lease, state: JobState, reason: str = "") -> None:
        """Ends a job, in a transaction that holds it.

        Args:
            connection: The transaction, from ``guarded``.
            lease: Its claim, which ends with it.
            state: One that is over.
            reason: One sentence, where it failed.
        """
        connection.execute(
            update(tables.jobs)
            .where(tables.jobs.c.id == lease.job_id)
            .values(state=state, reason=reason, ended_at=self._database.now, **_UNLOCKED)
        )
        self._announce(connection, *_job(lease), state, reason=reason)

    def release(self, lease: Lease, *, got_stuck: bool = False) -> None:
        """Gives a job back unfinished, for any worker to take up at once.

        Args:
            lease: The claim on it.
            got_stuck: Whether that is the job's doing, and counts against it.

        Raises:
            LeaseLostError: It is another worker's by now.
        """
        jobs = tables.jobs
        with self.guarded(lease) as connection:
            connection.execute(
                update(jobs)
                .where(jobs.c.id == lease.job_id)
                .values(state=JobState.QUEUED, num_claims=jobs.c.num_claims - (0 if got_stuck else 1), **_UNLOCKED)
            )
            self._announce(connection, *_job(lease), JobState.QUEUED)

    def cancel(self, connection: Connection, search_id: str, kind: str) -> None:
        """Asks for the jobs of that kind to be cancelled: at once where nobody works at them, else by their worker.

        Args:
            connection: A transaction.
            search_id: Whose.
            kind: Which of its jobs.
        """
        jobs = tables.jobs
        of_it = and_(jobs.c.search_id == search_id, jobs.c.kind == kind)
        # The first statement locks the jobs, so that none is claimed or released before the second.
        not_over = jobs.c.state.in_([JobState.QUEUED, JobState.RUNNING])
        connection.execute(update(jobs).where(of_it, not_over).values(cancel_requested=True))
        ended = connection.execute(
            update(jobs)
            .where(of_it, jobs.c.state == JobState.QUEUED)
            .values(state=JobState.CANCELLED, ended_at=self._database.now)
            .returning(jobs.c.id)
        )
        for job_id in ended.scalars().all():
            self._announce(connection, search_id, kind, job_id, JobState.CANCELLED)

    def _claim(self, connection: Connection, owner: str, kinds: Sequence[str]) -> RowMapping | None:
        now, jobs = self._database.now, tables.jobs
        free = or_(
            jobs.c.state == JobState.QUEUED, and_(jobs.c.state == JobState.RUNNING, jobs.c.lock_expires_at <= now)
        )
        oldest = (
            select(jobs.c.id)
            .where(free, jobs.c.kind.in_(kinds))
            .order_by(jobs.c.created_at, jobs.c.id)
            .limit(1)
            .with_for_update(skip_locked=True)
            .scalar_subquery()
        )
        claimed = (
            update(jobs)
            .where(jobs.c.id == oldest)
            .values(
                state=JobState.RUNNING,
                num_claims=jobs.c.num_claims + 1,
                started_at=func.coalesce(jobs.c.started_at, now),
                lock_token=uuid.uuid4().hex,
                lock_owner=owner,
                lock_expires_at=now + self._lease_s,
            )
            .returning(*jobs.c)
        )
        return connection.execute(claimed).mappings().one_or_none()

    def _announce(
        self, connection: Connection, search_id: str, kind: str, job_id: str, state: JobState, **more: str
    ) -> None:
        self._events.add(connection, search_id, "state", {"job": kind, "id": job_id, "state": state, **more})


_UNLOCKED: dict[str, None] = {"lock_token": None, "lock_owner": None, "lock_expires_at": None}


def _job(lease: Lease) -> tuple[str, str, str]:
    return lease.search_id, lease.kind, lease.job_id


def _is_held(lease: Lease) -> Any:
    return and_(
        tables.jobs.c.id == lease.job_id,
        tables.jobs.c.lock_token == lease.token,
        tables.jobs.c.state == JobState.RUNNING,
    )


def _lost(lease: Lease) -> LeaseLostError:
    return LeaseLostError(f"Job {lease.job_id} is not this worker's any more; its results so far are kept.")
