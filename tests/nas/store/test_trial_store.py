import math
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import event
from sqlalchemy.pool import Pool

from evaluators.base import Measurement
from nas.store.errors import DuplicateTrialError, StoreError
from nas.store.trial_store import TrialStore
from nas.trial import Trial, TrialState
from search_spaces.shape import SupernetShape
from search_spaces.sub_network import SubNetwork

SHAPE = SupernetShape(num_layers=2, num_heads=4, num_kv_groups=2, num_neurons=64, head_dim=4, hidden_size=16)


def trial(number: int, **changes: object) -> Trial:
    """A trial whose sub-network tells its number: layer 1 keeps the neurons that are 1 in binary."""
    neurons_LN = np.ones((2, 64), dtype=np.bool_)
    neurons_LN[1] = [bool(number >> bit & 1) for bit in range(64)]
    sub_network = SubNetwork(shape=SHAPE, heads_LH=np.ones((2, 4), dtype=np.bool_), neurons_LN=neurons_LN)
    values = {"candidate": (number, 1), "source": "random", "state": TrialState.COMPLETE, **changes}
    return Trial(number=number, sub_network=sub_network, **values)  # type: ignore[arg-type]


MEASURED = trial(
    0,
    measurements={
        "decode_latency": Measurement(
            value=0.004, unit="s", ci95=(0.003, 0.005), n=40, p90=0.006, flags=("contended",)
        ),
        "parameters": Measurement(value=12.0, unit="parameters"),
    },
    fidelity=0.25,
    duration_s=1.5,
)
FAILED = trial(1, candidate=None, source="fisher", state=TrialState.FAILED, reason="The loss was NaN.")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "trials.db"


@pytest.fixture
def store(path: Path) -> Iterator[TrialStore]:
    with TrialStore(path) as store:
        yield store


def test_trials_come_back_by_number(store: TrialStore) -> None:
    assert store.trials(SHAPE) == []
    store.add(FAILED)
    store.add(MEASURED)
    assert store.trials(SHAPE) == [MEASURED, FAILED]


def test_trials_outlive_the_store(path: Path) -> None:
    with TrialStore(path) as store:
        store.add(MEASURED)
    with TrialStore(f"sqlite:///{path}") as store:
        assert store.trials(SHAPE) == [MEASURED]


def test_numbers_that_are_not_finite_come_back_as_nan(store: TrialStore) -> None:
    values = {"nan": math.nan, "inf": math.inf}
    measurements = {name: Measurement(value=value, unit="s", ci95=(0.0, value)) for name, value in values.items()}
    store.add(trial(0, measurements=measurements))
    for measurement in store.trials(SHAPE)[0].measurements.values():
        assert math.isnan(measurement.value)
        assert measurement.ci95 is not None
        assert measurement.ci95[0] == 0.0
        assert math.isnan(measurement.ci95[1])


def test_a_commit_waits_for_the_disk_and_does_not_block_readers(store: TrialStore, path: Path) -> None:
    with store._engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL


def test_a_number_or_a_sub_network_is_stored_once(store: TrialStore) -> None:
    store.add(trial(0))
    same_number = Trial(number=0, candidate=None, sub_network=trial(7).sub_network, source="", state=TrialState.FAILED)
    same_network = Trial(number=7, candidate=None, sub_network=trial(0).sub_network, source="", state=TrialState.FAILED)
    with pytest.raises(DuplicateTrialError, match="must be new to a search, but trial 0 or"):
        store.add(same_number)
    with pytest.raises(DuplicateTrialError, match=f"sub-network {trial(0).sub_network.key} is in"):
        store.add(same_network)
    assert store.trials(SHAPE) == [trial(0)]


ADD_FOR_EVER = """
import itertools, sys
from nas.store.trial_store import TrialStore
from tests.nas.store.test_trial_store import trial

with TrialStore(sys.argv[1]) as store:
    for number in itertools.count():
        store.add(trial(number))
        print(number, flush=True)
"""


def adding_process(path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", ADD_FOR_EVER, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )


@pytest.mark.parametrize("after", [0, 20])
def test_what_was_added_survives_a_kill(path: Path, after: int) -> None:
    with adding_process(path) as process:
        assert process.stdout is not None
        added = [int(process.stdout.readline()) for _ in range(after + 1)]
        os.kill(process.pid, signal.SIGKILL)
        added += [int(line) for line in process.stdout if line.endswith("\n")]
    with TrialStore(path) as store:
        stored = store.trials(SHAPE)
        assert stored == [trial(number) for number in range(len(stored))]
        assert len(added) <= len(stored) <= len(added) + 1  # one may have been added and not yet reported
        store.add(trial(len(stored)))


def test_two_readers_see_a_beginning_while_another_process_adds(path: Path) -> None:
    TrialStore(path).close()
    lengths: list[list[int]] = [[], []]

    def read(seen: list[int]) -> None:
        with TrialStore(path) as store:
            while len(seen) < 10:
                numbers = [stored.number for stored in store.trials(SHAPE)]
                assert numbers == list(range(len(numbers)))
                seen.append(len(numbers))

    with adding_process(path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        readers = [threading.Thread(target=read, args=(seen,)) for seen in lengths]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        process.kill()
    for seen in lengths:
        assert len(seen) == 10
        assert seen == sorted(seen)
        assert seen[0] > 0


def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    path.write_bytes(b"not a database " * 100)
    with pytest.raises(StoreError, match=r"must be an intact database of trials.*not a database; restore it"):
        TrialStore(path)


def test_a_torn_file_is_refused(path: Path) -> None:
    with TrialStore(path) as store:
        for number in range(50):
            store.add(trial(number))
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\x55" * (len(content) - 4096))
    with pytest.raises(StoreError, match=r"must be an intact database of trials.*malformed"), TrialStore(path) as store:
        store.trials(SHAPE)


def test_another_programs_database_is_refused_and_left_alone(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE recipes (name TEXT)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="must be a database of trials, but it is another program's"):
        TrialStore(path)
    assert path.read_bytes() == before


def test_a_newer_version_is_refused(path: Path) -> None:
    TrialStore(path).close()
    connection = sqlite3.connect(path)
    connection.execute("UPDATE schema_version SET version = 2")
    connection.commit()
    connection.close()
    with pytest.raises(StoreError, match="must be written in version 1 of the tables, got 2; use the version of nas"):
        TrialStore(path)


def test_a_place_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="must be readable and writable, but the database says: unable to open"):
        TrialStore(tmp_path / "missing" / "trials.db")


def test_trials_of_another_model_are_refused(store: TrialStore) -> None:
    store.add(trial(0))
    other = SupernetShape(num_layers=3, num_heads=4, num_kv_groups=2, num_neurons=64, head_dim=4, hidden_size=16)
    with pytest.raises(StoreError, match="fit the model that is searched, but one is not"):
        store.trials(other)


@pytest.mark.parametrize(("column", "value"), [("sub_network", "{"), ("measurements", '{"latency": {}}')])
def test_a_damaged_row_is_refused(store: TrialStore, path: Path, column: str, value: str) -> None:
    store.add(trial(0))
    connection = sqlite3.connect(path)
    connection.execute(f"UPDATE trials SET {column} = ?", (value,))
    connection.commit()
    connection.close()
    with pytest.raises(StoreError, match="must be readable and fit the model"):
        store.trials(SHAPE)


def test_a_read_error_is_explained(store: TrialStore, path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("DROP TABLE trials")
    connection.close()
    with pytest.raises(StoreError, match="database says: no such table: trials"):
        store.trials(SHAPE)


@pytest.fixture
def full_disk() -> Iterator[None]:
    """Every database is at its largest when it is opened."""

    def limit(connection: sqlite3.Connection, record: object) -> None:
        connection.execute("PRAGMA max_page_count = 1")

    event.listen(Pool, "connect", limit)
    yield
    event.remove(Pool, "connect", limit)


def test_a_full_disk_keeps_what_was_added(path: Path, request: pytest.FixtureRequest) -> None:
    with TrialStore(path) as store:
        store.add(trial(0))
    request.getfixturevalue("full_disk")
    added = [trial(0)]
    with TrialStore(path) as store:

        def add_many() -> None:
            for number in range(1, 1000):
                store.add(trial(number))
                added.append(trial(number))

        with pytest.raises(StoreError, match=r"is full; the trials finished so far are kept.*repeat with --resume"):
            add_many()
        assert store.trials(SHAPE) == added
