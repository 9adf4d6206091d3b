"""Searches whose worker dies in the middle of a training: another one goes on from the checkpoint."""

from pathlib import Path
from typing import Any

import pytest

from nas.artifacts import ArtifactStore
from nas.long_work.checkpoint import CheckpointWriteError, write_checkpoint
from nas.long_work.stopping import TrainingStoppedError
from nas.recovery import lora_distillation
from nas.service.checkpoints import Checkpoints
from nas.service.database import Database
from nas.service.jobs import LeftError
from nas.service.queue import Queue
from nas.service.searches import Searches
from tests.nas.service.jobs.doing import claimed, do, searched, submitted
from tests.nas.service.searching import expire

pytestmark = pytest.mark.slow
STEPS = 4
RECOVERING = {
    "recovery": {"type": "lora_distillation", "steps": STEPS, "max_sequences": 8, "rank": 2, "checkpoint_every": 2}
}


class KilledError(BaseException):
    """Stands in for SIGKILL."""


def die_after(monkeypatch: pytest.MonkeyPatch, num_published: int) -> None:
    """Lets the process die when it has published so many checkpoints."""
    publish, published = Checkpoints.publish, list[str]()

    def counted(self: Checkpoints, name: str) -> None:
        publish(self, name)
        published.append(name)
        if len(published) == num_published:
            raise KilledError

    monkeypatch.setattr(Checkpoints, "publish", counted)


def counted_steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of the steps that finalists are trained for from now on."""
    numbers, step = list[int](), lora_distillation._Learning.step

    def counted(self: Any, batch: Any) -> Any:
        done = step(self, batch)
        numbers.append(done.number)
        return done

    monkeypatch.setattr(lora_distillation._Learning, "step", counted)
    return numbers


def found(database: Database, search_id: str) -> list[dict[str, Any]]:
    trials = Searches(database, Queue(database)).trials(search_id)
    return [{key: value for key, value in trial.items() if key != "duration_s"} for trial in trials]


def checkpoints_left(artifacts: str, search_id: str) -> list[str]:
    return [path.name for path in Path(artifacts).glob(f"searches/{search_id}/checkpoints/*")]


def killed(database: Database, artifacts: str, search_id: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Lets the worker of a search die after the first checkpoint of the first finalist; the checkpoint's name."""
    lease = claimed(database)
    with monkeypatch.context() as patched:
        die_after(patched, 1)
        with pytest.raises(KilledError):
            do(database, lease, artifacts)
    expire(database, lease)
    (name,) = checkpoints_left(artifacts, search_id)
    return name


def test_a_finalist_goes_on_from_the_checkpoint_of_a_dead_worker(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifacts = str(tmp_path / "artifacts")
    expected = found(database, searched(database, artifacts, **RECOVERING))
    search_id = submitted(database, **RECOVERING)
    killed(database, artifacts, search_id, monkeypatch)
    numbers = counted_steps(monkeypatch)
    do(database, claimed(database), artifacts)
    assert numbers[: STEPS - 2] == [3, 4]  # not from the first
    assert found(database, search_id) == expected
    assert checkpoints_left(artifacts, search_id) == []


def test_a_checkpoint_that_does_not_fit_is_removed_and_the_search_left_to_another_process(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifacts = str(tmp_path / "artifacts")
    search_id = submitted(database, **RECOVERING)
    name = killed(database, artifacts, search_id, monkeypatch)
    write_checkpoint(tmp_path / "unfit", {"of": "something else"})
    ArtifactStore(artifacts).publish(tmp_path / "unfit", f"searches/{search_id}/checkpoints/{name}")
    lease = claimed(database)
    with pytest.raises(LeftError, match=r"must be a checkpoint of a training in a run, .* It is removed, and the tr"):
        do(database, lease, artifacts)
    assert checkpoints_left(artifacts, search_id) == []
    expire(database, lease)
    numbers = counted_steps(monkeypatch)
    do(database, claimed(database), artifacts)
    assert numbers[:STEPS] == [1, 2, 3, 4]


@pytest.mark.parametrize("error", [CheckpointWriteError("No room."), TrainingStoppedError("Asked to stop.")])
def test_a_training_that_cannot_go_on_here_leaves_its_search_and_its_checkpoint(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    artifacts = str(tmp_path / "artifacts")
    search_id = submitted(database, **RECOVERING)
    name = killed(database, artifacts, search_id, monkeypatch)
    monkeypatch.setattr("nas.long_work.session.write_checkpoint", fail)
    with pytest.raises(LeftError, match=str(error)):
        do(database, claimed(database), artifacts)
    assert checkpoints_left(artifacts, search_id) == [name]
