"""Whether the service stays quick with a thousand searches, a hundred thousand trials and two hundred watchers.

For each database: a fresh one is filled (``--searches`` queued searches with ``--trials`` trials in all, some of them
written by the service's own search, queue and store, the others copies of those rows), and ``nas serve --workers 0`` is
started on it as a process of its own. Then, in turn:

- ``alone``: requests without watchers and without writes.
- ``one_search``: ``--clients`` streams on one search, which gets ``--events-per-s`` trials a second; no requests.
- ``loaded``: ``--clients`` streams over ``--watched`` searches, which get ``--events-per-s`` trials a second in all,
  and requests at ``--requests-per-s`` meanwhile. The figures that are asked for are these.
- ``saturated``: requests of one kind as fast as ``--requesters`` can make them, without watchers or writes, and the
  API's processor time for each.

A request's time is from sending it to the last byte of its answer, over a connection that is kept open. An event's time
is from the moment at which a worker begins to store the trial (``LeaseStore.add``) to its arrival at each watcher.
Memory is the API process' resident set, read every second; its slope is that of a least-squares line through the second
half of a phase.

Requests, watchers, simulated workers and the API are four processes on one machine, and with PostgreSQL there is its
server: where there are fewer processors than that, they take time from one another, and the figures are worse than
those of clients elsewhere. Requests are made with plain sockets and asyncio, at little cost to the processor.
"""

import asyncio
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import threading
import time
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from record import argument_parser, publish
from simulated_searches import (
    Clock,
    Log,
    Place,
    SimulatedWorker,
    bundled_shape,
    cpu_s,
    cpus_used,
    database_place,
    distribution,
    environment,
    prepared,
    quiet_other_threads,
    simulated_config,
    unheard,
)
from sqlalchemy import Connection, Table, func, insert, literal, select, update

from nas.config import SearchConfig
from nas.search import Search
from nas.service import tables
from nas.service.database import Database
from nas.service.lease_store import LeaseStore
from nas.service.queue import Lease, Queue
from nas.service.searches import SEARCH, Searches
from nas.service.tokens import Tokens

OWNER = "bench"
TEMPLATES = 5
"""Searches that are written one trial at a time; the others are copies of their rows."""
TARGET_MS, TARGET_EVENT_S = 50.0, 1.0
ASKED = ("list", "get", "front")


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--databases", nargs="+", choices=("sqlite", "postgresql"), default=["sqlite", "postgresql"])
    parser.add_argument("--searches", type=int, default=1000, help="queued ones")
    parser.add_argument("--trials", type=int, default=100_000, help="of all of them")
    parser.add_argument("--clients", type=int, default=200, help="watching by server-sent events")
    parser.add_argument("--watched", type=int, default=20, help="searches that run and are watched")
    parser.add_argument("--requesters", type=int, default=4, help="clients that make requests")
    parser.add_argument("--requests-per-s", type=float, default=20.0, help="of all requesters together")
    parser.add_argument("--events-per-s", type=float, default=4.0, help="trials stored, over all watched searches")
    parser.add_argument("--seconds", type=float, default=180.0, help="of the loaded phase; a quarter for one_search")
    parser.add_argument("--saturate-s", type=float, default=5.0, help="for each kind of request")
    options = parser.parse_args()
    quiet_other_threads()
    results = {kind: measure(kind, options) for kind in options.databases}
    publish({"benchmark": "load", "databases": results}, options, device=torch.device("cpu"))
    if not all(was_measured(result) for result in results.values()):
        sys.exit("Nothing was measured: no answer, or no event, came back in some phase.")


def was_measured(result: Mapping[str, Any]) -> bool:
    """Whether every request that is asked for was answered, and events arrived."""
    asked = result["loaded"]["requests"]
    return all(kind in asked for kind in ASKED) and bool(result["loaded"]["delivery"].get("n"))


def measure(kind: str, options: Namespace) -> dict[str, Any]:
    """All phases on one kind of database."""
    with database_place(kind) as place:
        database = Database(place.url)
        say(f"{kind}: filling")
        start_s = time.monotonic()
        watched, queued = fill(database, options)
        seeded = counted(database) | {"took_s": round(time.monotonic() - start_s, 1)}
        token = Tokens(database).create(OWNER, ["submit"], None)
        database.close()
        with api_process(place) as api:
            service = Service(place=place, api=api, token=token, watched=watched, queued=queued, options=options)
            result: dict[str, Any] = {"settings": place.settings, "seeded": seeded}
            result["alone"] = service.phase("alone", seconds=options.seconds / 4, requests=True)
            result["one_search"] = service.phase(
                "one_search", seconds=options.seconds / 4, streams=watched[:1], workers=1
            )
            result["loaded"] = service.phase(
                "loaded", seconds=options.seconds, streams=watched, workers=len(watched), requests=True
            )
            result["saturated"] = service.saturated()
    result["targets"] = targets(result["loaded"], result["one_search"])
    say(json.dumps(result["targets"]))
    return result


def targets(loaded: Mapping[str, Any], one_search: Mapping[str, Any]) -> dict[str, Any]:
    """What was asked for, and whether it was reached."""
    p95 = {kind: loaded["requests"][kind]["p95_ms"] for kind in ASKED if kind in loaded["requests"]}
    late = {name: phase["delivery"].get("max_ms") for name, phase in (("loaded", loaded), ("one_search", one_search))}
    return {
        "p95_ms": p95,
        "p95_below_50_ms": bool(p95) and all(value < TARGET_MS for value in p95.values()),
        "latest_event_ms": late,
        "events_within_1_s": all(value is not None and value < 1e3 * TARGET_EVENT_S for value in late.values()),
        "memory": loaded["memory"],
    }


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


# ---- What there is in the database


def fill(database: Database, options: Namespace) -> tuple[list[str], list[str]]:
    """Searches with their trials, events and fronts.

    Returns:
        The ids of those that workers will take up, which are the oldest, and of those that stay queued.
    """
    queue = Queue(database, lease_s=3600)
    searches = Searches(database, queue)
    num_trials = max(2, options.trials // options.searches)
    written = []
    for number in range(min(TEMPLATES, options.searches)):
        config = simulated_config(name=f"template {number}", trials=num_trials, seed=number)
        search_id = searches.submit(config, owner=OWNER)
        lease = queue.claim("bench", [SEARCH])
        assert lease is not None
        write_search(database, queue, lease)
        written.append(search_id)
    ids = []
    for number in range(options.watched + options.searches - len(written)):
        config = simulated_config(name=f"search {number}", trials=1_000_000, seed=number % len(written))
        search_id = searches.submit(config, owner=OWNER)
        with database.transaction() as connection:
            copy_rows(connection, written[number % len(written)], search_id)
        ids.append(search_id)
    return ids[: options.watched], ids[options.watched :] + written


def write_search(database: Database, queue: Queue, lease: Lease) -> None:
    """A whole search as a worker writes it, and back into the queue."""
    shape = bundled_shape()
    config = SearchConfig.model_validate(Searches(database, queue).get(lease.search_id).config)
    store = LeaseStore(database, queue, lease)
    store.write_environment({**environment(config, shape), "search_id": lease.search_id})
    Search(config, prepared(config, shape, Clock()), store).run(unheard)
    queue.release(lease)
    with database.transaction() as connection:  # behind the watched ones, which are submitted later
        jobs = tables.jobs
        connection.execute(update(jobs).where(jobs.c.id == lease.job_id).values(created_at=jobs.c.created_at + 3600))


def copy_rows(connection: Connection, source: str, target: str) -> None:
    """Trials, events and front of one search for another one that has none."""
    for table in (tables.trials, tables.events):
        copy_table(connection, table, source, target)
    searches = tables.searches.c
    taken = ("num_trials", "num_events", "hypervolume", "front", "environment")
    row = connection.execute(select(*(searches[name] for name in taken)).where(searches.id == source)).one()._mapping
    front = {**row["front"], "search": {**row["front"]["search"], "id": target}}
    connection.execute(update(tables.searches).where(searches.id == target).values({**row, "front": front}))


def copy_table(connection: Connection, table: Table, source: str, target: str) -> None:
    others = [column for column in table.c if column.name != "search_id"]
    rows = select(literal(target), *others).where(table.c.search_id == source)
    if table is tables.events:
        rows = rows.where(table.c.number > 1)  # the target was queued, too
    connection.execute(insert(table).from_select(["search_id", *(column.name for column in others)], rows))


def counted(database: Database) -> dict[str, Any]:
    """Rows by table, and bytes by table where the database tells."""
    with database.reading() as connection:
        rows = {
            table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in (tables.searches, tables.trials, tables.events)
        }
        if database.is_sqlite:
            pages, size = (
                connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in ("page_count", "page_size")
            )
            return {"rows": rows, "database_bytes": pages * size}
        sizes = {name: connection.execute(select(func.pg_total_relation_size(name))).scalar_one() for name in rows}
        return {"rows": rows, "database_bytes": sum(sizes.values()), "table_bytes": sizes}


# ---- The service and those who use it


@contextmanager
def api_process(place: Place) -> Iterator["Api"]:
    """``nas serve`` on a free port, its rate limit lifted."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    command = [sys.executable, "-m", "nas.cli", "serve", "--workers", "0", "--port", str(port), "--database", place.url]
    limits = ["--rate", "100000", "--burst", "100000", "--data", str(place.folder)]
    with (place.folder / "api.log").open("wb") as log:
        process = subprocess.Popen([*command, *limits], stdout=log, stderr=subprocess.STDOUT)
    try:
        wait_for(port, process, place.folder / "api.log")
        yield Api(port=port, process=psutil.Process(process.pid))
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    give_up_s = time.monotonic() + 60
    while time.monotonic() < give_up_s and process.poll() is None:
        with socket.socket() as tried:
            if tried.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    sys.exit(f"The service did not start: {log.read_text()[-2000:]}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """A running API process."""

    port: int
    process: psutil.Process


class HttpConnection:
    """One kept-open connection to the API."""

    def __init__(self, port: int, token: str) -> None:
        self._port = port
        self._head = f"Host: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n\r\n"
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def send(self, path: str) -> tuple[int, dict[str, str]]:
        """Sends a GET; returns the status and headers of the answer, whose body is still to be read."""
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port, limit=2**20)
        assert self._reader is not None
        self._writer.write(f"GET {path} HTTP/1.1\r\n{self._head}".encode())
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
        status, *lines = head.split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines if line)
        return int(status.split(" ")[1]), headers

    async def get(self, path: str) -> tuple[int, bytes]:
        """Status and body."""
        status, headers = await self.send(path)
        assert self._reader is not None
        if "content-length" in headers:
            return status, await self._reader.readexactly(int(headers["content-length"]))
        return status, b"".join([chunk async for chunk in self.chunks()])

    async def chunks(self) -> Any:
        """The parts of an answer that comes in parts."""
        assert self._reader is not None
        while size := int(await self._reader.readline(), 16):
            yield (await self._reader.readexactly(size + 2))[:-2]
        await self._reader.readline()

    def close(self) -> None:
        """Ends it."""
        if self._writer is not None:
            self._writer.close()


@dataclass(slots=True)
class Answers:
    """What requests came to."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    num_bytes: dict[str, list[int]] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)

    def add(self, kind: str, status: int, seconds: float, num_bytes: int) -> None:
        """Counts one; an answer other than 200 is an error."""
        if status == 200:
            self.seconds.setdefault(kind, []).append(seconds)
            self.num_bytes.setdefault(kind, []).append(num_bytes)
        else:
            self.errors[f"{kind} {status}"] = self.errors.get(f"{kind} {status}", 0) + 1

    def to_json(self) -> dict[str, Any]:
        """By kind."""
        found: dict[str, Any] = {
            kind: {**distribution(values), "mean_bytes": round(float(np.mean(self.num_bytes[kind])))}
            for kind, values in sorted(self.seconds.items())
        }
        return found | ({"errors": self.errors} if self.errors else {})


KINDS: dict[str, str] = {
    "list": "/v1/searches",
    "list_running": "/v1/searches?state=running",
    "get": "/v1/searches/{id}",
    "front": "/v1/searches/{id}/front",
    "front_with_budget": "/v1/searches/{id}/front?max=latency%3D0.5x",
    "pick": "/v1/searches/{id}/pick?max=latency%3D0.7x",
    "trials": "/v1/searches/{id}/trials",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """The running service, as the phases use it."""

    place: Place
    api: Api
    token: str
    watched: list[str]
    queued: list[str]
    options: Namespace

    def phase(
        self, name: str, *, seconds: float, streams: Sequence[str] = (), workers: int = 0, requests: bool = False
    ) -> dict[str, Any]:
        """Watchers, workers and requests for some seconds, and what was seen of them."""
        say(f"{name}: {seconds:.0f} s, load {os.getloadavg()[0]:.2f}")
        with self._busy(streams, workers) as busy:
            before, start_s = self._cpu(), time.monotonic()
            answers, resident = asyncio.run(self._load(seconds, requests=requests))
            took_s = time.monotonic() - start_s
            used = {who: round(cpus_used(before[who], now, took_s), 2) for who, now in self._cpu().items()}
        result: dict[str, Any] = {"seconds": round(took_s, 1), "cpus_used": used, "load_average": os.getloadavg()[0]}
        result["memory"] = memory(resident)
        if requests:
            result["requests"] = answers.to_json()
        if streams:
            result["delivery"] = busy.delivery(start_s, start_s + seconds)
        say(json.dumps({key: value for key, value in result.items() if key != "memory"}))
        return result

    def saturated(self) -> dict[str, Any]:
        """How many requests of one kind a second the API answers, and how quickly then."""
        found: dict[str, Any] = {}
        with self._busy([], 0):
            for kind in KINDS:
                answers = Answers()
                before, start_s = self._cpu(), time.monotonic()
                asyncio.run(self._hammer(kind, answers, start_s + self.options.saturate_s))
                took_s = time.monotonic() - start_s
                used = cpus_used(before["api"], self._cpu()["api"], took_s)
                if values := answers.seconds.get(kind, []):
                    cost = {
                        "per_s": len(values) / took_s,
                        "api_cpus_used": used,
                        "api_cpu_ms": 1e3 * used * took_s / len(values),
                    }
                    found[kind] = {name: round(value, 2) for name, value in cost.items()} | distribution(values)
        say(json.dumps(found))
        return found

    def _cpu(self) -> dict[str, dict[int, float]]:
        return {
            "api": cpu_s([self.api.process]),
            "database": cpu_s(self.place.processes()),
            "requests": cpu_s([psutil.Process()]),
            "whole_machine": {0: busy_s()},
        }

    @contextmanager
    def _busy(self, streams: Sequence[str], workers: int) -> Iterator["Busy"]:
        """Watchers and workers in processes of their own."""
        busy = Busy()
        fork = multiprocessing.get_context("fork")  # this process has no threads, and imports take seconds
        children = []
        if streams:
            watching = [streams[number % len(streams)] for number in range(self.options.clients)]
            children.append((watch, (self.api.port, self.token, watching), busy.arrived.extend))
        if workers:
            children.append((work, (self.place.url, workers, self.options.events_per_s), busy.stored.extend))
        running = []
        for target, arguments, take in children:
            here, there = fork.Pipe()
            process = fork.Process(target=target, args=(there, *arguments))
            process.start()
            assert here.recv() == "ready"
            running.append((process, here, take))
        try:
            yield busy
        finally:
            for _process, here, _take in running[::-1]:  # workers end first, so that the last events arrive
                here.send("end")
            for process, here, take in running:
                take(here.recv())
                process.join()

    async def _load(self, seconds: float, *, requests: bool) -> tuple[Answers, list[float]]:
        answers, resident = Answers(), []
        end_s = time.monotonic() + seconds
        requesters = range(self.options.requesters if requests else 0)
        tasks = [asyncio.create_task(self._requester(number, answers, end_s)) for number in requesters]
        while time.monotonic() < end_s:
            resident.append(float(self.api.process.memory_info().rss))
            await asyncio.sleep(1)
        await asyncio.gather(*tasks)
        return answers, resident

    async def _requester(self, number: int, answers: Answers, end_s: float) -> None:
        """One client that thinks for a while after each answer, as long as the rate asks for."""
        rng = np.random.default_rng([self.options.seed, number])
        connection = HttpConnection(self.api.port, self.token)
        mean_s = self.options.requesters / self.options.requests_per_s
        due_s = time.monotonic()
        while (due_s := max(time.monotonic(), due_s + float(rng.exponential(mean_s)))) < end_s:
            await asyncio.sleep(due_s - time.monotonic())
            await self._ask(connection, list(KINDS)[int(rng.integers(len(KINDS)))], rng, answers)
        connection.close()

    async def _hammer(self, kind: str, answers: Answers, end_s: float) -> None:
        async def one(number: int) -> None:
            rng = np.random.default_rng([self.options.seed, number])
            connection = HttpConnection(self.api.port, self.token)
            while time.monotonic() < end_s:
                await self._ask(connection, kind, rng, answers)
            connection.close()

        await asyncio.gather(*(one(number) for number in range(self.options.requesters)))

    async def _ask(self, connection: HttpConnection, kind: str, rng: np.random.Generator, answers: Answers) -> None:
        path = KINDS[kind].format(id=self.queued[int(rng.integers(len(self.queued)))])
        start_s = time.monotonic()
        status, body = await connection.get(path)
        answers.add(kind, status, time.monotonic() - start_s, len(body))


def busy_s() -> float:
    """Seconds of processor time that all of this machine has used so far, on whatever."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq)


def memory(resident: list[float]) -> dict[str, float]:
    """Of the API process over a phase: where it began, stood in the middle and ended; how fast it grew after that."""
    late = np.asarray(resident[len(resident) // 2 :])
    slope = float(np.polyfit(np.arange(len(late)), late, 1)[0]) if len(late) > 2 else float("nan")
    megabytes = {"first_mb": resident[0], "middle_mb": late[0], "last_mb": resident[-1], "max_mb": max(resident)}
    found = {name: round(value / 1e6, 1) for name, value in megabytes.items()}
    return found | {"slope_mb_a_minute": round(60 * slope / 1e6, 3), "readings": len(resident)}


@dataclass(slots=True)
class Busy:
    """What watchers and workers noted."""

    arrived: list[tuple[str, int, float]] = field(default_factory=list)
    stored: list[tuple[str, int, float, float]] = field(default_factory=list)

    def delivery(self, start_s: float, end_s: float) -> dict[str, Any]:
        """From the beginning of a trial's storing to its arrival, for trials stored between these moments."""
        began = {(search, number): start for search, number, start, _ in self.stored if start_s <= start < end_s}
        late = [at - began[search, number] for search, number, at in self.arrived if (search, number) in began]
        stored = [done - start for _, _, start, done in self.stored if start_s <= start < end_s]
        if not late:
            return {}
        return {**distribution(late), "trials": len(began), "of_which_storing": distribution(stored)}


def watch(pipe: Pipe, port: int, token: str, search_ids: list[str]) -> None:
    """A process with a stream for each of the searches; tells of every trial that arrives."""
    arrived: list[tuple[str, int, float]] = []

    async def stream(search_id: str, started: asyncio.Semaphore) -> None:
        connection = HttpConnection(port, token)
        _, body = await connection.get(f"/v1/searches/{search_id}")
        newest = json.loads(body)["num_events"]
        status, _ = await connection.send(f"/v1/searches/{search_id}/events?after={newest}")
        assert status == 200, status
        started.release()
        rest = b""
        async for chunk in connection.chunks():
            now_s = time.monotonic()
            *whole, rest = (rest + chunk).split(b"\n\n")
            for text in whole:
                fields = dict(line.split(b": ", 1) for line in text.split(b"\n") if b": " in line)
                if fields.get(b"event") == b"trial":
                    arrived.append((search_id, json.loads(fields[b"data"])["number"], now_s))

    async def all_of_them() -> None:
        started = asyncio.Semaphore(0)
        tasks = []
        for search_id in search_ids:
            tasks.append(asyncio.create_task(stream(search_id, started)))
            await started.acquire()
        pipe.send("ready")
        await asyncio.to_thread(pipe.recv)
        await asyncio.sleep(2)  # for what is still on its way
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(all_of_them())
    pipe.send(arrived)


def work(pipe: Pipe, url: str, number: int, trials_per_s: float) -> None:
    """A process with simulated workers, which take up the oldest searches and store trials at a rate."""
    quiet_other_threads()
    log, until = Log(), threading.Event()
    shape = bundled_shape()
    workers = [
        SimulatedWorker(
            url,
            f"bench-{place}",
            lease_s=30,
            evaluation_s=lambda: number / trials_per_s,
            log=log,
            until=until,
            shape=shape,
        )
        for place in range(number)
    ]
    threads = [threading.Thread(target=worker.run) for worker in workers]
    for thread in threads:
        thread.start()
        time.sleep(1 / trials_per_s)  # so that they do not store in step
    pipe.send("ready")
    pipe.recv()
    until.set()
    for thread in threads:
        thread.join()
    if log.errors:
        say(f"workers: {len(log.errors)} errors, the first {log.errors[0]}")
    pipe.send(log.stored)


if __name__ == "__main__":
    main()
