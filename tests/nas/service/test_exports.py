"""Exports as they stand in the database, on both kinds."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from evaluators.base import BEFORE_RECOVERY_SUFFIX
from nas.artifacts import ArtifactStore
from nas.service.database import Database
from nas.service.events import Events
from nas.service.exports import EXPORT, Exports, UnknownExportError
from nas.service.jobs.export import file_name
from nas.service.queue import JobState, Queue
from nas.service.searches import SEARCH, Searches, UnknownSearchError
from tests.nas.service.searching import ARTIFACTS, FILE, begin, claimed, exported, finished, search_with, submitted
from tests.nas.test_search import Bench

STORE = ArtifactStore(ARTIFACTS)


def test_an_export_waits_until_a_worker_has_published_it(database: Database) -> None:
    queue, search_id = Queue(database), finished(database, owner="ada")
    exports = Exports(database, queue)
    export_id = exports.ask(search_id, trial=1, to="huggingface", artifacts=STORE)
    waiting = exports.get(export_id)
    assert (waiting.search_id, waiting.owner, waiting.trial, waiting.to) == (search_id, "ada", 1, "huggingface")
    assert (waiting.state, waiting.artifact, waiting.file_name, waiting.num_bytes) == (
        JobState.QUEUED,
        None,
        None,
        None,
    )
    assert exported(database, search_id) == export_id  # the same one, asked for again
    made = exports.get(export_id)
    assert (made.state, made.file_name, made.num_bytes) == (JobState.COMPLETE, "model.zip", len(FILE))
    told = [
        (event.data["job"], event.data["id"], event.data["state"])
        for event in Events(database).after(search_id, 0, kind="state")
        if event.data["job"] != SEARCH
    ]
    assert told == [(EXPORT, export_id, state) for state in ("queued", "running", "complete")]
    assert Searches(database, queue).get(search_id).state is JobState.COMPLETE


def test_nothing_is_exported_of_a_search_that_is_deleted_meanwhile(database: Database) -> None:
    queue, search_id = Queue(database), finished(database)
    searches, exports = Searches(database, queue), Exports(database, queue)
    for step in (searches.withdraw, searches.delete):
        step(search_id)
        with pytest.raises(UnknownSearchError, match="must be one that was submitted"):
            exports.ask(search_id, trial=1, to="huggingface", artifacts=STORE)


def test_of_many_who_ask_at_once_all_get_the_same_export(database: Database) -> None:
    search_id = finished(database)
    exports = Exports(database, Queue(database))
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(lambda _: exports.ask(search_id, trial=2, to="huggingface", artifacts=STORE), range(24)))
    assert len(set(ids)) == 1
    assert [one.id for one in exports.of(search_id)] == ids[:1]
    assert exports.ask(search_id, trial=3, to="huggingface", artifacts=STORE) not in ids


def test_an_export_that_failed_is_made_anew(database: Database) -> None:
    queue, search_id = Queue(database), finished(database)
    exports = Exports(database, queue)
    first = exports.ask(search_id, trial=1, to="huggingface", artifacts=STORE)
    lease = queue.claim("a test", [EXPORT])
    assert lease is not None
    with queue.guarded(lease) as connection:
        queue.end(connection, lease, JobState.FAILED, "There is no room; make some.")
    second = exports.ask(search_id, trial=1, to="huggingface", artifacts=STORE)
    assert second != first
    assert [(one.id, one.state, one.reason) for one in exports.of(search_id)] == [
        (second, JobState.QUEUED, ""),
        (first, JobState.FAILED, "There is no room; make some."),
    ]


def test_an_export_is_made_anew_where_its_trial_has_changed_since(database: Database) -> None:
    """As where it was asked for during the search, which recovered the trial by training at its end."""
    search_id = submitted(database)
    store = begin(database, claimed(database))
    search_with(store)
    first = exported(database, search_id, trial=2)
    assert exported_again(database, search_id) == (first, JobState.COMPLETE)
    trial = store.trials(Bench(Path()).prepared.supernet.shape)[2]
    name, score = next(iter(trial.measurements.items()))
    recovered = {name: replace(score, value=score.value / 2), name + BEFORE_RECOVERY_SUFFIX: score}
    store.replace_measurements(replace(trial, measurements={**trial.measurements, **recovered}))
    second = exported(database, search_id, trial=2)
    assert second != first
    assert exported_again(database, search_id) == (second, JobState.COMPLETE)


def test_an_export_is_made_anew_where_its_file_is_gone(database: Database) -> None:
    search_id = finished(database)
    first = exported(database, search_id, trial=2)
    name = Exports(database, Queue(database)).get(first).artifact
    assert name is not None
    STORE.remove(name)
    second, state = exported_again(database, search_id)
    assert (second != first, state) == (True, JobState.QUEUED)
    assert exported_again(database, search_id) == (second, JobState.QUEUED)


def exported_again(database: Database, search_id: str) -> tuple[str, JobState]:
    """The export of trial 2, asked for again, and its state."""
    exports = Exports(database, Queue(database))
    export_id = exports.ask(search_id, trial=2, to="huggingface", artifacts=STORE)
    return export_id, exports.get(export_id).state


def test_an_id_that_was_never_given_out_is_refused(database: Database) -> None:
    with pytest.raises(UnknownExportError, match=r"must be one that was asked for, got '0+'; /v1/searches"):
        Exports(database, Queue(database)).get("0" * 32)


@pytest.mark.parametrize(
    ("search", "name"),
    [
        ("quickstart", "quickstart-trial-7.zip"),
        ("../a b/ü", "a-b-trial-7.zip"),
        ("…", "search-trial-7.zip"),
        ("x" * 200, "x" * 80 + "-trial-7.zip"),
    ],
)
def test_a_download_has_a_name_that_any_system_takes(search: str, name: str) -> None:
    assert file_name(search, 7) == name
