"""Searches that train their supernet first: what a worker trained is there for the next one, and for exports."""

import json
import logging
import zipfile
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from nas.artifacts import ArtifactError, ArtifactStore
from nas.commands.search import run_search
from nas.export.base import ExportError
from nas.run import Run
from nas.service.database import Database
from nas.service.exports import EXPORT, Exports
from nas.service.jobs import LeftError, supernet
from nas.service.jobs.supernet import LostSupernetError
from nas.service.queue import Queue
from nas.service.search_files import SearchFiles
from nas.service.searches import Searches
from nas.supernet_training.training import SupernetStep
from nas.training_progress import TrainingProgress
from tests.nas.service.jobs.doing import RECORD, claimed, do, exported, perplexity, searched, submitted
from tests.nas.service.jobs.test_search import KilledError, checkpoints_left, die_after, found
from tests.nas.service.searching import expire
from tests.nas.supernet_training.accelerating import fresh_accelerator  # noqa: F401

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("fresh_accelerator", "_in_this_process")]
TRAINED = {
    "supernet_training": {
        "steps": 3,
        "batch_size": 2,
        "sequence_tokens": 32,
        "checkpoint_every": 1,
        "learning_rate": 1e-3,
        "tensorboard": True,
    }
}


@pytest.fixture
def artifacts(tmp_path: Path) -> str:
    return str(tmp_path / "artifacts")


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of the steps that supernets are trained for."""
    numbers, show = list[int](), TrainingProgress.__call__

    def counted(self: TrainingProgress, step: SupernetStep) -> None:
        numbers.append(step.number)
        show(self, step)

    monkeypatch.setattr(TrainingProgress, "__call__", counted)
    return numbers


def files_of(artifacts: str, search_id: str) -> set[str]:
    folder = Path(artifacts) / "searches" / search_id
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def environment_of(database: Database, search_id: str) -> Any:
    return Searches(database, Queue(database)).get(search_id).environment


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The same search by `nas search`."""
    folder = tmp_path_factory.mktemp("alone")
    training = {**TRAINED["supernet_training"], "tensorboard": False}
    (folder / "search.json").write_text(json.dumps(RECORD | {"supernet_training": training}))
    run_search(folder / "search.json", out=folder / "run", overrides=[], resume=False, console=Console(quiet=True))
    return Run.open(folder / "run")


def assert_as_alone(database: Database, search_id: str, alone: Run) -> None:
    trials = [{key: value for key, value in one.to_json().items() if key != "duration_s"} for one in alone.trials]
    assert found(database, search_id) == trials
    record = Searches(database, Queue(database)).results(search_id).record
    assert record["hypervolume"] == alone.record["hypervolume"]


def test_a_worker_goes_on_with_a_training_and_exports_hold_what_came_of_it(
    database: Database,
    artifacts: str,
    tmp_path: Path,
    alone: Run,
    steps: list[int],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    steps.clear()
    search_id = submitted(database, **TRAINED)
    lease = claimed(database)
    with monkeypatch.context() as patched:
        die_after(patched, 2)
        with pytest.raises(KilledError):
            do(database, lease, artifacts)
    assert files_of(artifacts, search_id) == {"checkpoints/supernet.zip"}
    assert environment_of(database, search_id)["search_id"] == search_id  # while it trains
    expire(database, lease)
    with caplog.at_level(logging.INFO):
        do(database, claimed(database), artifacts)
    assert "going on from the checkpoint supernet.zip of a worker before" in caplog.text
    assert steps == [1, 2, 3]
    assert files_of(artifacts, search_id) == {"supernet.zip"}
    with zipfile.ZipFile(Path(artifacts) / "searches" / search_id / "supernet.zip") as archive:
        names = set(archive.namelist())
    assert names >= {"config.json", "model.safetensors", "supernet_training.json", "unit_ranking.json"}
    assert not any("tensorboard" in name for name in names)
    assert_as_alone(database, search_id, alone)

    trial = next(one for one in alone.front() if not one.sub_network.is_full)
    folder = exported(database, search_id, trial.number, artifacts, tmp_path / "exported")
    assert perplexity(folder) == pytest.approx(trial.measurements["perplexity"].value, rel=1e-6)


def test_a_worker_that_takes_over_a_search_fetches_its_supernet_and_one_that_repeats_it_trains(
    database: Database, artifacts: str, alone: Run, steps: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    search_id = submitted(database, **TRAINED)
    lease = claimed(database)
    with monkeypatch.context() as patched:
        patched.setattr("nas.service.jobs.search.prepare", lambda _: die())
        with pytest.raises(KilledError):
            do(database, lease, artifacts)
    expire(database, lease)
    steps.clear()
    do(database, claimed(database), artifacts)
    assert steps == []
    assert_as_alone(database, search_id, alone)
    assert_as_alone(database, searched(database, artifacts, **TRAINED), alone)
    assert steps == [1, 2, 3]


def die() -> None:
    raise KilledError


def test_a_supernet_that_is_lost_is_trained_again_for_a_search_and_missed_by_an_export(
    database: Database, artifacts: str, tmp_path: Path, steps: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    search_id = submitted(database, **TRAINED)
    (tmp_path / "file").write_bytes(b"damaged")
    ArtifactStore(artifacts).publish(tmp_path / "file", f"searches/{search_id}/supernet.zip")
    do(database, claimed(database), artifacts)
    assert steps == [1, 2, 3]
    for spoil in (
        lambda name: ArtifactStore(artifacts).publish(tmp_path / "file", name),
        ArtifactStore(artifacts).remove,
    ):
        spoil(f"searches/{search_id}/supernet.zip")
        exports = Exports(database, Queue(database))
        exports.ask(search_id, trial=1, to="huggingface", artifacts=ArtifactStore(artifacts))
        lease = claimed(database, EXPORT)
        with pytest.raises(
            LostSupernetError, match=r"trained, but searches/.*/supernet.zip is not among the artifacts, or is damaged"
        ):
            do(database, lease, artifacts)
        expire(database, lease)


@pytest.mark.parametrize("what", ["fetch", "publish"])
def test_artifacts_that_are_away_leave_the_search_to_another_process(
    database: Database, artifacts: str, what: str, steps: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what was trained is not lost with that."""

    def refuse(*_: object) -> None:
        raise ArtifactError("A place for artifacts must be usable, but it is away.")

    search_id = submitted(database, **TRAINED)
    lease = claimed(database)
    with monkeypatch.context() as patched:
        if what == "fetch":
            patched.setattr(SearchFiles, what, refuse)
        else:
            patched.setattr(supernet, "_publish", refuse)
        with pytest.raises(LeftError, match="must be usable, but it is away"):
            do(database, lease, artifacts)
    assert checkpoints_left(artifacts, search_id) == ([] if what == "fetch" else ["supernet.zip"])
    expire(database, lease)
    do(database, claimed(database), artifacts)
    assert steps == [1, 2, 3]
    assert files_of(artifacts, search_id) == {"supernet.zip"}


def test_no_room_for_a_checkpoint_leaves_the_search_to_another_process(
    database: Database, artifacts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ExportError("An export must be able to write there; free some space.")

    submitted(database, **TRAINED)
    monkeypatch.setattr(supernet, "pack", refuse)
    with pytest.raises(LeftError, match="must be able to write there; free some space"):
        do(database, claimed(database), artifacts)
