"""What a worker clears up; what it does with jobs is tested with real processes, in ``tests/integration``."""

import logging
import os
import time
from pathlib import Path

import pytest

from nas.artifacts import LEFT_AFTER_S, ArtifactError, ArtifactStore
from nas.service.database import Database
from nas.service.queue import MAX_CLAIMS, JobState, Queue
from nas.service.searches import Searches
from nas.service.worker import Worker
from tests.nas.service.searching import claimed, expire, submitted


def url_of(database: Database) -> str:
    return database.engine.url.render_as_string(hide_password=False)


@pytest.fixture
def artifacts(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(str(tmp_path / "artifacts"))


def publish(artifacts: ArtifactStore, folder: Path, name: str) -> None:
    (folder / "file").touch()
    artifacts.publish(folder / "file", name)


@pytest.mark.parametrize("end", [JobState.CANCELLED, JobState.FAILED])
def test_the_checkpoint_of_a_search_that_its_dead_worker_left_goes_where_nobody_will_go_on(
    database: Database, artifacts: ArtifactStore, tmp_path: Path, end: JobState
) -> None:
    search_id = submitted(database)
    searches = Searches(database, Queue(database))
    for _ in range(1 if end is JobState.CANCELLED else MAX_CLAIMS):
        expire(database, claimed(database))
    if end is JobState.CANCELLED:
        searches.cancel(search_id)
    checkpoint, supernet = f"searches/{search_id}/checkpoints/supernet.zip", f"searches/{search_id}/supernet.zip"
    for name in (checkpoint, supernet):
        publish(artifacts, tmp_path, name)
    Worker(url_of(database), artifacts=artifacts.root).run(until_idle=True)
    assert searches.get(search_id).state is end
    assert not artifacts.exists(checkpoint)
    assert artifacts.exists(supernet)


def test_what_a_killed_upload_left_goes_a_day_later(
    database: Database, artifacts: ArtifactStore, tmp_path: Path
) -> None:
    publish(artifacts, tmp_path, "exports/17.zip")
    old, young = (Path(artifacts.root) / ".incoming" / name for name in ("old", "young"))
    for part in (old, young):
        part.touch()
    os.utime(old, (time.time() - LEFT_AFTER_S - 60,) * 2)
    Worker(url_of(database), artifacts=artifacts.root).run(until_idle=True)
    assert (old.exists(), young.exists()) == (False, True)
    assert artifacts.exists("exports/17.zip")


def test_a_place_that_cannot_be_cleared_up_is_worked_with(
    database: Database,
    artifacts: ArtifactStore,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse(store: ArtifactStore) -> None:
        raise ArtifactError(f"{store.root} lets nothing be listed.")

    monkeypatch.setattr(ArtifactStore, "remove_left", refuse)
    search_id = submitted(database)
    expire(database, claimed(database))
    searches = Searches(database, Queue(database))
    searches.cancel(search_id)
    with caplog.at_level(logging.WARNING):
        Worker(url_of(database), artifacts=artifacts.root).run(until_idle=True)
    assert "lets nothing be listed" in caplog.text
    assert searches.get(search_id).state is JobState.CANCELLED
