"""Searches of all owners: submitted, listed, looked at, cancelled, deleted."""

import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, and_, delete, func, insert, null, or_, select, update
from sqlalchemy.engine import Connection

from nas.config import SearchConfig
from nas.results import Results, Standing, goal_of, refuse_failed, results_of, shape_from_record, unknown_trial
from nas.service import tables
from nas.service.database import Database
from nas.service.queue import JobState, Queue
from nas.trial import Outcome, Trial, TrialState

SEARCH = "search"
"""The kind of the job that runs a search."""
_KEPT = ("sub_network", "candidate")
"""What a trial kept: most of its bytes. It never changes."""
_MEASURED = ("number", "source", "state", "fidelity", "measurements", "reason", "duration_s")
"""What came of it; with the former, the entries of ``Trial.to_json``."""


class UnknownSearchError(LookupError):
    """There is no such search, or it is none of the asker's."""


class IdempotencyError(ValueError):
    """A key that was used for another request."""


class NotReadyError(ValueError):
    """The search has not found anything yet."""


class NotOverError(ValueError):
    """Something still works at the search."""


def unknown(search_id: str) -> UnknownSearchError:
    """The same for a search that does not exist and for one of another owner."""
    return UnknownSearchError(
        f"A search's id must be one that was submitted, got {search_id!r}; `nas jobs` lists them."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRecord:
    """One search as a list shows it.

    Attributes:
        id: Its id.
        owner: Who submitted it.
        name: From its config.
        state: Of the job that runs it.
        reason: Why it failed; empty otherwise.
        num_trials: Finished so far.
        max_trials: When it ends; None where only time ends it.
        hypervolume: Of its front; None before there is one.
        num_events: Number of its newest event.
        created_at: Seconds since 1970, like the next two.
        started_at: None while it waits.
        ended_at: None until it is over.
        config: What was asked for, defaults included.
        environment: Of the worker that began it; None before.
    """

    id: str
    owner: str
    name: str
    state: JobState
    reason: str
    num_trials: int
    max_trials: int | None
    hypervolume: float | None
    num_events: int
    created_at: float
    started_at: float | None
    ended_at: float | None
    config: Mapping[str, Any]
    environment: Mapping[str, Any] | None


class Searches:
    """The searches in one database. Every method may raise ``DatabaseError``.

    Args:
        database: Where they are.
        queue: What runs them.
    """

    def __init__(self, database: Database, queue: Queue) -> None:
        self._database = database
        self._queue = queue

    def submit(self, config: SearchConfig, *, owner: str, idempotency_key: str | None = None) -> str:
        """Stores a search and puts it into the queue, both or neither.

        Args:
            config: What to search.
            owner: Whose it is.
            idempotency_key: The same key with the same config gives the search that is there already.

        Returns:
            Its id.

        Raises:
            IdempotencyError: The owner used this key for another config.
        """
        record = config.model_dump(mode="json")
        request_sha256 = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
        search_id = uuid.uuid4().hex
        row = {
            "id": search_id,
            "owner": owner,
            "name": config.name,
            "config": record,
            "max_trials": config.trials,
            "num_trials": 0,
            "num_events": 0,
            "created_at": self._database.now,
            "idempotency_key": idempotency_key,
            "request_sha256": request_sha256,
        }
        with self._database.transaction() as connection:
            while not self._insert(connection, row):
                before = self._submitted_before(connection, owner, str(idempotency_key), request_sha256)
                if before is not None:  # else it has been deleted in between
                    return before
            self._queue.put(connection, search_id, SEARCH, {})
        return search_id

    def get(self, search_id: str) -> SearchRecord:
        """One search, whoever's it is.

        Raises:
            UnknownSearchError: There is none.
        """
        with self._database.reading() as connection:
            row = connection.execute(_records().where(tables.searches.c.id == search_id)).one_or_none()
        if row is None:
            raise unknown(search_id)
        return _record(row)

    def page(
        self,
        *,
        owner: str | None = None,
        states: Sequence[JobState] = (),
        after: tuple[float, str] | None = None,
        limit: int = 50,
    ) -> list[SearchRecord]:
        """Searches, newest first.

        Args:
            owner: Whose; None for everybody's.
            states: Only such; empty for all.
            after: ``created_at`` and ``id`` of the last one of the page before; None for the first page.
            limit: At most so many.
        """
        searches = tables.searches.c
        query = _records().order_by(searches.created_at.desc(), searches.id.desc()).limit(limit)
        if owner is not None:
            query = query.where(searches.owner == owner)
        if states:
            query = query.where(tables.jobs.c.state.in_(states))
        if after is not None:
            moment, search_id = after
            older = or_(searches.created_at < moment, and_(searches.created_at == moment, searches.id < search_id))
            query = query.where(older)
        with self._database.reading() as connection:
            return [_record(row) for row in connection.execute(query)]

    def cancel(self, search_id: str) -> None:
        """Asks for a search to end: at once if it waits, else as soon as its worker hears of it. Done twice is once."""
        with self._database.transaction() as connection:
            self._queue.cancel(connection, search_id, SEARCH)

    def withdraw(self, search_id: str) -> None:
        """Takes a search's front back, after which nothing of it is exported any more: the first step to delete it.

        Its files are removed next, by the caller, and then the rest. Where they cannot be, the search is there to be
        deleted again.

        Raises:
            NotOverError: Something of it waits for a worker or is at one.
        """
        mine = tables.searches.c.id == search_id
        with self._database.transaction() as connection:
            # Whoever asks for an export locks the row as well: it is asked for before this, or refused after it.
            connection.execute(select(tables.searches.c.id).where(mine).with_for_update())
            _require_over(connection, search_id)
            connection.execute(update(tables.searches).where(mine).values(front=null()))

    def delete(self, search_id: str) -> None:
        """Deletes all that the database has of a search that was withdrawn."""
        with self._database.transaction() as connection:
            connection.execute(delete(tables.searches).where(tables.searches.c.id == search_id))

    def trials(self, search_id: str) -> list[dict[str, Any]]:
        """The trials so far, by number, as ``Trial.to_json`` has them."""
        return self._trials(search_id, [*_MEASURED, *_KEPT])

    def standing(self, search_id: str) -> Standing[Outcome]:
        """What fronts under any budget and picks are computed from, without any sub-network.

        Raises:
            NotReadyError: Its first two trials are not done.
            UnknownSearchError: It was deleted meanwhile.
        """
        front = self.front(search_id)
        outcomes = (Outcome.from_json(row) for row in self._trials_of_front(search_id, _MEASURED))
        return Standing(trials=tuple(outcomes), goal=goal_of(front), record=front)

    def described(self, search_id: str, outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
        """Trials in this order, as ``Trial.to_json`` has them: with their sub-networks, which are read now.

        Their measurements are those that were read before, even where they have been replaced since.

        Raises:
            UnknownSearchError: It was deleted meanwhile.
        """
        rows = self._trials(search_id, ("number", *_KEPT), numbers=[one.number for one in outcomes])
        kept = {row["number"]: row for row in rows}
        if len(kept) < len({one.number for one in outcomes}):  # deleted meanwhile
            raise unknown(search_id)
        return [{**one.record, **kept[one.number]} for one in outcomes]

    def results(self, search_id: str) -> Results:
        """What a search has found so far.

        Raises:
            NotReadyError: Its first two trials are not done.
            UnknownSearchError: It was deleted meanwhile.
        """
        front, environment = self._front(search_id)
        shape = shape_from_record(environment["supernet"])
        trials = self._trials_of_front(search_id, [*_MEASURED, *_KEPT])
        return results_of(shape, [Trial.from_json(trial, shape) for trial in trials], front)

    def front(self, search_id: str) -> Mapping[str, Any]:
        """The front so far, as its worker has written it; the trials need not be read for that.

        Raises:
            NotReadyError: Its first two trials are not done.
            UnknownSearchError: It was deleted meanwhile.
        """
        return self._front(search_id)[0]

    def require_measured(self, search_id: str, number: int) -> None:
        """Checks that a trial is there, and that it may be exported.

        Raises:
            ResultsError: It is not there.
            FailedTrialError: It failed.
            NotReadyError: The search's first two trials are not done.
        """
        self.front(search_id)
        mine = tables.trials.c.search_id == search_id
        outcome = select(tables.trials.c.state, tables.trials.c.reason).where(mine, tables.trials.c.number == number)
        with self._database.reading() as connection:
            num_trials = connection.execute(select(func.count()).where(mine)).scalar_one()
            found = connection.execute(outcome).one_or_none()
        if found is None:
            raise unknown_trial(number, num_trials)
        refuse_failed(number, TrialState(found.state), found.reason)

    def counts(self) -> dict[JobState, int]:
        """How many searches stand how."""
        jobs = tables.jobs.c
        query = select(jobs.state, func.count()).where(jobs.kind == SEARCH).group_by(jobs.state)
        with self._database.reading() as connection:
            found = {JobState(state): number for state, number in connection.execute(query)}
        return {state: found.get(state, 0) for state in JobState}

    def _trials(
        self, search_id: str, names: Sequence[str], *, numbers: Sequence[int] | None = None
    ) -> list[dict[str, Any]]:
        """Some columns of all trials, or of those with these numbers, by number."""
        trials = tables.trials.c
        query = select(*(trials[name] for name in names)).where(trials.search_id == search_id)
        if numbers is not None:
            query = query.where(trials.number.in_(numbers))
        with self._database.reading() as connection:
            return [dict(row) for row in connection.execute(query.order_by(trials.number)).mappings()]

    def _trials_of_front(self, search_id: str, names: Sequence[str]) -> list[dict[str, Any]]:
        """Some columns of all trials of a search that has a front, and so has trials.

        Raises:
            UnknownSearchError: It was deleted meanwhile.
        """
        if not (found := self._trials(search_id, names)):
            raise unknown(search_id)
        return found

    def _front(self, search_id: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """The front, and the environment that it was found in."""
        found = tables.searches.c
        with self._database.reading() as connection:
            query = select(found.front, found.environment).where(found.id == search_id)
            row = connection.execute(query).one_or_none()
        if row is None:  # deleted meanwhile
            raise unknown(search_id)
        if row.front is None:
            raise NotReadyError("A search must have measured its supernet first, but this one has not; ask later.")
        return row.front, row.environment

    def _insert(self, connection: Connection, row: Mapping[str, Any]) -> bool:
        """Whether it is new: of many that come at once with one key, one is."""
        if row["idempotency_key"] is None:
            connection.execute(insert(tables.searches).values(row))
            return True
        added = connection.execute(
            self._database.insert_if_new(tables.searches).values(row).returning(tables.searches.c.id)
        )
        return added.one_or_none() is not None

    def _submitted_before(self, connection: Connection, owner: str, key: str, request_sha256: str) -> str | None:
        found = tables.searches.c
        row = connection.execute(
            select(found.id, found.request_sha256).where(found.owner == owner, found.idempotency_key == key)
        ).one_or_none()
        if row is None:
            return None
        if row.request_sha256 != request_sha256:
            raise IdempotencyError(
                f"An Idempotency-Key must stand for one request, but {key!r} stands for another config; take a new one."
            )
        return str(row.id)


def _require_over(connection: Connection, search_id: str) -> None:
    jobs = tables.jobs.c
    going_on = jobs.state.in_([state for state in JobState if not state.is_over])
    at_work = select(jobs.kind, jobs.state).where(jobs.search_id == search_id, going_on).order_by(jobs.created_at)
    if (found := connection.execute(at_work).first()) is not None:
        raise NotOverError(
            f"A search must be over, and its exports made, before it is deleted, but its {found.kind} is "
            f"{found.state}; {'cancel it first' if found.kind == SEARCH else 'wait for that'}."
        )


def _records() -> Any:
    searches, jobs = tables.searches, tables.jobs
    columns = [
        searches.c[name]
        for name in (
            *("id", "owner", "name", "num_trials", "max_trials", "hypervolume", "num_events"),
            *("created_at", "config", "environment"),
        )
    ]
    ran = and_(jobs.c.search_id == searches.c.id, jobs.c.kind == SEARCH)
    return select(*columns, jobs.c.state, jobs.c.reason, jobs.c.started_at, jobs.c.ended_at).join(jobs, ran)


def _record(row: Row[Any]) -> SearchRecord:
    return SearchRecord(**{**row._mapping, "state": JobState(row.state)})
