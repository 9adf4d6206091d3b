"""What a job is: a function of the claim on it."""

from collections.abc import Callable
from dataclasses import dataclass

from nas.service.database import Database
from nas.service.queue import Lease, Queue


class LeftError(RuntimeError):
    """The job cannot go on in this process, and may in another; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A claimed job and what it needs.

    Attributes:
        database: The service's.
        queue: Which guards what is written.
        lease: The claim.
        artifacts: Where exports are kept, and what searches train.
    """

    database: Database
    queue: Queue
    lease: Lease
    artifacts: str


Job = Callable[[Work], None]
"""Does a job to its end. A ``ValueError`` fails it; ``DatabaseError`` and ``LeftError`` leave it for another worker."""
