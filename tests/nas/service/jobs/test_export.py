"""Exports of trials with weights of their own: those that were kept, or made again where they are lost."""

from pathlib import Path

import pytest

from nas.artifacts import ArtifactStore
from nas.recovered import is_recovered
from nas.recovery.lora_distillation import LoraDistillation
from nas.service.database import Database
from nas.service.queue import Queue
from nas.service.searches import Searches
from nas.trial import Trial
from tests.nas.service.jobs.doing import exported, perplexity, searched

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("_in_this_process")]
RECOVERY = {"type": "lora_distillation", "steps": 3, "max_sequences": 8, "rank": 2}


def trials_of(database: Database, search_id: str) -> tuple[Trial, ...]:
    return Searches(database, Queue(database)).results(search_id).trials


def test_recovered_weights_are_those_that_were_kept(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    artifacts = str(tmp_path / "artifacts")
    search_id = searched(database, artifacts, recovery=RECOVERY)
    trial = next(one for one in trials_of(database, search_id) if is_recovered(one))
    expected = pytest.approx(trial.measurements["perplexity"].value, rel=1e-6)
    with monkeypatch.context() as patched:
        patched.setattr(LoraDistillation, "__call__", lambda *_, **__: pytest.fail("trained in vain"))
        assert perplexity(exported(database, search_id, trial.number, artifacts, tmp_path / "kept")) == expected

    (tmp_path / "file").write_bytes(b"damaged")
    name = f"searches/{search_id}/weights/{trial.sub_network.key}-recovered.safetensors"
    ArtifactStore(artifacts).publish(tmp_path / "file", name)
    with database.transaction() as connection:  # so that it is asked for anew
        connection.exec_driver_sql("UPDATE jobs SET state = 'failed' WHERE kind = 'export'")
    assert perplexity(exported(database, search_id, trial.number, artifacts, tmp_path / "again")) == expected
    assert "kept cannot be used and are made again" in caplog.text


def test_trained_weights_are_those_that_were_kept(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifacts = str(tmp_path / "artifacts")
    keys = {"strategy": {"type": "random", "seeds": ["grain"]}, "trained_pruners": {"grain": {"steps": 10}}}
    search_id = searched(database, artifacts, **keys)
    trial = trials_of(database, search_id)[2]
    assert trial.source == "grain"
    monkeypatch.setattr("nas.export.weights.train_again", lambda *_: pytest.fail("trained in vain"))
    folder = exported(database, search_id, trial.number, artifacts, tmp_path / "kept")
    assert perplexity(folder) == pytest.approx(trial.measurements["perplexity"].value, rel=1e-6)
