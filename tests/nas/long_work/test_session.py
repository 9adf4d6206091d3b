"""A session alone; with trainings in it, in ``tests/contracts/test_long_trainings.py``."""

import math
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from nas.long_work import session as module
from nas.long_work.checkpoint import CheckpointError, read_checkpoint, write_checkpoint
from nas.long_work.session import NOWHERE, TrainingPlace


def test_nowhere_nothing_is_asked_for_and_nothing_is_kept() -> None:
    with NOWHERE.session(every=1, belongs_to=lambda: pytest.fail("asked")) as session:
        session.restore(lambda state: pytest.fail("restored"))
        session.end_step(1, 2, state=lambda: pytest.fail("kept"), scalars={"loss": 1.0})


def test_what_one_process_kept_another_takes_over(tmp_path: Path) -> None:
    place, found = TrainingPlace(checkpoint=tmp_path / "c"), list[Mapping[str, Any]]()
    for number in (2, 4):
        with place.session(every=2, belongs_to=lambda: {"seed": 1}) as session:
            session.restore(found.append)
            session.end_step(number - 1, 5, state=lambda: pytest.fail("not due"), scalars={})
            session.end_step(number, 5, state=lambda number=number: {"number": number}, scalars={})  # type: ignore[misc]
    assert found == [{"number": 2}]
    with place.session(every=2, belongs_to=lambda: {"seed": 2}) as session:
        with pytest.raises(CheckpointError, match=r"by .*c 'seed' was 1 and is now 2; undo the change, or remove that"):
            session.restore(found.append)
        with (
            pytest.raises(CheckpointError, match=r"but .*c does not \(KeyError: 'x'\); remove it"),
            session.explaining(),
        ):
            {}["x"]


def test_whoever_wants_to_know_is_told_of_every_checkpoint_once_it_is_whole(tmp_path: Path) -> None:
    numbers: list[int] = []
    place = TrainingPlace(
        checkpoint=tmp_path / "c", on_checkpoint=lambda: numbers.append(read_checkpoint(tmp_path / "c")["state"]["n"])
    )
    with place.session(every=2, belongs_to=dict) as session:
        for number in range(1, 6):
            session.end_step(number, 5, state=lambda number=number: {"n": number}, scalars={})  # type: ignore[misc]
    assert numbers == [2, 4, 5]


def test_a_checkpoint_of_another_kind_is_refused(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "c", {"num_done": 2})
    with (
        TrainingPlace(checkpoint=tmp_path / "c").session(every=2, belongs_to=dict) as session,
        pytest.raises(CheckpointError, match=r"c must be a checkpoint of a training in a run, but it is of something"),
    ):
        session.restore(lambda state: None)


def test_scalars_that_are_not_finite_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []

    @contextmanager
    def record(folder: Path) -> Any:
        yield lambda step, scalars: told.append((folder, step, scalars))

    monkeypatch.setattr(module, "tensorboard_scalars", record)
    with TrainingPlace(scalars=tmp_path).session(every=2, belongs_to=dict) as session:
        session.end_step(1, 3, state=dict, scalars={"loss": math.nan, "rate": 0.5, "norm": math.inf})
    assert told == [(tmp_path, 1, {"rate": 0.5})]
