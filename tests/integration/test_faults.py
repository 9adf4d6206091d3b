"""What fails around a search: the disk, the database's server, the clock, clients that ask for one thing all at once.

Killed processes are in `test_service.py`, and in numbers in `benchmarks/faults.py`.
"""

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import uvicorn
from sqlalchemy import event, func, select, text

from nas.artifacts import ArtifactStore
from nas.client import Client
from nas.config import parse_config
from nas.search import Search
from nas.service import schema, tables
from nas.service.api import Policy, create_app
from nas.service.database import Database, DatabaseError
from nas.service.events import Events
from nas.service.queue import Lease, LeaseLostError, Queue
from nas.service.searches import SEARCH as SEARCH_JOB
from nas.service.searches import Searches
from tests.integration.commands import COMMAND, ENVIRONMENT, SEARCH
from tests.nas.service.databases import KINDS, Server, find_binaries, running_server
from tests.nas.service.searching import begin, claimed, submitted
from tests.nas.test_search import Bench

TRIALS = 8
SMALL_BYTES = 2_000_000


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """PostgreSQL, for this file alone: it is stopped and started."""
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL server here: neither initdb on PATH nor a version in /usr/lib/postgresql")
    with running_server(binaries) as running:
        yield running


@contextmanager
def opened(url: str) -> Iterator[Database]:
    """A database with all tables."""
    database = Database(url)
    schema.upgrade(database)
    try:
        yield database
    finally:
        database.close()


def run_search(database: Database, after: Callable[[int], None]) -> str:
    """A whole search; ``after`` is called with the number of each trial."""
    search_id = submitted(database, trials=TRIALS)
    store = begin(database, claimed(database))
    bench = Bench(Path())
    config = bench.config.model_copy(update={"trials": TRIALS})
    Search(config, bench.prepared, store).run(lambda status: after(status.trial.number))
    return search_id


def assert_whole(database: Database, search_id: str, folder: Path) -> None:
    """Its trials are those of a search that nothing happens to, and each was told of once."""
    results = Searches(database, Queue(database)).results(search_id)
    bench = Bench(folder / "alone")
    bench.config = bench.config.model_copy(update={"trials": TRIALS})
    run = bench.run()
    assert [trial.sub_network for trial in results.trials] == [trial.sub_network for trial in run.trials]
    assert [trial.measurements for trial in results.trials] == [trial.measurements for trial in run.trials]
    assert results.record["hypervolume"] == run.record["hypervolume"]
    events = Events(database).after(search_id, 0)
    assert [one.number for one in events] == list(range(1, len(events) + 1))
    assert [one.data["number"] for one in events if one.kind == "trial"] == list(range(TRIALS))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_BYTES}", "nas-test", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("only root may mount a small file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_is_waited_for_and_nothing_is_lost(small_disk: Path, tmp_path: Path) -> None:
    filler = small_disk / "filler"
    stored: list[int] = []

    def fill(number: int) -> None:
        if number not in {2, 5}:
            return
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))
        with pytest.raises(DatabaseError, match="must be there and have room, but it says: database or disk is full"):
            submitted(database)

        def make_room() -> None:
            stored.append(Searches(database, Queue(database)).page()[0].num_trials)
            filler.unlink()

        threading.Timer(1.0, make_room).start()

    with opened(f"sqlite:///{small_disk / 'nas.db'}") as database:
        search_id = run_search(database, fill)
        assert stored == [3, 6]  # while it was full it could be read, and the search stood still
        assert_whole(database, search_id, tmp_path)
        assert len(Searches(database, Queue(database)).page()) == 1
        with database.reading() as connection:
            assert connection.execute(text("PRAGMA integrity_check")).scalar_one() == "ok"


@pytest.mark.parametrize("mode", ["fast", "immediate"])
@pytest.mark.parametrize("moment", ["before_cursor_execute", "after_cursor_execute"])
def test_a_server_that_restarts_in_the_middle_of_a_write_costs_no_trial(
    server: Server, tmp_path: Path, moment: str, mode: str
) -> None:
    """The transaction that stores a trial is open when the server goes; it is back in half a second."""
    num_stopped = 0

    def stop(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        nonlocal num_stopped
        if statement.startswith("INSERT INTO trials") and num_stopped == wanted:
            num_stopped += 1
            server.stop(mode)
            back.append(threading.Timer(0.5, server.start))
            back[-1].start()

    wanted, back = -1, list[threading.Timer]()

    def after(number: int) -> None:
        nonlocal wanted
        if number in {1, 4}:  # the next trial
            wanted = num_stopped

    with opened(server.url(server.create())) as database:
        event.listen(database.engine, moment, stop)
        search_id = run_search(database, after)
        for timer in back:
            timer.join()
        assert num_stopped == 2
        assert_whole(database, search_id, tmp_path)


def test_a_worker_that_sleeps_in_the_middle_of_a_write_does_not_keep_its_search(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its transaction holds the job's row, which whoever claims passes over: the server must end it."""
    monkeypatch.setattr("nas.service.database.IDLE_S", 1)
    url = server.url(server.create())
    with opened(url) as asleep, opened(url) as awake:
        submitted(awake)
        queue = Queue(asleep, lease_s=0.5)
        lease = queue.claim("asleep", [SEARCH_JOB])
        assert lease is not None

        def claim_another() -> Lease:
            end_s = time.monotonic() + 10
            while (again := Queue(awake).claim("awake", [SEARCH_JOB])) is None:
                assert time.monotonic() < end_s
                time.sleep(0.1)
            return again

        def sleep_in_the_middle() -> None:
            with queue.guarded(lease) as connection:
                assert claim_another().search_id == lease.search_id
                connection.execute(select(1))

        with pytest.raises(DatabaseError, match="idle-in-transaction timeout"):
            sleep_in_the_middle()
        with pytest.raises(LeaseLostError, match="is not this worker's any more"), queue.guarded(lease):
            pass


@contextmanager
def listening(database: Database, folder: Path) -> Iterator[str]:
    """The API over HTTP, in a thread."""
    app = create_app(database, Policy(has_auth=False), ArtifactStore(str(folder / "artifacts")))
    api = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    thread = threading.Thread(target=api.run)
    thread.start()
    while not api.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{api.servers[0].sockets[0].getsockname()[1]}"
    finally:
        api.should_exit = True
        thread.join()


@pytest.mark.parametrize("where", KINDS)
def test_a_hundred_submits_at_once_with_one_key_make_one_search(
    where: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    if where == "sqlite":
        url = f"sqlite:///{tmp_path / 'nas.db'}"
    else:
        running: Server = request.getfixturevalue("server")
        url = running.url(running.create())
    number = 100
    barrier = threading.Barrier(number)
    with opened(url) as database, listening(database, tmp_path) as address, ThreadPoolExecutor(number) as pool:

        def submit(_: int) -> str:
            with Client(address) as client:
                barrier.wait()
                return client.submit(SEARCH, idempotency_key="one")

        ids = set(pool.map(submit, range(number)))
        with database.reading() as connection:
            stored = set(connection.execute(select(tables.searches.c.id)).scalars())
            num_jobs = connection.execute(select(func.count()).select_from(tables.jobs)).scalar_one()
        assert ids == stored
        assert len(ids) == num_jobs == 1
        assert len(Events(database).after(ids.pop(), 0)) == 1


JUMPING_CLOCK = '''
"""The wall clock of this process jumps by a day at every look, and the service must not look."""
import itertools, os, sys, time
_real, _offsets = time.time, itertools.cycle([86400.0, -86400.0])
def _jumping():
    caller = sys._getframe(1).f_globals.get("__name__", "")
    if caller.startswith("nas.service"):
        with open(os.environ["LOOKS"], "a") as file:
            print(caller, file=file)
    return _real() + next(_offsets)
time.time = _jumping
time.time_ns = lambda: int(_jumping() * 1e9)
with open(os.environ["LOOKS"] + ".installed", "a") as file:
    print(os.getpid(), file=file)
'''


@pytest.mark.slow
def test_a_workers_clock_is_not_looked_at(server: Server, tmp_path: Path) -> None:
    """Workers whose clocks jump all the time hold leases and run searches as others do."""
    (tmp_path / "sitecustomize.py").write_text(JUMPING_CLOCK)
    url = server.url(server.create())
    environment = ENVIRONMENT | {"PYTHONPATH": str(tmp_path), "LOOKS": str(tmp_path / "looks")}
    with opened(url) as database:
        config = parse_config(SEARCH.replace("trials: 22", "trials: 4"))
        search_id = Searches(database, Queue(database)).submit(config, owner="ada")
        before = time.time()
        worker = [*COMMAND, "worker", "--database", url, "--lease", "2", "--until-idle"]
        done = subprocess.run(worker, env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        record = Searches(database, Queue(database)).get(search_id)
        assert (record.state, record.num_trials) == ("complete", 4), done.stderr
        told = Events(database).after(search_id, 0)
        assert [one.data["state"] for one in told if one.kind == "state"] == ["queued", "running", "complete"]
        assert all(before - 1 < one.created_at < time.time() + 1 for one in told)
    assert len((tmp_path / "looks.installed").read_text().split()) == 2  # the worker's process, and the search's
    assert not (tmp_path / "looks").exists()
