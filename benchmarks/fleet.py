"""What a fleet asks of one PostgreSQL server: 200 simulated workers against a real one, as ``docs/scale.md`` reckons.

Workers are threads of ``--processes`` processes, each with the two connections that a real one has (its own, and that
of the process its search runs in). They claim, renew, search, store trials, events and fronts by the service's own
code; only the evaluation of a trial is a pause (``simulated_searches.py``). In turn:

- ``idle``: all workers poll an empty queue.
- ``claims``: ``--jobs`` jobs wait, and every worker claims and ends them as fast as it can: contention at its worst.
- ``trials``: searches of ``--trials`` trials with evaluations of each of ``--evaluation-s``, longest first, for
  ``--seconds`` each: how many trials a second are stored, how long a statement of the search waits, and what is busy.
- ``backlog``: the time of a claim and of a poll as ``--ended`` finished jobs and ``--queued`` waiting ones pile up.

For each, with times in milliseconds as the worker sees them: processors kept busy by the server and by the workers,
what the server's processes were found waiting for (twice a second), commits, bytes of write-ahead log. A lease that is
lost, or an error of the database, is counted and makes the exit code 1. Bytes of a trial are those of all tables over
the trials in them, before and after ``VACUUM FULL``: between the two is space of replaced rows, which is used again.
"""

import json
import multiprocessing
import sys
import threading
import time
from argparse import Namespace
from collections import Counter
from contextlib import contextmanager
from multiprocessing.connection import Connection as Pipe
from typing import Any

import numpy as np
import psutil
import torch
from load import say
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
)
from sqlalchemy import text

from nas.service.database import Database
from nas.service.queue import JobState, Queue
from nas.service.searches import SEARCH, Searches
from search_spaces.base import sample
from search_spaces.shape import SupernetShape

TABLES = ("searches", "jobs", "trials", "begun_trials", "events")
SAMPLE_S = 0.5
CONNECTIONS_OF_A_WORKER = 2


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--workers", type=int, default=200)
    parser.add_argument("--processes", type=int, default=4, help="that the workers are threads of")
    parser.add_argument("--lease-s", type=float, default=30.0)
    parser.add_argument("--trials", type=int, default=32, help="of each search")
    parser.add_argument("--evaluation-s", type=float, nargs="+", default=[8.0, 4.0, 2.0])
    parser.add_argument("--seconds", type=float, default=60.0, help="of each rate of trials; a third for the others")
    parser.add_argument("--jobs", type=int, default=3000, help="to be claimed at once")
    parser.add_argument("--ended", type=int, nargs="+", default=[10_000, 300_000], help="finished jobs in the backlog")
    parser.add_argument("--queued", type=int, nargs="+", default=[0, 10_000], help="waiting jobs in the backlog")
    options = parser.parse_args()
    quiet_other_threads()
    connections = CONNECTIONS_OF_A_WORKER * options.workers + 20
    with database_place("postgresql", max_connections=connections) as place:
        result = Fleet(place, options).measure()
    publish({"benchmark": "fleet", "settings": place.settings, **result}, options, device=torch.device("cpu"))
    if result["errors"] or not any(stage["trials_per_s"] for stage in result["trials"]):
        sys.exit("Leases were lost, or no trial was stored; see errors in the record.")


class Fleet:
    """The workers and what is seen of the server they use.

    Args:
        place: The server.
        options: The command line's.
    """

    def __init__(self, place: Place, options: Namespace) -> None:
        self._place = place
        self._options = options
        self._database = Database(place.url)
        self._errors: list[str] = []

    def measure(self) -> dict[str, Any]:
        """All stages."""
        options = self._options
        result: dict[str, Any] = {"idle": self._stage("idle", seconds=options.seconds / 3)}
        self._fill_jobs(options.jobs, JobState.QUEUED)
        result["claims"] = self._stage("claims", seconds=options.seconds / 3, only_claims=True)
        self._forget_all()
        result["trials"] = self._trials()
        result["bytes"] = self._bytes()
        result["backlog"] = [self._backlog(ended, queued) for ended in options.ended for queued in options.queued]
        self._database.close()
        return {**result, "errors": Counter(self._errors)}

    def _trials(self) -> list[dict[str, Any]]:
        """Each rate in turn, with the same workers, which go on with the same searches."""
        options = self._options
        expected = sum(options.seconds * options.workers / evaluation_s for evaluation_s in options.evaluation_s)
        self._submit(options.workers + round(expected / options.trials) + 1, trials=options.trials)
        stages = []
        with self._workers(options.evaluation_s[0]) as fleet:
            for evaluation_s in options.evaluation_s:
                fleet.set_evaluation(evaluation_s)
                time.sleep(min(evaluation_s, options.seconds / 4))  # evaluations under way end as they began
                stages.append({"evaluation_s": evaluation_s, **self._watched("trials", options.seconds, fleet)})
        return stages

    def _stage(self, name: str, *, seconds: float, only_claims: bool = False) -> dict[str, Any]:
        with self._workers(1.0, only_claims=only_claims) as fleet:
            return self._watched(name, seconds, fleet)

    def _watched(self, name: str, seconds: float, fleet: "Workers") -> dict[str, Any]:
        """What workers and server do for some seconds."""
        fleet.collect()
        before, cpu_before, own_before = self._counters(), cpu_s(self._place.processes()), cpu_s(fleet.processes())
        start_s = time.monotonic()
        waits = self._sampled(seconds)
        took_s = time.monotonic() - start_s
        server = cpus_used(cpu_before, cpu_s(self._place.processes()), took_s)
        own = cpus_used(own_before, cpu_s(fleet.processes()), took_s)
        after = self._counters()
        log = fleet.collect()
        self._errors += log.errors
        spent = {what: [took for _, took in values] for what, values in sorted(log.seconds.items()) if values}
        per_s = {f"{what}_per_s": round((after[what] - before[what]) / took_s, 1) for what in before}
        claims = sorted(start_s for start_s, _ in log.seconds["claim"])
        result = {
            "seconds": round(took_s, 1),
            "claims_per_s": round((len(claims) - 1) / (claims[-1] - claims[0]), 1) if len(claims) > 1 else 0.0,
            "trials_per_s": round(len(log.stored) / took_s, 2),
            "actions_per_s": {what: round(len(values) / took_s, 2) for what, values in spent.items()},
            "actions": {what: distribution(values) for what, values in spent.items()},
            "server_cpus": round(server, 2),
            "workers_cpus": round(own, 2),
            "machine_busy_share": waits.pop("busy_share"),
            **per_s,
            **waits,
            "lost_leases_and_errors": len(log.errors),
        }
        shown = ("trials_per_s", "server_cpus", "workers_cpus", "commits_per_s", "lost_leases_and_errors")
        say(f"{name}: {json.dumps({key: result[key] for key in shown})}")
        return result

    def _sampled(self, seconds: float) -> dict[str, Any]:
        """What the server's processes were found at, and how busy the machine was."""
        found: Counter[str] = Counter()
        connections, samples = 0, 0
        end_s = time.monotonic() + seconds
        psutil.cpu_percent()
        query = text(
            "SELECT coalesce(wait_event_type || ':' || wait_event, 'CPU') AS doing, state, count(*) AS number "
            "FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() GROUP BY 1, 2"
        )
        while time.monotonic() < end_s:
            with self._database.reading() as connection:
                rows = connection.execute(query).all()
            found.update({row.doing: row.number for row in rows if row.state == "active"})
            found["waits for its worker"] += sum(row.number for row in rows if row.state == "idle in transaction")
            connections = max(connections, sum(row.number for row in rows))
            samples += 1
            time.sleep(SAMPLE_S)
        mean = {doing: round(number / samples, 2) for doing, number in found.most_common(8)}
        return {
            "busy_share": round(psutil.cpu_percent() / 100, 2),
            "connections": connections,
            "server_private_mb": self._server_memory(),
            "mean_connections_at": mean,
        }

    def _server_memory(self) -> float:
        """What each connection's process has for itself, on average."""
        private = []
        for process in self._place.processes()[1:]:
            try:
                private.append(process.memory_full_info().uss)
            except psutil.Error:
                continue
        return round(sum(private) / max(1, len(private)) / 1e6, 1)

    def _counters(self) -> dict[str, float]:
        query = text(
            "SELECT xact_commit AS commits, (SELECT wal_bytes FROM pg_stat_wal) AS wal_bytes, "
            "(SELECT wal_sync FROM pg_stat_wal) AS wal_syncs FROM pg_stat_database WHERE datname = current_database()"
        )
        with self._database.reading() as connection:
            row = connection.execute(query).one()
        return {name: float(value) for name, value in row._mapping.items()}

    def _submit(self, number: int, *, trials: int) -> None:
        """Searches into the queue."""
        searches = Searches(self._database, Queue(self._database))
        start_s = time.monotonic()
        for place in range(number):
            searches.submit(
                simulated_config(name=f"search {place}", trials=trials, seed=place), owner=f"t{place % 100}"
            )
        say(f"submitted {number} searches in {time.monotonic() - start_s:.1f} s")

    def _forget_all(self) -> None:
        with self._database.transaction() as connection:
            connection.execute(text("TRUNCATE searches CASCADE"))

    def _bytes(self) -> dict[str, Any]:
        """Rows and bytes, as they are and with all that was replaced swept away."""
        before = self._sizes()
        with self._database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM (FULL, ANALYZE)"))
        after = self._sizes()
        rows, trials = after["rows"], max(1, after["rows"]["trials"])
        each = {
            "trials": after["trials"] / trials,
            "events": after["events"] / max(1, rows["events"]),
            "searches": after["searches"] / max(1, rows["searches"]),
        }
        return {
            "rows": rows,
            "events_per_trial": round(rows["events"] / trials, 2),
            "table_bytes_as_left": {name: before[name] for name in TABLES},
            "table_bytes_compact": {name: after[name] for name in TABLES},
            "bytes_per_row_compact": {name: round(value) for name, value in each.items()},
            "bytes_per_trial_compact": round(sum(after[name] for name in TABLES) / trials),
            "bytes_per_trial_as_left": round(sum(before[name] for name in TABLES) / trials),
            "bytes_per_sub_network": {name: self._sub_network_bytes(shape) for name, shape in shapes().items()},
        }

    def _sub_network_bytes(self, shape: SupernetShape) -> dict[str, int]:
        """What a trial's sub-network takes as text, and as PostgreSQL keeps it."""
        texts = []
        for seed in range(20):
            config = simulated_config(name="", trials=1, seed=seed)
            space = prepared(config, shape, Clock()).space
            drawn = space.sub_network(sample(space, np.random.default_rng(seed)))
            texts.append(json.dumps(drawn.to_json()))
        with self._database.transaction() as connection:
            connection.execute(text("CREATE TEMPORARY TABLE kept (described json) ON COMMIT DROP"))
            connection.execute(text("INSERT INTO kept VALUES (:one)"), [{"one": one} for one in texts])
            mean = connection.execute(text("SELECT avg(pg_column_size(described)) FROM kept")).scalar_one()
        return {"text": round(sum(map(len, texts)) / len(texts)), "stored": round(mean)}

    def _sizes(self) -> dict[str, Any]:
        with self._database.reading() as connection:
            sizes = {
                name: int(connection.execute(text(f"SELECT pg_total_relation_size('{name}')")).scalar_one())
                for name in TABLES
            }
            rows = {name: int(connection.execute(text(f"SELECT count(*) FROM {name}")).scalar_one()) for name in TABLES}
        return {**sizes, "rows": rows}

    def _backlog(self, ended: int, queued: int) -> dict[str, Any]:
        """Claims and polls of one worker where many jobs are."""
        self._forget_all()
        self._fill_jobs(ended, JobState.COMPLETE)
        self._fill_jobs(queued, JobState.QUEUED)
        with self._database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE"))
        queue = Queue(self._database)
        took = []
        for _ in range(100):
            start_s = time.monotonic()
            queue.claim("bench", [SEARCH])
            took.append(time.monotonic() - start_s)
        result = {"ended": ended, "queued": queued, "claim" if queued else "poll": distribution(took)}
        result["list"] = distribution([self._list_s() for _ in range(30)])
        result["list_running"] = distribution([self._list_s(JobState.RUNNING) for _ in range(30)])
        say(f"backlog: {json.dumps(result)}")
        return result

    def _list_s(self, *states: JobState) -> float:
        start_s = time.monotonic()
        Searches(self._database, Queue(self._database)).page(states=states)
        return time.monotonic() - start_s

    def _fill_jobs(self, number: int, state: JobState) -> None:
        """Searches with a job each, made by the server from nothing."""
        config = json.dumps(simulated_config(name="backlog", trials=64, seed=0).model_dump(mode="json"))
        values = {"number": number, "config": config, "state": str(state)}
        statements = (
            "INSERT INTO searches (id, owner, name, config, max_trials, num_trials, num_events, created_at, "
            "request_sha256) SELECT md5(:state || n), 't' || n % 100, 'backlog', CAST(:config AS json), 64, 64, 0, "
            "1795000000 + n, repeat('0', 64) FROM generate_series(1, :number) AS n",
            "INSERT INTO jobs (id, search_id, kind, payload, state, reason, num_claims, cancel_requested, created_at) "
            "SELECT md5('job' || :state || n), md5(:state || n), 'search', '{}', :state, '', 1, false, "
            "1795000000 + n FROM generate_series(1, :number) AS n",
        )
        with self._database.transaction() as connection:
            for statement in statements:
                connection.execute(text(statement), values)

    @contextmanager
    def _workers(self, evaluation_s: float, *, only_claims: bool = False) -> Any:
        self._database.close()  # before this process forks
        fleet = Workers(self._place.url, self._options, evaluation_s, only_claims=only_claims)
        try:
            yield fleet
        finally:
            self._errors += fleet.end().errors


def shapes() -> dict[str, SupernetShape]:
    """Of supernets small and large."""
    large = SupernetShape(
        num_layers=32, num_heads=32, num_kv_groups=8, num_neurons=14_336, head_dim=128, hidden_size=4096
    )
    return {"bundled": bundled_shape(), "8 billion parameters": large}


class Workers:
    """The processes of the workers.

    Args:
        url: The database's.
        options: The command line's.
        evaluation_s: What a trial takes, at first.
        only_claims: Whether they end what they claim at once.
    """

    def __init__(self, url: str, options: Namespace, evaluation_s: float, *, only_claims: bool) -> None:
        fork = multiprocessing.get_context("fork")  # this process has no threads, and imports take seconds
        self._evaluation_s = fork.Value("d", evaluation_s)
        self._children = []
        for place in range(options.processes):
            here, there = fork.Pipe()
            number = len(range(place, options.workers, options.processes))
            arguments = (there, url, number, options.lease_s, self._evaluation_s, only_claims)
            process = fork.Process(target=work, args=arguments)
            process.start()
            self._children.append((process, here))
        for _, here in self._children:
            assert here.recv() == "ready"

    def processes(self) -> list[psutil.Process]:
        """Of the system."""
        return [psutil.Process(process.pid) for process, _ in self._children]

    def set_evaluation(self, seconds: float) -> None:
        """From the next trial on."""
        self._evaluation_s.value = seconds

    def collect(self) -> Log:
        """What was noted since the last time."""
        return self._told("collect")

    def end(self) -> Log:
        """Stops all of them."""
        log = self._told("end")
        for process, _ in self._children:
            process.join()
        return log

    def _told(self, word: str) -> Log:
        log = Log()
        for _, here in self._children:
            here.send(word)
        for _, here in self._children:
            seconds, stored, errors = here.recv()
            for what, values in seconds.items():
                log.seconds[what] += values
            log.stored += stored
            log.errors += errors
        return log


def work(pipe: Pipe, url: str, number: int, lease_s: float, evaluation_s: Any, only_claims: bool) -> None:
    """A process with workers, until it is told to end."""
    log, until, shape = Log(), threading.Event(), bundled_shape()
    environment(simulated_config(name="", trials=1, seed=0), shape)  # before there are threads, which would all ask

    def evaluation() -> float:
        return float(evaluation_s.value)

    def start(place: int) -> threading.Thread:
        worker = SimulatedWorker(
            url, f"w{place}", lease_s=lease_s, evaluation_s=evaluation, log=log, until=until, shape=shape
        )
        target = worker.run_without_work if only_claims else worker.run
        thread = threading.Thread(target=target)
        thread.start()
        return thread

    threads = [start(place) for place in range(number)]
    pipe.send("ready")
    while True:
        word = pipe.recv()
        if word == "end":
            until.set()
            for thread in threads:
                thread.join()
        seconds, stored, errors = dict(log.seconds), log.stored[:], log.errors[:]
        pipe.send(({what: values[:] for what, values in seconds.items()}, stored, errors))
        for what, values in seconds.items():
            del log.seconds[what][: len(values)]
        del log.stored[: len(stored)], log.errors[: len(errors)]
        if word == "end":
            return


if __name__ == "__main__":
    main()
