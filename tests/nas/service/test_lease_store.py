"""A search's state under a lease: what a search in a folder finds, and nothing from those who have lost the lease."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from sqlalchemy import func, select
from sqlalchemy.engine import Connection

from nas.artifacts import ArtifactStore
from nas.long_work.checkpoint import write_checkpoint
from nas.long_work.stopping import TrainingStoppedError
from nas.service import tables
from nas.service.database import Database, DatabaseError
from nas.service.events import Events
from nas.service.lease_store import LeaseStore
from nas.service.queue import Lease, LeaseLostError, Queue
from nas.service.search_files import SearchFiles
from nas.service.searches import Searches
from nas.store.errors import DuplicateTrialError
from nas.supernet.own_weights import OwnWeights
from nas.trial import Trial
from tests.nas.service.searching import begin, claimed, expire, search_with, submitted
from tests.nas.test_search import Bench
from tests.nas.trials import sub_network


@pytest.fixture
def lease(database: Database) -> Lease:
    submitted(database)
    return claimed(database)


def counts(database: Database) -> list[int]:
    watched = (tables.trials, tables.events, tables.begun_trials)
    with database.reading() as connection:
        return [connection.execute(select(func.count()).select_from(table)).scalar_one() for table in watched]


def test_the_same_trials_and_front_as_in_a_folder(database: Database, lease: Lease, tmp_path: Path) -> None:
    search_with(begin(database, lease), trials=12)
    run = Bench(tmp_path / "run").run()
    results = Searches(database, Queue(database)).results(lease.search_id)
    assert [trial.sub_network for trial in results.trials] == [trial.sub_network for trial in run.trials]
    assert [trial.number for trial in results.front()] == [trial.number for trial in run.front()]
    assert results.record["hypervolume"] == run.record["hypervolume"]
    assert results.record["search"]["id"] == lease.search_id


def test_another_worker_goes_on_from_the_trials(database: Database, lease: Lease) -> None:
    search_with(begin(database, lease), trials=4)
    expire(database, lease)
    second = claimed(database)
    assert second.search_id == lease.search_id
    search_with(begin(database, second), trials=6)
    record = Searches(database, Queue(database)).get(lease.search_id)
    assert record.num_trials == 6
    told = [event.data["number"] for event in Events(database).after(lease.search_id, 0) if event.kind == "trial"]
    assert told == [0, 1, 2, 3, 4, 5]


def a_trial(store: LeaseStore) -> Trial:
    return store.trials(Bench(Path()).prepared.supernet.shape)[-1]


def files_in(root: Path, lease: Lease, scratch: Path) -> SearchFiles:
    scratch.mkdir(exist_ok=True)
    return SearchFiles(ArtifactStore(str(root)), lease.search_id, scratch)


def test_who_has_lost_the_lease_writes_nothing(database: Database, lease: Lease, tmp_path: Path) -> None:
    store = begin(database, lease, files=files_in(tmp_path / "artifacts", lease, tmp_path / "scratch"))
    search_with(store, trials=3)
    trial, front = a_trial(store), Searches(database, Queue(database)).results(lease.search_id).record
    expire(database, lease)
    before = counts(database)
    for write in (
        lambda: store.begin(trial.sub_network),
        lambda: store.add(trial),
        lambda: store.replace_measurements(trial),
        lambda: store.write_front(dict(front) | {"hypervolume": 7.0}),
        lambda: store.write_environment({}),
        lambda: store.keep_weights(trial.sub_network, "trained", OwnWeights(parameters={})),
        store.forget_begun,
    ):
        with pytest.raises(LeaseLostError, match="is not this worker's any more; its results so far are kept"):
            write()
    assert counts(database) == before
    assert not (tmp_path / "artifacts").exists()


def test_another_worker_finds_the_weights_that_were_kept(database: Database, lease: Lease, tmp_path: Path) -> None:
    """And without a place for them they are let go."""
    weights = OwnWeights(parameters={"a": torch.arange(3.0)})
    nowhere = begin(database, lease)
    nowhere.keep_weights(sub_network(1), "recovered", weights)
    assert nowhere.weights(sub_network(1), "recovered") is None
    first, second = (
        begin(database, lease, files=files_in(tmp_path / "artifacts", lease, tmp_path / name)) for name in ("1", "2")
    )
    first.keep_weights(sub_network(1), "recovered", weights)
    found = second.weights(sub_network(1), "recovered")
    assert found is not None
    assert torch.equal(found.parameters["a"], weights.parameters["a"])


def test_a_checkpoint_counts_as_getting_on(database: Database, lease: Lease, tmp_path: Path) -> None:
    """Or else a training longer than its workers' lives would be given up."""
    for _ in range(3):
        expire(database, lease)
        lease = claimed(database)
    store = begin(database, lease, files=files_in(tmp_path / "artifacts", lease, tmp_path))
    place = store.places.of("grain-5")
    assert place.checkpoint is not None
    write_checkpoint(place.checkpoint, {})
    place.on_checkpoint()
    with database.reading() as connection:
        assert connection.execute(select(tables.jobs.c.num_claims)).scalar_one() == 1
    expire(database, lease)
    with pytest.raises(TrainingStoppedError, match="is not this worker's any more; its results so far are kept"):
        place.on_checkpoint()
    for forget in (lambda: store.places.forget("grain-5"), store.places.forget_all):
        with pytest.raises(LeaseLostError, match="is not this worker's any more"):
            forget()
    assert ArtifactStore(str(tmp_path / "artifacts")).exists(f"searches/{lease.search_id}/checkpoints/grain-5.pt")


def test_a_trial_is_stored_once(database: Database, lease: Lease) -> None:
    store = begin(database, lease)
    search_with(store, trials=3)
    before = counts(database)
    with pytest.raises(DuplicateTrialError, match="must be new to a search, but trial 2 or sub-network"):
        store.add(a_trial(store))
    assert counts(database) == before


def test_beginnings_are_counted_until_a_trial_ends(database: Database, lease: Lease) -> None:
    store = begin(database, lease)
    search_with(store, trials=3)
    trial = a_trial(store)
    with database.transaction() as connection:
        connection.execute(tables.trials.delete())
    assert [store.begin(trial.sub_network) for _ in range(3)] == [1, 2, 3]
    store.forget_begun()
    assert store.begin(trial.sub_network) == 3
    store.add(trial)
    assert store.begin(trial.sub_network) == 1


def test_the_front_is_told_of_when_it_changes(database: Database, lease: Lease) -> None:
    store = begin(database, lease)
    search_with(store, trials=6)
    told = [dict(event.data) for event in Events(database).after(lease.search_id, 0) if event.kind == "front"]
    assert all(now != before for before, now in pairwise(told))
    record = Searches(database, Queue(database)).results(lease.search_id).record
    assert told[-1] == {"hypervolume": record["hypervolume"], "trials": [one["number"] for one in record["trials"]]}


def test_the_environment_is_that_of_who_began(database: Database, lease: Lease) -> None:
    store = begin(database, lease)
    store.write_environment({"another": "machine"})
    environment = Searches(database, Queue(database)).get(lease.search_id).environment
    assert environment is not None
    assert "supernet" in environment


@contextmanager
def failing(database: Database, monkeypatch: pytest.MonkeyPatch, *, times: int, after_commit: bool) -> Iterator[None]:
    """Lets that many transactions fail, before they begin or when their commit is not answered."""
    left, real = times, database.transaction

    @contextmanager
    def transaction() -> Iterator[Connection]:
        nonlocal left
        if left and not after_commit:
            left -= 1
            raise DatabaseError("The service's database must be there.")
        with real() as connection:
            yield connection
        if left:
            left -= 1
            raise DatabaseError("The service's database must be there.")

    with monkeypatch.context() as patch:
        patch.setattr(database, "transaction", transaction)
        patch.setattr("nas.service.lease_store.RETRY_S", 0.0)
        yield
    assert left == 0


@pytest.mark.parametrize("after_commit", [False, True])
def test_a_database_that_comes_back_costs_no_trial(
    database: Database, lease: Lease, monkeypatch: pytest.MonkeyPatch, after_commit: bool
) -> None:
    store = begin(database, lease)
    search_with(store, trials=3)
    trial = a_trial(store)
    with database.transaction() as connection:
        connection.execute(tables.trials.delete().where(tables.trials.c.number == trial.number))
    with failing(database, monkeypatch, times=1 if after_commit else 3, after_commit=after_commit):
        store.add(trial)
    assert a_trial(store) == trial
    told = [event.data["number"] for event in Events(database).after(lease.search_id, 0) if event.kind == "trial"]
    assert told == [0, 1, 2, 2]  # the second time is that after the deletion above


def test_patience_has_an_end(database: Database, lease: Lease, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = Queue(database)
    store = LeaseStore(database, queue, lease, patience_s=0.0)
    with failing(database, monkeypatch, times=1, after_commit=False), pytest.raises(DatabaseError, match="must be"):
        store.write_environment({})
