"""A search's state in the service's database and files, written only while its worker holds the lease."""

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from sqlalchemy import Table, delete, insert, select, update
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError
from sqlalchemy.sql import ColumnElement

from nas.long_work.places import NO_PLACES, TrainingPlaces
from nas.service import tables
from nas.service.checkpoints import Checkpoints, PlacesInArtifacts
from nas.service.database import Database, DatabaseError
from nas.service.events import Events
from nas.service.queue import Lease, Queue
from nas.service.search_files import KeptWeights, SearchFiles
from nas.service.searches import Searches
from nas.store.base import WeightsKind
from nas.store.errors import DuplicateTrialError
from nas.supernet.own_weights import OwnWeights
from nas.trial import Trial
from search_spaces.shape import SupernetShape
from search_spaces.sub_network import SubNetwork

T = TypeVar("T")
RETRY_S = 0.5


class LeaseStore:
    """The ``SearchStore`` of a claimed search.

    A database that restarts or has no room is waited for, ``patience_s`` long, so that the trial in hand is not lost
    with it. Every method may raise ``DatabaseError`` after that, and those that write ``LeaseLostError``.

    Args:
        database: Where the search is.
        queue: Which guards it.
        lease: The claim on it.
        files: Where what takes long to make is kept; None to let it go.
        patience_s: How long to wait for the database.
    """

    def __init__(
        self,
        database: Database,
        queue: Queue,
        lease: Lease,
        *,
        files: SearchFiles | None = None,
        patience_s: float = 60.0,
    ) -> None:
        self._database = database
        self._queue = queue
        self._lease = lease
        self._events = Events(database)
        self._weights = None if files is None else KeptWeights(files, files.scratch / "weights")
        self._places: TrainingPlaces = NO_PLACES
        if files is not None:
            self._places = PlacesInArtifacts(Checkpoints(files, hold=self.hold, get_on=self.get_on))
        self._patience_s = patience_s
        self._num_failed = 0

    @property
    def search_id(self) -> str:
        """As the service gave it."""
        return self._lease.search_id

    @property
    def places(self) -> TrainingPlaces:
        """Among the artifacts, since a search may go on at another worker, which shares no folder with this one."""
        return self._places

    def hold(self) -> None:
        """Sees to it that the search is still this worker's, before something is done that no transaction can guard."""
        self._write(lambda _: None)

    def get_on(self) -> None:
        """Notes progress: the search may be taken up as often as it takes."""
        self._write(lambda connection: self._queue.got_on(connection, self._lease))

    def trials(self, shape: SupernetShape) -> list[Trial]:
        """All trials by number."""
        searches = Searches(self._database, self._queue)
        rows = self._patiently(lambda: searches.trials(self.search_id))
        return [Trial.from_json(row, shape) for row in rows]

    def begin(self, sub_network: SubNetwork) -> int:
        """Counts the times that the sub-network was begun without an end, this one included."""
        begun = tables.begun_trials
        row = {"search_id": self.search_id, "sub_network_key": sub_network.key, "num_begun": 0}
        counted = update(begun).where(self._is_of(begun, sub_network)).values(num_begun=begun.c.num_begun + 1)

        def count(connection: Connection) -> int:
            connection.execute(self._database.insert_if_new(begun).values(row))
            return int(connection.execute(counted.returning(begun.c.num_begun)).scalar_one())

        return self._write(count)

    def add(self, trial: Trial) -> None:
        """Stores a trial, tells of it and notes that the search gets on, all or nothing.

        Raises:
            DuplicateTrialError: Its number or its sub-network is there already.
        """
        num_failed = self._num_failed
        try:
            self._write(lambda connection: self._add(connection, trial))
        except DuplicateTrialError:
            # The connection may have broken after the commit and before the answer.
            if self._num_failed == num_failed or not self._holds(trial):
                raise

    def replace_measurements(self, trial: Trial) -> None:
        """Puts the trial's measurements in the place of those stored under its number."""
        mine = (tables.trials.c.search_id == self.search_id) & (tables.trials.c.number == trial.number)
        replaced = update(tables.trials).where(mine).values(measurements=trial.to_json()["measurements"])
        self._write(lambda connection: connection.execute(replaced))

    def write_front(self, record: Mapping[str, Any]) -> None:
        """Replaces the front, and tells of it where somebody has come or gone."""
        searches = tables.searches
        mine, told = searches.c.id == self.search_id, _told_of(record)

        def replace(connection: Connection) -> None:
            before = connection.execute(select(searches.c.front).where(mine)).scalar_one()
            changed = {"front": dict(record), "hypervolume": record["hypervolume"]}
            connection.execute(update(searches).where(mine).values(changed))
            if before is None or told != _told_of(before):
                self._events.add(connection, self.search_id, "front", told)

        self._write(replace)

    def weights(self, sub_network: SubNetwork, kind: WeightsKind) -> OwnWeights | None:
        """Those that were kept among the artifacts; None where none were, or none that can be read."""
        return None if self._weights is None else self._weights.load(sub_network, kind)

    def keep_weights(self, sub_network: SubNetwork, kind: WeightsKind, weights: OwnWeights) -> None:
        """Publishes them among the artifacts, where that can be done.

        A worker may lose the lease between the look at it and the end of the upload, and its file then takes the place
        of one that another worker has published. Both come of the same training, and on the same kind of machine they
        are the same bit for bit.
        """
        if self._weights is not None:
            self.hold()
            self._weights.keep(sub_network, kind, weights)

    def write_environment(self, record: Mapping[str, Any]) -> None:
        """Says where the search runs; the first to say so counts."""
        mine = (tables.searches.c.id == self.search_id) & tables.searches.c.environment.is_(None)
        said = update(tables.searches).where(mine).values(environment=dict(record))
        self._write(lambda connection: connection.execute(said))

    def forget_begun(self) -> None:
        """Takes back the trial in hand: it is given up because the worker stops, and not because it crashed."""
        begun = tables.begun_trials
        mine = (begun.c.search_id == self.search_id) & (begun.c.num_begun > 0)
        forgotten = update(begun).where(mine).values(num_begun=begun.c.num_begun - 1)
        with self._queue.guarded(self._lease) as connection:
            connection.execute(forgotten)

    def _add(self, connection: Connection, trial: Trial) -> None:
        record = trial.to_json()
        row = record | {"search_id": self.search_id, "sub_network_key": trial.sub_network.key}
        searches, begun = tables.searches, tables.begun_trials
        try:
            connection.execute(insert(tables.trials).values(row))
        except IntegrityError as error:
            raise DuplicateTrialError(
                f"A trial's number and its sub-network must be new to a search, but trial {trial.number} or "
                f"sub-network {trial.sub_network.key} is in {self.search_id} already."
            ) from error
        connection.execute(delete(begun).where(self._is_of(begun, trial.sub_network)))
        counted = update(searches).where(searches.c.id == self.search_id)
        connection.execute(counted.values(num_trials=searches.c.num_trials + 1))
        self._queue.got_on(connection, self._lease)
        told = {name: record[name] for name in ("number", "source", "state", "reason", "measurements")}
        self._events.add(connection, self.search_id, "trial", told)

    def _holds(self, trial: Trial) -> bool:
        """Whether this very trial is stored."""
        mine = self._is_of(tables.trials, trial.sub_network) & (tables.trials.c.number == trial.number)
        with self._database.reading() as connection:
            return connection.execute(select(tables.trials.c.number).where(mine)).one_or_none() is not None

    def _is_of(self, table: Table, sub_network: SubNetwork) -> ColumnElement[bool]:
        return (table.c.search_id == self.search_id) & (table.c.sub_network_key == sub_network.key)

    def _write(self, act: Callable[[Connection], T]) -> T:
        def once() -> T:
            with self._queue.guarded(self._lease) as connection:
                return act(connection)

        return self._patiently(once)

    def _patiently(self, act: Callable[[], T]) -> T:
        end_s = time.monotonic() + self._patience_s
        while True:
            try:
                return act()
            except DatabaseError:
                self._num_failed += 1
                if time.monotonic() > end_s:
                    raise
                time.sleep(RETRY_S)


def _told_of(front: Mapping[str, Any]) -> dict[str, Any]:
    return {"hypervolume": front["hypervolume"], "trials": [one["number"] for one in front["trials"]]}
