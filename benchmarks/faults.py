"""Whether the service loses or repeats anything when its processes, its database and its disk fail.

For each database, real processes (`nas serve`, `nas worker`, and those that they start) run real, short searches of the
bundled model, which users submit and watch over HTTP. Then, in turn:

- ``kills``: SIGKILL at random to the API, a worker, a worker at work or a search's process, ``--kills`` in all; some
  more (``--pauses``) are stopped until after their lease and let go on. API and workers are started anew at once.
  Two users have a search each; there are more workers, so that one is free to take up what another has left.
- ``paused``: a worker and its process are stopped in the middle of a search until another worker has claimed it. That
  one is stopped too, so that nobody else writes, and the first goes on: not a row may change.
- ``restarts`` (PostgreSQL): the server is stopped and started ``--restarts`` times, by turns in order and as if by a
  power failure (``pg_ctl stop -m immediate``; the tests' server does not wait for the disk, which survives).
- ``disk`` (SQLite): the database is on a small file system in memory, which is filled and emptied again.
- ``key``: 100 submits at once under one ``Idempotency-Key``.

Nothing is lost: every search that was submitted ends complete, its trials those that ``nas search`` finds alone on the
same config, number by number (without their durations). Nothing is twice: each trial is told of once, in order; one
search a key. Events are numbered without gaps, and each user has heard each number once. A search whose worker died is
claimed again within the lease and 5 s, counted from the kill to the next claim by the database's clock.

A trial that dies three times and a search that is taken up six times without getting on are given up by design. So a
search is spared while one more death could lead there; ``spared`` says how often.

Delays and roles of all faults come from ``--seed``; which process plays a role at that moment does not.
"""

import json
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import torch
from fault_findings import (
    SLACK_S,
    Expected,
    Findings,
    everything,
    judge,
    judge_reclaims,
    only_claims_since,
    opened,
    summary,
    tracebacks,
    without_duration,
)
from record import argument_parser, publish
from service_processes import Service, Users, jobs_of, service, until, worker_name
from sqlalchemy import func, select, text
from tormentor import Tormentor

from nas.client import Client, ServiceError
from nas.service import tables
from nas.service.database import Database, DatabaseError
from nas.service.schema import upgrade
from tests.integration.commands import ENVIRONMENT, SEARCH, nas
from tests.nas.service.databases import Server, find_binaries, running_server

DATABASES = ("sqlite", "postgresql")
DISK_BYTES = 6_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a check runs.

    Attributes:
        kind: Of database.
        url: Of a migrated one without searches.
        folder: For files.
        server: PostgreSQL's; None with SQLite.
        expected: By config, the trials that a search finds when it is left alone.
        options: The command line's.
    """

    kind: str
    url: str
    folder: Path
    server: Server | None
    expected: Expected
    options: Namespace

    def service(self, *, inner: int, outer: int) -> AbstractContextManager[Service]:
        """The processes, for a block: so many workers of `nas serve`, so many beside it."""
        chosen = self.options
        return service(self.url, self.folder, lease_s=chosen.lease, cold=chosen.cold, inner=inner, outer=outer)

    def users(self, running: Service) -> Users:
        """Users of these."""
        return Users(running.address, list(self.expected), prefix=self.folder.name)


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--database", nargs="+", choices=DATABASES, default=list(DATABASES))
    parser.add_argument("--only", nargs="+", choices=CHECKS, default=list(CHECKS))
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--pauses", type=int, default=20, help="at random, among the kills")
    parser.add_argument("--gap-s", type=float, default=4.0, help="between these faults, on average")
    parser.add_argument("--rounds", type=int, default=10, help="of paused, and a third of it of disk")
    parser.add_argument("--restarts", type=int, default=20)
    parser.add_argument("--lease", type=float, default=3.0, help="of the workers, in seconds")
    parser.add_argument("--trials", type=int, default=40, help="of each search")
    parser.add_argument("--cold", action="store_true", help="start the API and workers as fresh interpreters")
    options = parser.parse_args()
    os.environ |= ENVIRONMENT  # for the processes that are forked
    expected = {config: alone(config) for config in (config_of(options.trials, seed) for seed in (3, 4))}
    results = {kind: run_checks(kind, expected, options) for kind in options.database}
    publish({"benchmark": "faults", "databases": results}, options, device=torch.device("cpu"))
    if broken := [name for found in results.values() for name, one in found.items() if not one.get("holds", True)]:
        sys.exit(f"Does not hold: {', '.join(broken)}.")


def run_checks(kind: str, expected: Expected, options: Namespace) -> dict[str, Any]:
    """Those that were asked for, each on a database of its own."""
    results = {}
    with server_of(kind) as server:
        for name in options.only:
            if kind not in CHECKS[name][1]:
                continue
            began_s = time.monotonic()
            with place(kind, server, expected, options) as chosen:
                found = CHECKS[name][0](chosen)
                found.figures |= {"took_s": round(time.monotonic() - began_s), "tracebacks": tracebacks(chosen.folder)}
            results[name] = found.to_json()
            say(f"{kind} {name}: {json.dumps(results[name])}")
    return results


# ---- The checks


def kills(place: Place) -> Findings:
    """SIGKILL and SIGSTOP at random."""
    options, found = place.options, Findings()
    chance = random.Random(options.seed)
    roles = ["kill"] * options.kills + ["pause"] * options.pauses
    chance.shuffle(roles)
    with place.service(inner=0, outer=6) as running, opened(place.url) as database:
        users = place.users(running)
        users.begin(2)
        tormentor = Tormentor(running, database, chance)
        for role in roles:
            time.sleep(chance.uniform(0.2, 2 * options.gap_s - 0.2))
            users.check()
            tormentor.kill() if role == "kill" else tormentor.pause()
        tormentor.join()
        searches = users.finish()
    judge(found, place.url, place.expected, searches, users)
    found.figures |= {
        "faults": dict(Counter(f"{fault.action} {fault.role}" for fault in tormentor.faults)),
        "spared": tormentor.spared,
        "pause_s": [round(fault.pause_s, 1) for fault in tormentor.faults if fault.pause_s],
    }
    found.hold(sum(fault.action == "kill" for fault in tormentor.faults) == options.kills, "fewer kills than asked for")
    judge_reclaims(found, place.url, tormentor.faults, lease_s=options.lease)
    return found


def paused(place: Place) -> Findings:
    """A worker that sleeps past its lease, with nobody else writing when it wakes up."""
    found, chance = Findings(), random.Random(place.options.seed)
    claimed_s: list[float] = []
    with place.service(inner=0, outer=2) as running, opened(place.url) as database:
        users = place.users(running)
        users.begin(1)
        for _ in range(place.options.rounds):
            users.check()
            claimed_s += sleep_too_long(running, database, chance, found)
        searches = users.finish()
    judge(found, place.url, place.expected, searches, users)
    found.figures |= {"woken_too_late": len(claimed_s), "in_a_transaction": place.options.rounds - len(claimed_s)}
    found.figures |= {"stop_to_claim_s": summary(claimed_s)}
    found.hold(bool(claimed_s), "nobody was woken too late")
    return found


def sleep_too_long(running: Service, database: Database, chance: random.Random, found: Findings) -> list[float]:
    """One round of ``paused``: returns the seconds until the other's claim; nothing where a transaction was open.

    A process that is stopped in a transaction holds the database's lock or its row's: nobody else claims its search,
    and it goes on rightly when it goes on.
    """
    search_id, holder, job = until(lambda: at_work(running, database), what="a search at work")
    time.sleep(chance.uniform(0.0, 0.5))
    stopped_s = time.monotonic()
    holder.suspend()
    job.suspend()
    try:
        limit_s = running.lease_s + SLACK_S
        what = "another claim"
        other = until(lambda: holder_but(holder, search_id, running, database), what=what, timeout_s=limit_s)
    except AssertionError:
        found.hold(is_locked(database, search_id), "a search was not claimed, though no transaction kept it")
        job.resume()
        holder.resume()
        return []
    claimed_s = time.monotonic() - stopped_s
    others = (other, *jobs_of(other))
    for one in others:
        one.suspend()
    before = everything(database)
    job.resume()
    until(lambda: has_ended(job), what="the end of a process that has lost its lease", timeout_s=30)
    found.hold(everything(database) == before, "a process that had lost its lease has written")
    holder.resume()
    time.sleep(1.0)
    found.hold(only_claims_since(before, everything(database)), "a worker that had lost its lease has written")
    for one in others:
        one.resume()
    return [claimed_s]


def restarts(place: Place) -> Findings:
    """The server goes and comes back while everybody works."""
    found, chance, server = Findings(), random.Random(place.options.seed), place.server
    assert server is not None
    down_s = []
    with place.service(inner=1, outer=2) as running:
        users = place.users(running)
        users.begin(2)
        for number in range(place.options.restarts):
            time.sleep(chance.uniform(2.0, 8.0))
            users.check()
            began_s = time.monotonic()
            server.stop("immediate" if number % 2 else "fast")
            time.sleep(chance.uniform(0.0, 2.0))
            server.start()
            down_s.append(time.monotonic() - began_s)
        searches = users.finish()
    judge(found, place.url, place.expected, searches, users)
    found.figures |= {"restarts": len(down_s), "down_s": summary(down_s)}
    return found


def disk(place: Place) -> Findings:
    """No room under the database, and room again."""
    found, chance = Findings(), random.Random(place.options.seed)
    folder = place.folder / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "nas-faults", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        found.figures["skipped"] = "Mounting a small file system needs root and the right to mount."
        return found
    try:
        return full_disk(
            replace(place, url=migrated(f"sqlite:///{folder / 'nas.db'}")), folder / "filler", found, chance
        )
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def full_disk(place: Place, filler: Path, found: Findings, chance: random.Random) -> Findings:
    """Fills the file system and empties it again, a few times."""
    full_s, answers = [], Counter[str]()
    with place.service(inner=1, outer=1) as running, opened(place.url) as database:
        users = place.users(running)
        users.begin(1)
        late = Users(running.address, list(place.expected), prefix="full")
        for number in range(-(-place.options.rounds // 3)):
            target = num_trials(database) + chance.randint(1, 8)
            until(partial(has_stored, database, target), what="more trials")
            fill(filler)
            began_s = time.monotonic()
            answers[answer_to_a_submit(running, late.configs[0], key=f"full-{number}")] += 1
            answers[answer_to_a_look(running)] += 1
            if number % 2:
                chance.choice(running.workers()).kill()
            time.sleep(chance.uniform(1.0, 3.0) * place.options.lease)
            before = num_trials(database)
            filler.unlink()
            full_s.append(time.monotonic() - began_s)
            until(partial(has_stored, database, before + 1), what="trials after space came back")
        searches = users.finish()
        with Client(running.address) as client:
            searches += [late.follow(client, f"full-{number}", late.configs[0]) for number in range(len(full_s))]
        with database.reading() as connection:
            integrity = connection.execute(text("PRAGMA integrity_check")).scalar_one()
    judge(found, place.url, place.expected, searches, users)
    found.figures |= {"times_full": len(full_s), "full_s": summary(full_s), "answers_when_full": dict(answers)}
    found.hold(integrity == "ok", f"the file is damaged: {integrity}")
    return found


def key(place: Place) -> Findings:
    """A hundred submits at once that mean one search."""
    found, number = Findings(), 100
    config = next(iter(place.expected))
    answers = Counter[int]()
    with place.service(inner=0, outer=0) as running, ThreadPoolExecutor(number) as pool:
        barrier = threading.Barrier(number)

        def submit(_: int) -> str:
            with Client(running.address, timeout_s=60.0) as client:
                barrier.wait()
                while True:
                    try:
                        return client.submit(config, idempotency_key="one")
                    except ServiceError as error:  # beyond the rate limit
                        answers[error.status] += 1
                        time.sleep(1.0)

        ids = Counter(pool.map(submit, range(number)))
    with opened(place.url) as database, database.reading() as connection:
        counted = {
            table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in (tables.searches, tables.jobs, tables.events)
        }
    found.figures |= {"submits": ids.total(), "different_ids": len(ids), "rows": counted, "refused": dict(answers)}
    found.hold(len(ids) == 1, f"{len(ids)} ids were given")
    found.hold(set(counted.values()) == {1}, f"there is more than one search, job or event: {counted}")
    return found


CHECKS: dict[str, tuple[Callable[[Place], Findings], Sequence[str]]] = {
    "kills": (kills, DATABASES),
    "paused": (paused, DATABASES),
    "restarts": (restarts, ["postgresql"]),
    "disk": (disk, ["sqlite"]),
    "key": (key, DATABASES),
}
"""Each with the databases that it is for."""


# ---- What the checks look at and do


def at_work(running: Service, database: Database) -> tuple[str, psutil.Process, psutil.Process] | None:
    """A search, its worker and its process, where that has stored a trial since it began and has many more to store."""
    jobs, events, searches = tables.jobs.c, tables.events.c, tables.searches.c
    query = (
        select(jobs.lock_owner, jobs.search_id, searches.num_trials, searches.max_trials)
        .join_from(tables.jobs, tables.searches)
        .where(jobs.state == "running", jobs.num_claims == 1)
    )
    with database.reading() as connection:
        for owner, search_id, number, most in connection.execute(query).all():
            newest = select(events.kind).where(events.search_id == search_id).order_by(events.number.desc()).limit(2)
            if number > most - 15 or "trial" not in connection.execute(newest).scalars().all():
                continue
            for worker in running.workers():
                if worker_name(worker) == owner and (mine := jobs_of(worker)):
                    return search_id, worker, mine[0]
    return None


def holder_but(worker: psutil.Process, search_id: str, running: Service, database: Database) -> psutil.Process | None:
    """The worker that has claimed a search, if it is another one."""
    jobs = tables.jobs.c
    query = select(jobs.lock_owner).where(jobs.search_id == search_id, jobs.state == "running")
    with database.reading() as connection:
        owner = connection.execute(query).scalar_one_or_none()
    return next((one for one in running.workers() if one != worker and worker_name(one) == owner), None)


def is_locked(database: Database, search_id: str) -> bool:
    """Whether an open transaction keeps others from claiming a search."""
    if database.is_sqlite:
        raw = sqlite3.connect(str(database.engine.url.database), timeout=0.1, isolation_level=None)
        try:
            raw.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
        finally:
            raw.close()
        return False
    job = select(tables.jobs.c.id).where(tables.jobs.c.search_id == search_id)
    try:
        with database.transaction() as connection:
            connection.execute(job.with_for_update(nowait=True))
    except DatabaseError:
        return True
    return False


def has_ended(process: psutil.Process) -> bool:
    """Though its parent may not know of it."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def fill(path: Path) -> None:
    """Writes until there is no room left."""
    with path.open("wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            with suppress(OSError):
                while True:
                    file.write(b"\0" * size)


def answer_to_a_submit(running: Service, config: str, *, key: str) -> str:
    """What the API says to one."""
    with Client(running.address, timeout_s=60.0) as client:
        try:
            client.submit(config, idempotency_key=key)
        except ServiceError as error:
            return f"submit: {error.status}"
    return "submit: accepted"


def answer_to_a_look(running: Service) -> str:
    """What it says to somebody who asks for the searches."""
    with Client(running.address, timeout_s=60.0) as client:
        try:
            list(client.jobs())
        except ServiceError as error:
            return f"list: {error.status}"
    return "list: answered"


# ---- Where it runs


def config_of(trials: int, seed: int) -> str:
    """A search whose trials take a fifth of a second or so."""
    config = SEARCH
    for old, new in {"trials: 22": f"trials: {trials}", "seed: 3": f"seed: {seed}", "limit: 4": "limit: 16"}.items():
        assert old in config
        config = config.replace(old, new)
    return config


def alone(config: str) -> list[dict[str, Any]]:
    """The trials that a search finds by itself, in a folder."""
    with tempfile.TemporaryDirectory() as scratch:
        path, run = Path(scratch) / "config.yaml", Path(scratch) / "run"
        path.write_text(config, encoding="utf-8")
        commands: list[list[str | Path]] = [["search", path, "--out", run], ["trials", run, "--json"]]
        for command in commands:
            done = nas(*command)
            if done.returncode != 0:
                raise SystemExit(done.stderr)
    return without_duration(json.loads(done.stdout))


@contextmanager
def server_of(kind: str) -> Iterator[Server | None]:
    """PostgreSQL, where it is that."""
    if kind == "sqlite":
        yield None
        return
    binaries = find_binaries()
    if binaries is None:
        raise SystemExit("PostgreSQL must be installed for this, but neither initdb nor pg_ctl was found.")
    with running_server(binaries) as server:
        yield server


@contextmanager
def place(kind: str, server: Server | None, expected: Expected, options: Namespace) -> Iterator[Place]:
    """An empty database and a folder."""
    with tempfile.TemporaryDirectory(prefix="nas-faults-") as name:
        folder = Path(name)
        url = f"sqlite:///{folder / 'nas.db'}" if server is None else server.url(server.create())
        yield Place(kind=kind, url=migrated(url), folder=folder, server=server, expected=expected, options=options)


def migrated(url: str) -> str:
    """The URL of a database which has its tables now."""
    with opened(url) as database:
        upgrade(database)
    return url


def has_stored(database: Database, number: int) -> bool:
    """Whether there are so many trials."""
    return num_trials(database) >= number


def num_trials(database: Database) -> int:
    """Stored ones, of all searches."""
    with database.reading() as connection:
        return int(connection.execute(select(func.count()).select_from(tables.trials)).scalar_one())


def say(line: str) -> None:
    """Where it stands, apart from the record."""
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
