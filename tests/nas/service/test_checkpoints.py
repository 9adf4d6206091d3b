"""Checkpoints among the artifacts: a worker goes on where another was, and a place that is away costs time alone."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from nas.artifacts import ArtifactStore
from nas.long_work.checkpoint import read_checkpoint, write_checkpoint
from nas.long_work.stopping import TrainingStoppedError
from nas.service.checkpoints import Checkpoints, PlacesInArtifacts
from nas.service.database import DatabaseError
from nas.service.queue import LeaseLostError
from nas.service.search_files import SearchFiles

STATE = {"a": torch.arange(1000.0), "number": 3}


class Process:
    """A worker's process, as far as checkpoints go."""

    def __init__(self, root: str, scratch: Path) -> None:
        self.called: list[str] = []
        self.problem: Exception | None = None
        files = SearchFiles(ArtifactStore(root), "s1", scratch)
        self.checkpoints = Checkpoints(files, hold=self._saying("hold"), get_on=self._saying("get on"))
        self.places = PlacesInArtifacts(self.checkpoints)

    def _saying(self, what: str) -> Callable[[], None]:
        def say() -> None:
            self.called.append(what)
            if self.problem is not None:
                raise self.problem

        return say

    def file_of(self, name: str) -> Path:
        file = self.places.of(name).checkpoint
        assert file is not None
        return file

    def write(self, name: str, number: int) -> None:
        place = self.places.of(name)
        assert place.checkpoint is not None
        write_checkpoint(place.checkpoint, STATE | {"number": number})
        place.on_checkpoint()


@pytest.fixture
def first(root: str, tmp_path: Path) -> Process:
    return Process(root, tmp_path / "first")


@pytest.fixture
def second(root: str, tmp_path: Path) -> Process:
    return Process(root, tmp_path / "second")


def test_another_process_goes_on_from_the_last_one(
    first: Process, second: Process, caplog: pytest.LogCaptureFixture
) -> None:
    assert not first.file_of("grain-5").exists()
    assert first.places.of("grain-5").scalars is None
    first.write("grain-5", 1)
    first.write("grain-5", 2)
    first.write("grain-6", 1)
    with caplog.at_level(logging.INFO):
        record = read_checkpoint(second.file_of("grain-5"))
    assert caplog.text.count("going on from the checkpoint grain-5.pt of a worker before") == 1
    assert record["number"] == 2
    assert torch.equal(record["a"], STATE["a"])
    second.write("grain-5", 3)
    assert read_checkpoint(first.file_of("grain-5"))["number"] == 2  # a process goes by its own while it has one
    assert first.called == ["hold", "get on"] * 3


def test_what_is_forgotten_is_gone_for_all(first: Process, second: Process) -> None:
    for name in ("a", "b", "c"):
        first.write(name, 1)
    first.places.forget("a")
    first.places.forget("a")
    assert not first.file_of("a").exists()
    assert not second.file_of("a").exists()
    assert second.file_of("b").exists()
    second.places.forget_all()  # it knows nothing of c
    second.places.forget_all()
    assert not second.file_of("b").exists()
    assert not second.file_of("c").exists()


@pytest.mark.parametrize("position", [0.5, -1])
def test_a_damaged_one_is_done_without(
    root: str, tmp_path: Path, first: Process, second: Process, position: float, caplog: pytest.LogCaptureFixture
) -> None:
    """A bit in the middle, or the end."""
    first.write("a", 1)
    content = bytearray(first.file_of("a").read_bytes())
    if position < 0:
        del content[-100:]
    else:
        content[int(position * len(content))] ^= 1
    (tmp_path / "damaged").write_bytes(content)
    ArtifactStore(root).publish(tmp_path / "damaged", "searches/s1/checkpoints/a.pt")
    assert not second.file_of("a").exists()
    assert "the checkpoint a.pt cannot be used, and its training begins anew: " in caplog.text


@pytest.mark.parametrize("problem", [LeaseLostError("It is another worker's."), DatabaseError("It is away.")])
def test_who_may_not_go_on_stops_and_publishes_nothing(first: Process, second: Process, problem: Exception) -> None:
    first.problem = problem
    with pytest.raises(TrainingStoppedError, match=str(problem)):
        first.write("a", 1)
    assert not second.file_of("a").exists()
    second.write("a", 2)
    for remove in (lambda: first.places.forget("a"), first.places.forget_all):
        with pytest.raises(type(problem), match=str(problem)):
            remove()
    first.problem = None
    assert read_checkpoint(first.file_of("a"))["number"] == 2


def test_a_place_that_is_away_costs_time_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "artifacts").write_text("in the way")
    process = Process(str(tmp_path / "artifacts"), tmp_path)
    process.write("a", 1)
    assert "the checkpoint a.pt could not be kept, and the training goes on: A place for artifacts" in caplog.text
    assert process.called == ["hold"]  # the search has not got on: whoever takes it up has nothing of it
    assert read_checkpoint(process.file_of("a"))["number"] == 1
    process.places.forget("a")
    process.places.forget_all()
    assert "checkpoints that nobody needs any more could not be removed: A place for artifacts" in caplog.text
