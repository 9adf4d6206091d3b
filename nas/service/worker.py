"""A worker: claims jobs one at a time and lets each run in a process of its own.

While that process works, the worker renews the lease and stores what it prints. It ends the process where the search is
cancelled, where the lease is lost, and where the worker itself is asked to stop; a search that is stopped half-way goes
back into the queue and on from its trials. A process that dies by itself leaves the search in the queue too: the trial
that it died of is counted, and given up after the third time (``nas.search``).
"""

import logging
import math
import os
import signal
import socket
import time
from dataclasses import asdict
from enum import Enum, auto
from types import FrameType

from nas.artifacts import ArtifactError, ArtifactStore
from nas.service.checkpoints import remove_checkpoints
from nas.service.database import Database, DatabaseError
from nas.service.exports import EXPORT
from nas.service.job_process import JobProcess, Order, Outcome
from nas.service.lease_store import LeaseStore
from nas.service.logs import Logs
from nas.service.queue import JobState, Lease, LeaseLostError, Queue
from nas.service.scratch import remove_left_folders, scratch_folder
from nas.service.searches import SEARCH

LOG = logging.getLogger(__name__)

RENEWALS = 4
"""Times that a lease is renewed in its length: some may be late before it is lost."""
POLL_S = 0.2
CLEARING_S = 3600.0
"""How often a worker looks for what killed uploads have left among the artifacts."""
IDLE_S = 1.0
"""How often a worker without work asks for some: a thousand of them are a load on the database."""


class _End(Enum):
    """Why a worker has nothing more to do with a process."""

    EXITED = auto()
    CANCELLED = auto()
    STOPPED = auto()


class Worker:
    """Works through the queue until it is told to stop.

    Args:
        database_url: The service's.
        artifacts: Where exports are kept and what searches train, as ``ArtifactStore`` takes it.
        lease_s: How long a job waits after this worker's death.
        name: For people; host and process by default.
    """

    def __init__(self, database_url: str, *, artifacts: str, lease_s: float = 30.0, name: str | None = None) -> None:
        self._database_url = database_url
        self._artifacts = artifacts
        self._lease_s = lease_s
        self._name = name or f"{socket.gethostname()}-{os.getpid()}"
        self._database = Database(database_url)
        self._queue = Queue(self._database, lease_s=lease_s)
        self._logs = Logs(self._database, self._queue)
        self._is_stopping = False  # a plain flag: an event's lock may be held when a signal comes

    def stop(self) -> None:
        """Asks it to give back what it holds and end, within moments."""
        self._is_stopping = True

    def stop_on_signals(self) -> None:
        """Lets SIGTERM and SIGINT stop it."""

        def handler(number: int, frame: FrameType | None) -> None:
            del number, frame
            self.stop()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, handler)

    def run(self, *, until_idle: bool = False) -> None:
        """Works.

        Args:
            until_idle: End when there is nothing to do, in place of waiting for more.
        """
        remove_left_folders()
        cleared_s = -math.inf
        while not self._is_stopping:
            if time.monotonic() - cleared_s >= CLEARING_S:
                cleared_s = time.monotonic()
                self._clear_up()
            try:
                lease = self._queue.claim(self._name, [EXPORT, SEARCH], on_end=self._forget)
            except DatabaseError as error:  # it restarts, or has no room
                LOG.warning("%s", error)
                time.sleep(POLL_S)
                continue
            if lease is not None:
                self._work(lease)
            elif until_idle:
                break
            else:
                time.sleep(IDLE_S)
        self._database.close()

    def _work(self, lease: Lease) -> None:
        LOG.info("%s of %s: begun, or taken up again", lease.kind, lease.search_id)
        try:
            with scratch_folder() as scratch:
                process = JobProcess(self._order(lease), scratch)
                try:
                    end = self._attend(process, lease)
                finally:
                    outcome = process.end()  # before anything is said of the job: it must write nothing more
                self._conclude(process, lease, end, outcome)  # before the folder goes, which may take a while
                is_lost = end is _End.CANCELLED or (outcome is not None and outcome.state is JobState.FAILED)
                if is_lost:
                    self._forget(lease)
        except LeaseLostError as error:
            LOG.warning("%s", error)
        except DatabaseError as error:
            LOG.warning("%s", error)  # the lease runs out, and somebody takes the search up

    def _clear_up(self) -> None:
        try:
            ArtifactStore(self._artifacts).remove_left()
        except ArtifactError as error:
            LOG.warning("%s", error)  # it costs room, and no job

    def _forget(self, lease: Lease) -> None:
        """Removes what only somebody who goes on with a job would need."""
        if lease.kind == SEARCH:
            remove_checkpoints(ArtifactStore(self._artifacts), lease.search_id)

    def _order(self, lease: Lease) -> Order:
        return Order(
            database_url=self._database_url, artifacts=self._artifacts, lease_s=self._lease_s, lease=asdict(lease)
        )

    def _attend(self, process: JobProcess, lease: Lease) -> _End:
        """Renews the lease until there is no reason to."""
        renewed_s = time.monotonic()
        while process.status is None:
            time.sleep(POLL_S)
            if self._is_stopping:
                return _End.STOPPED
            try:
                self._logs.store(lease, process.printed)
                if time.monotonic() - renewed_s >= self._lease_s / RENEWALS:
                    renewed_s = time.monotonic()
                    if self._queue.renew(lease):
                        return _End.CANCELLED
            except DatabaseError as error:
                LOG.warning("%s", error)  # it may be back before the lease runs out
        return _End.EXITED

    def _conclude(self, process: JobProcess, lease: Lease, end: _End, outcome: Outcome | None) -> None:
        if end is _End.CANCELLED:
            outcome = Outcome(state=JobState.CANCELLED)
        LOG.info("%s of %s: %s", lease.kind, lease.search_id, outcome.state if outcome else end.name.lower())
        if end is _End.EXITED and outcome is None:
            process.printed.add(f"The process of this {lease.kind} ended with {process.status} before it was done.")
        self._logs.store(lease, process.printed)
        if outcome is not None:
            with self._queue.guarded(lease) as connection:
                self._queue.end(connection, lease, outcome.state, outcome.reason)
        elif end is _End.STOPPED:
            LeaseStore(self._database, self._queue, lease).forget_begun()
            self._queue.release(lease)
        else:
            self._queue.release(lease, got_stuck=True)
