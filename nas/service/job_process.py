"""The process in which a worker lets a claimed job run, from both sides: ``python -m nas.service.job_process``.

A process of its own, so that whatever a model does to it (memory, a crash, a hang) leaves the worker alive. It reads
the claim from standard input as one JSON object, renews nothing (its worker does), and writes through the lease alone.
It says how the job ended on a pipe of its own, in one line; what it prints is the search's log. A process that ends
without a word has crashed.
"""

import json
import logging
import os
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from nas.service.logs import Capture
from nas.service.processes import end_with
from nas.service.queue import JobState, Lease
from nas.service.scratch import within

DRAIN_S = 1.0
"""How long the rest of the output is waited for; a child of the process may hold it open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a worker hands over.

    Attributes:
        database_url: The service's.
        artifacts: Where exports are kept, and what searches train.
        lease_s: As the worker's queue has it.
        lease: The claim.
        parent: The worker's process.
    """

    database_url: str
    artifacts: str
    lease_s: float
    lease: dict[str, Any]
    parent: int = field(default_factory=os.getpid)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a job ended.

    Attributes:
        state: Complete or failed.
        reason: One sentence, where it failed.
    """

    state: JobState
    reason: str = ""


class JobProcess:
    """The worker's side: a running process.

    Args:
        order: What it is to do.
        scratch: A folder for its temporary files, which whoever made it removes: this process may be killed.

    Attributes:
        printed: What it prints.
    """

    def __init__(self, order: Order, scratch: Path) -> None:
        self._outcome, outcome = os.pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "nas.service.job_process", str(outcome)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=[outcome],
                env=within(scratch),
            )
        except OSError:
            os.close(self._outcome)
            raise
        finally:
            os.close(outcome)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self.printed = Capture(self._process.stdout)
        try:
            self._process.stdin.write(json.dumps(asdict(order)).encode() + b"\n")
            self._process.stdin.close()
        except BrokenPipeError:
            pass  # it died at once, and is attended to like any that dies

    @property
    def status(self) -> int | None:
        """As the system has it: negative for a signal; None while it runs."""
        return self._process.poll()

    def end(self) -> Outcome | None:
        """Sees to it that it has ended, and has everything that it said.

        Returns:
            None where it did not say how the job ended.
        """
        self._process.kill()
        self._process.wait()
        self.printed.wait(DRAIN_S)
        with os.fdopen(self._outcome, encoding="utf-8") as pipe:
            said = pipe.readline()
        if not said.endswith("\n"):
            return None
        found = json.loads(said)
        return Outcome(state=JobState(found["state"]), reason=found["reason"])


def main() -> None:
    """The process's side: reads the order, carries it out, and says how the job ended."""
    order = Order(**json.loads(sys.stdin.readline()))
    end_with(order.parent, signal.SIGKILL)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    logging.captureWarnings(True)
    outcome = carry_out(order)
    with os.fdopen(int(sys.argv[1]), "w", encoding="utf-8") as pipe:
        print(json.dumps(asdict(outcome)), file=pipe)


def carry_out(order: Order) -> Outcome:
    """Does the job to its end.

    Raises:
        LeaseLostError: It is another worker's by now.
        DatabaseError: The database is not there. Both are no fault of the job's.
        SystemExit: One of these, or the job cannot go on in this process.
    """
    # Seconds of imports, which only this process should pay.
    from nas.errors import describe_error
    from nas.service.database import Database, DatabaseError
    from nas.service.jobs import JOBS, LeftError, Work
    from nas.service.queue import LeaseLostError, Queue

    database, lease = Database(order.database_url), Lease(**order.lease)
    queue = Queue(database, lease_s=order.lease_s)
    try:
        JOBS[lease.kind](Work(database=database, queue=queue, lease=lease, artifacts=order.artifacts))
    except (LeaseLostError, DatabaseError, LeftError) as error:
        sys.exit(str(error))
    except ValueError as error:  # of our own: the config, the model, the budget
        return Outcome(state=JobState.FAILED, reason=describe_error(error)[0])
    return Outcome(state=JobState.COMPLETE)


if __name__ == "__main__":
    main()
