from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from nas.long_work.checkpoint import CheckpointError, read_checkpoint, write_checkpoint
from nas.supernet_training.checkpoint import Checkpoint

CHECKPOINT = Checkpoint(
    num_done=2,
    model="abc",
    parameters={"w": torch.arange(3.0)},
    optimizer={"state": {0: {"step": torch.tensor(2.0)}}, "param_groups": []},
    scaler={},
    num_bad=0,
    num_skipped=1,
    losses=[(1.0, 2.0, 3.0), (1.0, float("nan"), 3.0)],
    data="def",
)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    CHECKPOINT.save(tmp_path / "c")
    loaded = Checkpoint.load(tmp_path / "c", model="abc", data="def")
    assert torch.equal(loaded.parameters["w"], CHECKPOINT.parameters["w"])
    assert (loaded.num_done, loaded.num_skipped, loaded.optimizer) == (2, 1, CHECKPOINT.optimizer)
    assert str(loaded.losses) == str(CHECKPOINT.losses)


def test_a_crash_while_writing_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    CHECKPOINT.save(tmp_path / "c")

    def fail(record: Any, file: Any) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(CheckpointError, match=r"room to write to .*No space left.*; free some space and repeat with"):
        replace(CHECKPOINT, num_done=3).save(tmp_path / "c")
    assert [path.name for path in tmp_path.iterdir()] == ["c"]
    assert Checkpoint.load(tmp_path / "c", model="abc", data="def").num_done == 2


@pytest.mark.parametrize("content", [b"", b"nonsense", None])
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes | None) -> None:
    CHECKPOINT.save(tmp_path / "c")
    whole = (tmp_path / "c").read_bytes()
    (tmp_path / "c").write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(CheckpointError, match="must be a checkpoint as a training wrote it, but it cannot be read"):
        Checkpoint.load(tmp_path / "c", model="abc", data="def")


def test_another_model_is_refused(tmp_path: Path) -> None:
    CHECKPOINT.save(tmp_path / "c")
    with pytest.raises(CheckpointError, match=r"had other weights \(abc against xyz\); give that model"):
        Checkpoint.load(tmp_path / "c", model="xyz", data="def")


def test_other_data_are_refused(tmp_path: Path) -> None:
    CHECKPOINT.save(tmp_path / "c")
    with pytest.raises(CheckpointError, match=r"those of .* were others \(def against uvw\); give those, or start"):
        Checkpoint.load(tmp_path / "c", model="abc", data="uvw")


def test_one_from_before_data_were_known_is_loaded(tmp_path: Path) -> None:
    CHECKPOINT.save(tmp_path / "c")
    record = read_checkpoint(tmp_path / "c")
    del record["data"]
    write_checkpoint(tmp_path / "c", record)
    assert Checkpoint.load(tmp_path / "c", model="abc", data="uvw").num_done == 2


def test_that_of_something_else_is_refused(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "c", {"num_done": 3})
    with pytest.raises(CheckpointError, match="must be a checkpoint of a supernet's training, but it is of something"):
        Checkpoint.load(tmp_path / "c", model="abc", data="def")
