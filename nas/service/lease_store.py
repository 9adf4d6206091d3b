"""A search's state in the service's database, written only while its worker holds the lease."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from nas.service import tables
from nas.service.database import Database
from nas.service.events import Events
from nas.service.queue import Lease, Queue
from nas.store.base import DuplicateTrialError
from nas.trial import Trial
from search_spaces.shape import SupernetShape
from search_spaces.sub_network import SubNetwork


class LeaseStore:
    """The ``SearchStore`` of a claimed search.

    Every method may raise ``DatabaseError``, and those that write ``LeaseLostError``.

    Args:
        database: Where the search is.
        queue: Which guards it.
        lease: The claim on it.
    """

    def __init__(self, database: Database, queue: Queue, lease: Lease) -> None:
        self._database = database
        self._queue = queue
        self._lease = lease
        self._events = Events(database)

    @property
    def search_id(self) -> str:
        """As the service gave it."""
        return self._lease.search_id

    def trials(self, shape: SupernetShape) -> list[Trial]:
        """All trials by number."""
        mine = select(tables.trials).where(tables.trials.c.search_id == self.search_id)
        with self._database.reading() as connection:
            rows = connection.execute(mine.order_by(tables.trials.c.number)).mappings().all()
        return [Trial.from_json({**row}, shape) for row in rows]

    def begin(self, sub_network: SubNetwork) -> int:
        """Counts the times that the sub-network was begun without an end, this one included."""
        row = {"search_id": self.search_id, "sub_network_key": sub_network.key}
        begun = tables.begun_trials
        with self._queue.guarded(self._lease) as connection:
            connection.execute(self._database.insert_if_new(begun).values({**row, "num_begun": 0}))
            mine = (begun.c.search_id == self.search_id) & (begun.c.sub_network_key == sub_network.key)
            counted = update(begun).where(mine).values(num_begun=begun.c.num_begun + 1).returning(begun.c.num_begun)
            return int(connection.execute(counted).scalar_one())

    def add(self, trial: Trial) -> None:
        """Stores a trial, tells of it and notes that the search gets on, all or nothing.

        Raises:
            DuplicateTrialError: Its number or its sub-network is there already.
        """
        record = trial.to_json()
        row = record | {"search_id": self.search_id, "sub_network_key": trial.sub_network.key}
        begun = tables.begun_trials.c
        with self._queue.guarded(self._lease) as connection:
            try:
                connection.execute(insert(tables.trials).values(row))
            except IntegrityError as error:
                raise DuplicateTrialError(
                    f"A trial's number and its sub-network must be new to a search, but trial {trial.number} or "
                    f"sub-network {trial.sub_network.key} is in {self.search_id} already."
                ) from error
            mine = (begun.search_id == self.search_id) & (begun.sub_network_key == trial.sub_network.key)
            connection.execute(delete(tables.begun_trials).where(mine))
            connection.execute(
                update(tables.searches)
                .where(tables.searches.c.id == self.search_id)
                .values(num_trials=tables.searches.c.num_trials + 1)
            )
            self._queue.got_on(connection, self._lease)
            told = {name: record[name] for name in ("number", "source", "state", "reason", "measurements")}
            self._events.add(connection, self.search_id, "trial", told)

    def replace_measurements(self, trial: Trial) -> None:
        """Puts the trial's measurements in the place of those stored under its number."""
        mine = (tables.trials.c.search_id == self.search_id) & (tables.trials.c.number == trial.number)
        with self._queue.guarded(self._lease) as connection:
            connection.execute(update(tables.trials).where(mine).values(measurements=trial.to_json()["measurements"]))

    def write_front(self, record: Mapping[str, Any]) -> None:
        """Replaces the front, and tells of it where somebody has come or gone."""
        searches = tables.searches
        told = _told_of(record)
        with self._queue.guarded(self._lease) as connection:
            before = connection.execute(select(searches.c.front).where(searches.c.id == self.search_id)).scalar_one()
            connection.execute(
                update(searches)
                .where(searches.c.id == self.search_id)
                .values(front=dict(record), hypervolume=record["hypervolume"])
            )
            if before is None or told != _told_of(before):
                self._events.add(connection, self.search_id, "front", told)

    def write_environment(self, record: Mapping[str, Any]) -> None:
        """Says where the search runs; the first to say so counts."""
        mine = (tables.searches.c.id == self.search_id) & tables.searches.c.environment.is_(None)
        with self._queue.guarded(self._lease) as connection:
            connection.execute(update(tables.searches).where(mine).values(environment=dict(record)))

    def forget_begun(self) -> None:
        """Takes back the trial in hand: it is given up because the worker stops, and not because it crashed."""
        begun = tables.begun_trials
        mine = (begun.c.search_id == self.search_id) & (begun.c.num_begun > 0)
        with self._queue.guarded(self._lease) as connection:
            connection.execute(update(begun).where(mine).values(num_begun=begun.c.num_begun - 1))


def _told_of(front: Mapping[str, Any]) -> dict[str, Any]:
    return {"hypervolume": front["hypervolume"], "trials": [one["number"] for one in front["trials"]]}
