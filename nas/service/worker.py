"""A worker: claims searches one at a time and lets each run in a process of its own.

While that process works, the worker renews the lease. It ends the process where the search is cancelled, where the
lease is lost, and where the worker itself is asked to stop; a search that is stopped half-way goes back into the queue
and on from its trials. A process that dies by itself leaves the search in the queue too: the trial that it died of is
counted, and given up after the third time (``nas.search``).
"""

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import asdict
from enum import Enum, auto
from types import FrameType

from nas.service.database import Database, DatabaseError
from nas.service.lease_store import LeaseStore
from nas.service.queue import JobState, Lease, LeaseLostError, Queue
from nas.service.search_process import Order
from nas.service.searches import SEARCH, Searches

LOG = logging.getLogger(__name__)

RENEWALS = 4
"""Times that a lease is renewed in its length: some may be late before it is lost."""
POLL_S = 0.2


class _End(Enum):
    """Why a worker has nothing more to do with a search."""

    DONE = auto()
    CRASHED = auto()
    CANCELLED = auto()
    STOPPED = auto()


class Worker:
    """Works through the queue until it is told to stop.

    Args:
        database_url: The service's.
        lease_s: How long a search waits after this worker's death.
        name: For people; host and process by default.
    """

    def __init__(self, database_url: str, *, lease_s: float = 30.0, name: str | None = None) -> None:
        self._database_url = database_url
        self._lease_s = lease_s
        self._name = name or f"{socket.gethostname()}-{os.getpid()}"
        self._database = Database(database_url)
        self._queue = Queue(self._database, lease_s=lease_s)
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
        while not self._is_stopping:
            try:
                lease = self._queue.claim(self._name, [SEARCH])
            except DatabaseError as error:  # it restarts, or has no room
                LOG.warning("%s", error)
                time.sleep(POLL_S)
                continue
            if lease is not None:
                self._work(lease)
            elif until_idle:
                break
            else:
                time.sleep(POLL_S)
        self._database.close()

    def _work(self, lease: Lease) -> None:
        LOG.info("search %s: begun, or taken up again", lease.search_id)
        try:
            process = self._begin(lease)
            try:
                end = self._attend(process, lease)
            finally:
                process.kill()  # before anything is said of the search: it must write nothing more
                process.wait()
            self._conclude(lease, end)
        except LeaseLostError as error:
            LOG.warning("%s", error)
        except DatabaseError as error:
            LOG.warning("%s", error)  # the lease runs out, and somebody takes the search up

    def _begin(self, lease: Lease) -> "subprocess.Popen[str]":
        config = Searches(self._database, self._queue).get(lease.search_id).config
        order = Order(database_url=self._database_url, lease_s=self._lease_s, lease=asdict(lease), config=dict(config))
        process = subprocess.Popen(
            [sys.executable, "-m", "nas.service.search_process"], stdin=subprocess.PIPE, text=True
        )
        assert process.stdin is not None
        try:
            process.stdin.write(order.to_json() + "\n")
            process.stdin.close()
        except BrokenPipeError:
            pass  # it died at once, and is attended to like any that dies
        return process

    def _attend(self, process: "subprocess.Popen[str]", lease: Lease) -> _End:
        """Renews the lease until there is no reason to."""
        renewed_s = time.monotonic()
        while process.poll() is None:
            time.sleep(POLL_S)
            if self._is_stopping:
                return _End.STOPPED
            if time.monotonic() - renewed_s >= self._lease_s / RENEWALS:
                try:
                    if self._queue.renew(lease):
                        return _End.CANCELLED
                except DatabaseError as error:
                    LOG.warning("%s", error)  # it may be back before the lease runs out
                renewed_s = time.monotonic()
        return _End.DONE if process.returncode == 0 else _End.CRASHED

    def _conclude(self, lease: Lease, end: _End) -> None:
        LOG.info("search %s: %s", lease.search_id, end.name.lower())
        if end is _End.CANCELLED:
            with self._queue.guarded(lease) as connection:
                self._queue.end(connection, lease, JobState.CANCELLED)
        elif end is _End.CRASHED:
            self._queue.release(lease, got_stuck=True)
        elif end is _End.STOPPED:
            LeaseStore(self._database, self._queue, lease).forget_begun()
            self._queue.release(lease)
