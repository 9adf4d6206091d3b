"""Kills processes of a service, or stops them for a while, as chance has it."""

import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import psutil
from service_processes import Service, jobs_of, worker_name
from sqlalchemy import func, select

from nas.service import tables
from nas.service.database import Database
from nas.service.queue import MAX_CLAIMS

MAX_BEGUN = 2
"""Beginnings of one trial after which it is spared: the fourth would be given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One process killed, or stopped for a while.

    Attributes:
        at: Seconds since 1970.
        action: ``kill`` or ``pause``.
        role: ``api``, ``worker``, ``worker at work``, ``search``, or ``worker and search``.
        workers: Names of the workers that leave their search by it.
        pause_s: How long it is stopped.
    """

    at: float
    action: str
    role: str
    workers: tuple[str, ...]
    pause_s: float = 0.0


class Tormentor:
    """Chooses processes and kills or stops them.

    Args:
        running: Whose.
        database: To see whom to spare.
        chance: Decides.
    """

    def __init__(self, running: Service, database: Database, chance: random.Random) -> None:
        self._running = running
        self._database = database
        self._chance = chance
        self._pausing: list[threading.Thread] = []
        self.faults: list[Fault] = []
        self.spared = 0
        self._met_danger = False

    def kill(self) -> None:
        """SIGKILL to the API, to any worker, to one at work or to a search's process."""
        role = self._chance.choice(["api", "worker", "worker at work", "search"])
        part = self._chance.random()
        self._insist(lambda: self._kill(role, part))

    def pause(self) -> None:
        """Stops a worker alone, a search's process alone, or both, until after the lease."""
        role = self._chance.choice(["worker at work", "search", "worker and search"])
        part, pause_s = self._chance.random(), self._running.lease_s + self._chance.uniform(0.5, 2.0)
        self._insist(lambda: self._pause(role, part, pause_s))

    def join(self) -> None:
        """Waits until nothing is stopped any more."""
        for thread in self._pausing:
            thread.join()

    def _insist(self, strike: Callable[[], bool]) -> None:
        self._met_danger = False
        while not strike():
            time.sleep(0.05)
        self.spared += self._met_danger

    def _kill(self, role: str, part: float) -> bool:
        victim = self._victim(role, part)
        if victim is None:
            return False
        try:
            workers = self._left_by(role, victim)
            at = time.time()
            victim.kill()
        except psutil.NoSuchProcess:
            return False
        self.faults.append(Fault(at=at, action="kill", role=role, workers=workers))
        return True

    def _pause(self, role: str, part: float, pause_s: float) -> bool:
        victim = self._victim("search" if role == "search" else "worker at work", part)
        if victim is None:
            return False
        try:
            victims = [victim, *(jobs_of(victim) if role == "worker and search" else [])]
            workers = () if role == "search" else (worker_name(victim),)  # its worker keeps the lease
            at = time.time()
            for one in victims:
                one.suspend()
        except psutil.NoSuchProcess:
            return False
        self.faults.append(Fault(at=at, action="pause", role=role, workers=workers, pause_s=pause_s))
        self._pausing.append(threading.Thread(target=self._let_go_on, args=(victims, pause_s)))
        self._pausing[-1].start()
        return True

    def _let_go_on(self, victims: Sequence[psutil.Process], pause_s: float) -> None:
        time.sleep(pause_s)
        for one in reversed(victims):  # a search's process first, so that it may try to write
            with suppress(psutil.NoSuchProcess):
                one.resume()
            time.sleep(0.1)

    def _victim(self, role: str, part: float) -> psutil.Process | None:
        """One of that role that may be hit; None where there is none now."""
        everybody = {"api": self._running.api, "search": self._running.jobs}.get(role, self._running.workers)
        alive = [process for process in everybody() if role != "worker at work" or jobs_of(process)]
        alive = [process for process in alive if not is_stopped(process)]
        if not alive:
            return None
        victim = alive[int(part * len(alive))]
        with suppress(psutil.NoSuchProcess):
            if any(is_in_danger(self._database, name) for name in self._left_by(role, victim)):
                self._met_danger = True
                return None
        return victim

    def _left_by(self, role: str, victim: psutil.Process) -> tuple[str, ...]:
        if role == "search":
            return (worker_name(psutil.Process(victim.ppid())),)
        return tuple(worker_name(one) for one in (victim.children() if role == "api" else [victim]))


def is_stopped(process: psutil.Process) -> bool:
    """By SIGSTOP."""
    try:
        return process.status() == psutil.STATUS_STOPPED
    except psutil.NoSuchProcess:
        return False


def is_in_danger(database: Database, worker: str) -> bool:
    """Whether the search of a worker may be given up by design, were it to die once more."""
    jobs, begun = tables.jobs.c, tables.begun_trials.c
    claims = select(jobs.num_claims, jobs.search_id).where(jobs.lock_owner == worker)
    with database.reading() as connection:
        for num_claims, search_id in connection.execute(claims).all():
            times = select(func.max(begun.num_begun)).where(begun.search_id == search_id)
            most = connection.execute(times).scalar_one() or 0
            if num_claims >= MAX_CLAIMS - 1 or most > MAX_BEGUN:
                return True
    return False
