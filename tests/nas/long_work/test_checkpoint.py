from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from nas.long_work.checkpoint import (
    CheckpointError,
    CheckpointWriteError,
    fingerprint,
    fingerprint_of_examples,
    read_checkpoint,
    restore_optimizer,
    restore_parameters,
    write_checkpoint,
)

PATH = Path("run/c.pt")


def test_what_is_written_is_read_and_a_folder_is_made(tmp_path: Path) -> None:
    record = {"step": 3, "units": torch.tensor([True, False]), "losses": [1.5, (2.0, "x")]}
    write_checkpoint(tmp_path / "new" / "c", record)
    found = read_checkpoint(tmp_path / "new" / "c")
    assert found["units"].tolist() == [True, False]
    assert (found["step"], found["losses"]) == (3, [1.5, (2.0, "x")])


def test_a_crash_while_writing_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_checkpoint(tmp_path / "c", {"step": 2})

    def fail(record: Any, file: Any) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(
        CheckpointWriteError, match=r"room to write to .*No space left.*; free some space and repeat with"
    ):
        write_checkpoint(tmp_path / "c", {"step": 3})
    assert [path.name for path in tmp_path.iterdir()] == ["c"]
    assert read_checkpoint(tmp_path / "c") == {"step": 2}


def test_a_folder_that_is_none_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CheckpointWriteError, match=r"room to write to .*file, but the checkpoint could not be written"):
        write_checkpoint(tmp_path / "file" / "c", {"step": 3})


@pytest.mark.parametrize("content", [b"", b"nonsense", None])
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes | None) -> None:
    write_checkpoint(tmp_path / "c", {"step": 2})
    whole = (tmp_path / "c").read_bytes()
    (tmp_path / "c").write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(CheckpointError, match=r"must be a checkpoint as a training wrote it, .* remove it to begin"):
        read_checkpoint(tmp_path / "c")


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    torch.save({"step": Path("x")}, tmp_path / "c")
    with pytest.raises(CheckpointError, match=r"it cannot be read \(UnpicklingError\)"):
        read_checkpoint(tmp_path / "c")
    torch.save([1], tmp_path / "c")
    with pytest.raises(CheckpointError, match=r"it cannot be read \(TypeError\)"):
        read_checkpoint(tmp_path / "c")


def test_other_parameters_are_refused() -> None:
    parameter = nn.Parameter(torch.zeros(3))
    restore_parameters({"w": parameter}, {"w": torch.arange(3.0)}, PATH)
    assert parameter.tolist() == [0.0, 1.0, 2.0]
    with pytest.raises(
        CheckpointError, match=r"the parameters that are trained, 1 here, got 1 of other .*c.pt; remove"
    ):
        restore_parameters({"v": parameter}, {"w": torch.arange(3.0)}, PATH)


def stepped(*shapes: tuple[int, ...]) -> torch.optim.AdamW:
    parameters = [nn.Parameter(torch.ones(shape)) for shape in shapes]
    optimizer = torch.optim.AdamW(parameters)
    for one in parameters:
        one.grad = torch.ones_like(one)
    optimizer.step()
    return optimizer


@pytest.mark.parametrize("shapes", [[(3,)], [(3,), (5,)], [(3,), (4,), (4,)]])
def test_an_optimiser_state_of_other_parameters_is_refused(shapes: list[tuple[int, ...]]) -> None:
    """More, fewer, and as many of other shapes, which torch takes without a word."""
    restore_optimizer(stepped((3,), (4,)), stepped((3,), (4,)).state_dict(), PATH)
    with pytest.raises(
        CheckpointError, match=r"state must be of the parameters that are trained, but that of .*c.pt is"
    ):
        restore_optimizer(stepped((3,), (4,)), stepped(*shapes).state_dict(), PATH)


def test_the_fingerprint_is_of_names_types_and_values() -> None:
    module = nn.Linear(3, 2)
    before = fingerprint(module)
    assert fingerprint(module) == before
    others = [nn.Linear(3, 2), nn.Linear(3, 2, bias=False).bfloat16()]
    with torch.no_grad():
        others[0].weight.copy_(module.weight)
        others[0].bias.copy_(module.bias)
        assert fingerprint(others[0]) == before
        others[0].bias[0] += 1
    assert len({before, *map(fingerprint, others)}) == 3


def test_the_fingerprint_of_examples_is_of_their_order_too() -> None:
    one, other = {"input_ids": torch.tensor([[1, 2]])}, {"input_ids": torch.tensor([[1, 3]])}
    assert len({fingerprint_of_examples(batches) for batches in ([one, other], [other, one], [one])}) == 3
