"""What a job's process prints, kept as events of its search, so that whoever watches a search can read along.

A process that prints without end must not fill the database: a line is cut at ``MAX_BYTES``, and of each process the
first ``MAX_LINES`` are kept. The worker's own log has them all.
"""

import sys
import threading
from collections import deque
from itertools import islice
from typing import IO

from nas.service.database import Database
from nas.service.events import Events
from nas.service.queue import Lease, Queue

LOG_EVENT = "log"
MAX_BYTES = 1000
MAX_LINES = 2000
AT_ONCE = 100
"""Lines in one transaction."""


class Capture:
    """Reads what a process prints, for as long as it does.

    Args:
        printed: The process's output.
    """

    def __init__(self, printed: IO[bytes]) -> None:
        self.waiting: deque[str] = deque()
        """Lines that are not stored yet, oldest first."""
        self._reader = threading.Thread(target=self._read, args=(printed,), daemon=True)
        self._reader.start()

    def wait(self, timeout_s: float) -> None:
        """Waits for the end of the output, which a child of the process may hold open."""
        self._reader.join(timeout_s)

    def add(self, line: str) -> None:
        """Adds a line of the worker's own."""
        self.waiting.append(line)

    def _read(self, printed: IO[bytes]) -> None:
        num_lines = 0
        while piece := printed.readline(MAX_BYTES):
            sys.stderr.buffer.write(piece)
            sys.stderr.flush()
            if line := shown(piece):
                num_lines += 1
                if num_lines < MAX_LINES:
                    self.waiting.append(line)
                elif num_lines == MAX_LINES:
                    self.waiting.append("More lines are in the worker's own log only.")


class Logs:
    """The log lines of all searches.

    Args:
        database: Where they are.
        queue: Which guards what is written.
    """

    def __init__(self, database: Database, queue: Queue) -> None:
        self._queue = queue
        self._events = Events(database)

    def store(self, lease: Lease, capture: Capture) -> None:
        """Stores the lines that wait; what cannot be stored goes on waiting.

        Raises:
            LeaseLostError: The job is another worker's by now.
            DatabaseError: The database is not there, or has no room.
        """
        while lines := list(islice(capture.waiting, AT_ONCE)):
            with self._queue.guarded(lease) as connection:
                for line in lines:
                    self._events.add(connection, lease.search_id, LOG_EVENT, {"job": lease.kind, "text": line})
            for _ in lines:
                capture.waiting.popleft()


def shown(piece: bytes) -> str:
    """A line as a terminal would leave it: the last state of a progress bar, without control characters."""
    text = piece.decode(errors="replace").rstrip().rpartition("\r")[2]
    return "".join(one if one.isprintable() else " " for one in text).strip()
