"""The process in which a worker lets a claimed search run: ``python -m nas.service.search_process``.

A process of its own, so that whatever a model does to it (memory, a crash, a hang) leaves the worker alive. It reads
the claim from standard input as one JSON object, renews nothing (its worker does), and writes through the lease alone:
where that is lost, it ends.
"""

import json
import os
import signal
import sys
from dataclasses import asdict, dataclass, field
from typing import Any

from nas.service.processes import end_with
from nas.service.queue import Lease


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a worker hands over.

    Attributes:
        database_url: The service's.
        lease_s: As the worker's queue has it.
        lease: The claim.
        config: Of the search.
        parent: The worker's process.
    """

    database_url: str
    lease_s: float
    lease: dict[str, Any]
    config: dict[str, Any]
    parent: int = field(default_factory=os.getpid)

    def to_json(self) -> str:
        """One line for standard input."""
        return json.dumps(asdict(self))


def main() -> None:
    """Reads the order and carries it out."""
    order = Order(**json.loads(sys.stdin.readline()))
    end_with(order.parent, signal.SIGKILL)
    run(order)


def run(order: Order) -> None:
    """Runs the search to its end, or to where it stopped being ours."""
    # Seconds of imports, which only this process should pay.
    from nas.config import SearchConfig
    from nas.errors import describe_error
    from nas.preparation import prepare
    from nas.run import describe_run
    from nas.search import Search
    from nas.service.database import Database, DatabaseError
    from nas.service.lease_store import LeaseStore
    from nas.service.queue import JobState, LeaseLostError, Queue

    database = Database(order.database_url)
    queue, lease = Queue(database, lease_s=order.lease_s), Lease(**order.lease)
    store = LeaseStore(database, queue, lease)
    state, reason = JobState.COMPLETE, ""
    try:
        config = SearchConfig.model_validate(order.config)
        prepared = prepare(config)
        store.write_environment(describe_run(config, prepared.supernet, search_id=lease.search_id))
        Search(config, prepared, store).run(_unheard)
    except LeaseLostError:
        return
    except DatabaseError:  # no fault of the search's: it goes back into the queue, or its lease runs out
        sys.exit(1)
    except ValueError as error:  # of our own: the config, the model, the budget
        state, (reason, _) = JobState.FAILED, describe_error(error)
    with queue.guarded(lease) as connection:
        queue.end(connection, lease, state, reason)


def _unheard(status: object) -> None:
    """Who wants to know how the search stands reads its events."""


if __name__ == "__main__":
    main()
