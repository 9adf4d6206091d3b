"""Searches without a model, for ``load.py`` and ``fleet.py``: only the evaluations are made up.

The search, its strategy, the queue, the lease's store, the heartbeats and the databases are the service's own, so that
rows, bytes and statements are those of a real fleet. A trial takes as long as it is told to, and its measurements have
the form and the number of those of ``configs/quickstart.yaml`` on the bundled model.
"""

import os
import random
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import psutil
import torch

from evaluators.base import RATIO_SUFFIX, SUPERNET_SUFFIX, Direction, Measurement, Subject
from nas.config import SearchConfig, parse_config
from nas.new_run import describe_run
from nas.preparation import Prepared
from nas.search import Search
from nas.seeds import Seed
from nas.service.database import Database, DatabaseError
from nas.service.lease_store import LeaseStore
from nas.service.queue import JobState, Lease, LeaseLostError, Queue
from nas.service.schema import upgrade
from nas.service.searches import SEARCH, Searches
from nas.service.worker import IDLE_S, POLL_S, RENEWALS
from nas.supernet.loading import load_config
from nas.supernet.shape import shape_of
from nas.supernet.supernet import Supernet
from nas.trial import Trial
from search_spaces import make_space
from search_spaces.base import UnitRanking, largest, smallest
from search_spaces.shape import SupernetShape
from search_spaces.sub_network import SubNetwork

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))  # a script's own folder is on the path, the repository's tests are not

from tests.nas.service.databases import Server, find_binaries  # noqa: E402

CONFIG = (ROOT / "configs" / "quickstart.yaml").read_text(encoding="utf-8")
PHENOMENA = (
    *("anaphor_agreement", "countability", "determiner_noun_agreement", "irregular_noun_agreement"),
    *("irregular_verb_form", "negative_polarity", "passive", "question_order", "relative_pronoun"),
    *("subject_verb_agreement", "verb_preposition"),
)
"""The bundled tasks, each of which a trial has a measurement of."""


class StoppedError(BaseException):
    """The simulated process is killed. No ``Exception``, which would fail the trial in hand."""


class Clock:
    """Lets evaluations take their time, until they are to stop."""

    def __init__(self, evaluation_s: float = 0.0) -> None:
        self.evaluation_s = evaluation_s
        self.stopped = threading.Event()

    def pass_time(self, share: float) -> None:
        """A share of a trial's evaluation, which takes half as long or half as long again: none keep in step."""
        if self.stopped.is_set() or self.stopped.wait(share * self.evaluation_s * random.uniform(0.5, 1.5)):
            raise StoppedError


@dataclass(frozen=True, slots=True)
class Kept:
    """Stands for a model with a sub-network active."""

    sub_network: SubNetwork

    @property
    def share(self) -> float:
        """Of the neurons and heads."""
        return float(np.mean([self.sub_network.neurons_LN.mean(), self.sub_network.heads_LH.mean()]))


class StandIn:
    """What a search asks of a supernet."""

    def __init__(self, shape: SupernetShape) -> None:
        self.shape = shape
        self.tokenizer = None
        self.weights_bytes = 0
        self.device = torch.device("cpu")

    @contextmanager
    def activate(self, sub_network: SubNetwork, weights: object = None) -> Iterator[Kept]:
        """Costs nothing."""
        del weights
        yield Kept(sub_network)

    def extract(self, sub_network: SubNetwork, weights: object = None) -> Kept:
        """The same."""
        del weights
        return Kept(sub_network)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Accuracy that falls with what is removed, for every task and over all."""

    clock: Clock
    rng: np.random.Generator
    name: str = "minimal_pairs"
    unit: str = "accuracy"
    direction: Direction = "maximize"
    varies: bool = False

    def evaluate(self, subject: Subject) -> dict[str, Measurement]:
        """As ``Evaluator`` says."""
        self.clock.pass_time(0.7)
        expected = 0.5 + 0.39 * cast(Kept, subject.model).share ** 0.5
        scores = np.clip(expected + 0.05 * self.rng.standard_normal(len(PHENOMENA)), 0, 1)
        found = {
            f"lm_eval/minimal_pairs_{name}/acc": _accuracy(float(score), 120)
            for name, score in zip(PHENOMENA, scores, strict=True)
        }
        overall = _accuracy(float(scores.mean()), 1320)
        return {self.name: overall, **found, "lm_eval/minimal_pairs/acc": overall}


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """A latency relative to the supernet's, measured with noise."""

    clock: Clock
    rng: np.random.Generator
    name: str = "decode_latency"
    unit: str = "s"
    direction: Direction = "minimize"
    varies: bool = True

    def evaluate(self, subject: Subject) -> dict[str, Measurement]:
        """As ``Evaluator`` says."""
        self.clock.pass_time(0.3)
        supernet = self._noisy(0.0046, unit="s")
        if subject.reference is None:
            return {self.name: supernet}
        ratio = self._noisy(0.15 + 0.85 * cast(Kept, subject.model).share, unit="ratio")
        recorded = subject.reference_measurements[self.name].value
        return {
            self.name: ratio.scaled(recorded, unit="s"),
            self.name + RATIO_SUFFIX: ratio,
            self.name + SUPERNET_SUFFIX: supernet,
        }

    def _noisy(self, expected: float, *, unit: str) -> Measurement:
        value = expected * float(1 + 0.03 * self.rng.standard_normal())
        return Measurement(value=value, unit=unit, ci95=(0.97 * value, 1.03 * value), n=18, p90=1.05 * value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """A count."""

    name: str = "parameters"
    unit: str = "parameters"
    direction: Direction = "minimize"
    varies: bool = False

    def evaluate(self, subject: Subject) -> dict[str, Measurement]:
        """As ``Evaluator`` says."""
        return {self.name: Measurement(value=round(7_344_384 * cast(Kept, subject.model).share), unit=self.unit)}


def _accuracy(value: float, n: int) -> Measurement:
    half = 1.96 * (value * (1 - value) / n) ** 0.5
    return Measurement(value=value, unit="accuracy", ci95=(value - half, value + half), n=n)


def bundled_shape() -> SupernetShape:
    """Of the bundled model, whose weights are not loaded."""
    return shape_of(load_config("bundled", revision=None, trust_remote_code=False))


def simulated_config(*, name: str, trials: int, seed: int) -> SearchConfig:
    """The quickstart's, with a strategy that costs nothing and without seeds, which need the model."""
    config = parse_config(CONFIG)
    strategy = config.strategy.model_copy(update={"type": "random", "seeds": ()})
    return config.model_copy(update={"name": name, "trials": trials, "seed": seed, "strategy": strategy})


def prepared(config: SearchConfig, shape: SupernetShape, clock: Clock) -> Prepared:
    """What ``nas.preparation.prepare`` gives, without loading anything."""
    rng = np.random.default_rng(config.seed)
    ranking = _drawn_ranking(shape, rng)
    space = make_space(config.space.type, shape, ranking, **config.space.options)
    ends = ((largest(space), "supernet"), (smallest(space), "smallest"))
    return Prepared(
        supernet=cast(Supernet, StandIn(shape)),
        space=space,
        seeds=tuple(Seed(candidate=end, sub_network=space.sub_network(end), source=source) for end, source in ends),
        objectives=(Scores(clock=clock, rng=rng), Latency(clock=clock, rng=rng)),
        also=(Parameters(),),
    )


def _drawn_ranking(shape: SupernetShape, rng: np.random.Generator) -> UnitRanking:
    """Any order of the units: masks with scattered bits, as those of a trained model have."""
    numbered = UnitRanking.as_numbered(shape)
    return UnitRanking(
        kv_groups_LK=rng.permuted(numbered.kv_groups_LK, axis=1),
        heads_LKG=numbered.heads_LKG,
        neurons_LN=rng.permuted(numbered.neurons_LN, axis=1),
        attention_L=numbered.attention_L,
        mlp_L=numbered.mlp_L,
    )


@dataclass(slots=True)
class Log:
    """What was done, when it began and how long it took, from any number of threads."""

    seconds: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    stored: list[tuple[str, int, float, float]] = field(default_factory=list)
    """Search, trial's number, and when its storing began and ended."""
    errors: list[str] = field(default_factory=list)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Times a block that succeeds."""
        start_s = time.monotonic()
        yield
        self.seconds[name].append((start_s, time.monotonic() - start_s))


class TimedStore:
    """A ``SearchStore`` that passes everything on and notes how long it took."""

    def __init__(self, store: LeaseStore, log: Log) -> None:
        self._store = store
        self._log = log

    @property
    def search_id(self) -> str:
        """As ``SearchStore`` says."""
        return self._store.search_id

    def trials(self, shape: SupernetShape) -> list[Trial]:
        """As ``SearchStore`` says."""
        with self._log.timed("trials"):
            return self._store.trials(shape)

    def begin(self, sub_network: SubNetwork) -> int:
        """As ``SearchStore`` says."""
        with self._log.timed("begin"):
            return self._store.begin(sub_network)

    def add(self, trial: Trial) -> None:
        """As ``SearchStore`` says."""
        start_s = time.monotonic()
        with self._log.timed("add"):
            self._store.add(trial)
        self._log.stored.append((self.search_id, trial.number, start_s, time.monotonic()))

    def replace_measurements(self, trial: Trial) -> None:
        """As ``SearchStore`` says."""
        with self._log.timed("replace_measurements"):
            self._store.replace_measurements(trial)

    def write_front(self, record: Mapping[str, Any]) -> None:
        """As ``SearchStore`` says."""
        with self._log.timed("write_front"):
            self._store.write_front(record)


class SimulatedWorker:
    """What a worker and its job's process do to the database: two threads with a connection each.

    Args:
        url: The database's.
        name: For people.
        lease_s: Of its claims.
        evaluation_s: What a trial takes; asked before every trial.
        log: What it notes things in.
        until: When to end.
        shape: Of the supernet.
    """

    def __init__(
        self,
        url: str,
        name: str,
        *,
        lease_s: float,
        evaluation_s: Callable[[], float],
        log: Log,
        until: threading.Event,
        shape: SupernetShape,
    ) -> None:
        self._name = name
        self._lease_s = lease_s
        self._evaluation_s = evaluation_s
        self._log = log
        self._until = until
        self._shape = shape
        self._own, self._process = Database(url), Database(url)
        self._ended: set[str] = set()
        self._queue = Queue(self._own, lease_s=lease_s)

    def run(self) -> None:
        """Works until it is told to end, as ``Worker.run`` does."""
        self._take_up(self._work)

    def run_without_work(self) -> None:
        """The same, but ends every job as soon as it is claimed."""
        self._take_up(self._finish)

    def _take_up(self, do: Callable[[Lease], None]) -> None:
        while not self._until.is_set():
            start_s = time.monotonic()
            lease = self._queue.claim(self._name, [SEARCH])
            took_s = time.monotonic() - start_s
            self._log.seconds["poll" if lease is None else "claim"].append((start_s, took_s))
            if lease is None:
                self._until.wait(IDLE_S)
            else:
                do(lease)
        self._own.close()
        self._process.close()

    def _finish(self, lease: Lease) -> None:
        with self._log.timed("end"), self._queue.guarded(lease) as connection:
            self._queue.end(connection, lease, JobState.COMPLETE)

    def _work(self, lease: Lease) -> None:
        clock = Clock(self._evaluation_s())
        search = threading.Thread(target=self._search, args=(lease, clock))
        search.start()
        renewed_s = time.monotonic()
        try:
            while search.is_alive():
                search.join(POLL_S)
                clock.evaluation_s = self._evaluation_s()
                if self._until.is_set():
                    clock.stopped.set()
                    search.join()
                    self._queue.release(lease)
                elif time.monotonic() - renewed_s >= self._lease_s / RENEWALS:
                    with self._log.timed("renew"):
                        self._queue.renew(lease)
                    renewed_s = time.monotonic()
        except (LeaseLostError, DatabaseError) as error:
            clock.stopped.set()
            search.join()
            if lease.job_id not in self._ended:  # it may have ended just before it was renewed
                self._log.errors.append(f"{type(error).__name__}: {error}")

    def _search(self, lease: Lease, clock: Clock) -> None:
        queue = Queue(self._process, lease_s=self._lease_s)
        try:
            self._run(lease, queue, clock)
            self._ended.add(lease.job_id)
            with self._log.timed("end"), queue.guarded(lease) as connection:
                queue.end(connection, lease, JobState.COMPLETE)
        except StoppedError:
            LeaseStore(self._process, queue, lease).forget_begun()
        except (LeaseLostError, DatabaseError) as error:
            self._log.errors.append(f"{type(error).__name__}: {error}")

    def _run(self, lease: Lease, queue: Queue, clock: Clock) -> None:
        store = LeaseStore(self._process, queue, lease)
        config = SearchConfig.model_validate(Searches(self._process, queue).get(lease.search_id).config)
        ready = prepared(config, self._shape, clock)
        store.write_environment({**environment(config, self._shape), "search_id": lease.search_id})
        Search(config, ready, TimedStore(store, self._log)).run(unheard)


def unheard(status: object) -> None:
    """Nobody wants to know how the search stands."""


_environments: dict[int, dict[str, Any]] = {}


def environment(config: SearchConfig, shape: SupernetShape) -> dict[str, Any]:
    """As a worker writes it; asked of the system once a process."""
    if not _environments:
        supernet = cast(Supernet, StandIn(shape))
        _environments[0] = describe_run(config, supernet, search_id="")
    return _environments[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A database for measuring.

    Attributes:
        url: Its URL.
        folder: Where its files are.
        settings: What is special about it, in words.
        processes: Of the database's server; none for SQLite, which is part of its users.
    """

    url: str
    folder: Path
    settings: str
    processes: Callable[[], list[psutil.Process]]


@contextmanager
def database_place(kind: str, *, max_connections: int = 200, settings: str = "") -> Iterator[Place]:
    """A migrated, empty database on the disk, which waits for that disk as one in use does."""
    with tempfile.TemporaryDirectory(prefix="nas-bench-", ignore_cleanup_errors=True) as folder:
        if kind == "sqlite":
            url = f"sqlite:///{Path(folder) / 'nas.db'}"
            _upgrade(url)
            yield Place(url=url, folder=Path(folder), settings="synchronous=FULL, WAL", processes=list)
            return
        options = f"-c max_connections={max_connections} {settings}".strip()
        server = _started(Path(folder), options)
        try:
            url = server.url(server.create())
            _upgrade(url)
            yield Place(url=url, folder=Path(folder), settings=options, processes=lambda: _server(Path(folder)))
        finally:
            server.stop("immediate")


def _started(folder: Path, options: str) -> Server:
    """The tests' server, but one that waits for the disk."""
    binaries = find_binaries()
    if binaries is None:
        raise SystemExit("PostgreSQL must be installed for this, but neither initdb nor pg_ctl was found.")
    server = Server(binaries, folder)
    settings = f"-k {folder} -c listen_addresses= {options}"
    server._call("pg_ctl", "start", "--wait", "--options", settings, "--log", str(folder / "log"))
    return server


def _server(folder: Path) -> list[psutil.Process]:
    main = psutil.Process(int((folder / "data" / "postmaster.pid").read_text().split()[0]))
    return [main, *main.children()]


def _upgrade(url: str) -> None:
    database = Database(url)
    upgrade(database)
    database.close()


def cpu_s(processes: list[psutil.Process]) -> dict[int, float]:
    """Seconds of processor time that each has used so far."""
    used = {}
    for process in processes:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        used[process.pid] = times.user + times.system
    return used


def cpus_used(before: dict[int, float], after: dict[int, float], seconds: float) -> float:
    """How many processors were kept busy on average; processes that ended meanwhile are not counted."""
    return sum(used - before.get(pid, 0.0) for pid, used in after.items()) / seconds


def distribution(seconds: list[float]) -> dict[str, float]:
    """Milliseconds: percentiles, the greatest, and the number of values."""
    p50, p95, p99 = (float(value) for value in np.percentile(np.asarray(seconds) * 1e3, [50, 95, 99]))
    shown = {"p50_ms": p50, "p95_ms": p95, "p99_ms": p99, "max_ms": max(seconds) * 1e3}
    return {name: round(value, 2) for name, value in shown.items()} | {"n": len(seconds)}


def quiet_other_threads() -> None:
    """One compute thread: NumPy's must not compete with what is measured."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
