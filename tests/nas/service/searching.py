"""Searches in a database of the service, run in this process with a tiny model."""

import tempfile
from pathlib import Path

from sqlalchemy import update

from nas.artifacts import ArtifactStore
from nas.new_run import shape_to_json
from nas.search import Search
from nas.service import tables
from nas.service.database import Database
from nas.service.exports import EXPORT, Exports
from nas.service.lease_store import LeaseStore
from nas.service.queue import JobState, Lease, Queue
from nas.service.search_files import SearchFiles
from nas.service.searches import SEARCH, Searches
from nas.trial import TrialState
from tests.nas.test_search import Bench


def submitted(database: Database, *, owner: str = "ada", trials: int = 6) -> str:
    bench = Bench(Path())
    config = bench.config.model_copy(update={"trials": trials})
    return Searches(database, Queue(database)).submit(config, owner=owner)


def claimed(database: Database) -> Lease:
    lease = Queue(database).claim("a test", [SEARCH])
    assert lease is not None
    return lease


def expire(database: Database, lease: Lease) -> None:
    """Lets a lease run out, as where its worker has died."""
    with database.transaction() as connection:
        connection.execute(update(tables.jobs).where(tables.jobs.c.id == lease.job_id).values(lock_expires_at=0))


def begin(database: Database, lease: Lease, *, files: SearchFiles | None = None) -> LeaseStore:
    store = LeaseStore(database, Queue(database), lease, files=files)
    shape = shape_to_json(Bench(Path()).prepared.supernet.shape)
    store.write_environment({"search_id": lease.search_id, "device": {}, "supernet": shape})
    return store


def search_with(store: LeaseStore, *, trials: int = 6) -> None:
    bench = Bench(Path())
    config = bench.config.model_copy(update={"trials": trials})
    Search(config, bench.prepared, store).run(bench.statuses.append)


def finished(database: Database, *, owner: str = "ada") -> str:
    """The id of a search that has run to its end."""
    search_id = submitted(database, owner=owner)
    lease = claimed(database)
    search_with(begin(database, lease))
    queue = Queue(database)
    with queue.guarded(lease) as connection:
        queue.end(connection, lease, JobState.COMPLETE)
    return search_id


def fail(database: Database, number: int, reason: str) -> None:
    """Makes trials of that number ones that failed."""
    mine = update(tables.trials).where(tables.trials.c.number == number)
    with database.transaction() as connection:
        connection.execute(mine.values(state=TrialState.FAILED, reason=reason))


ARTIFACTS = "memory://artifacts"
FILE = b"the files of a model"


def exported(database: Database, search_id: str, *, trial: int = 1) -> str:
    """The id of an export that was asked for, made and published; its file is not really a model's."""
    queue = Queue(database)
    exports, artifacts = Exports(database, queue), ArtifactStore(ARTIFACTS)
    export_id = exports.ask(search_id, trial=trial, to="huggingface", artifacts=artifacts)
    lease = queue.claim("a test", [EXPORT])
    assert lease is not None
    with tempfile.NamedTemporaryFile() as file:
        file.write(FILE)
        file.flush()
        artifact = artifacts.publish(Path(file.name), f"exports/{search_id}/{export_id}/model.zip")
    with queue.guarded(lease) as connection:
        exports.complete(connection, lease, artifact, digest=exports.digest(search_id, trial))
        queue.end(connection, lease, JobState.COMPLETE)
    return export_id
