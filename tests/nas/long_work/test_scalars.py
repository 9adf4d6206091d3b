import sys
import types
from pathlib import Path
from typing import Any

import pytest

from nas.long_work.scalars import ScalarsError, tensorboard_scalars


def test_without_the_package_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with (
        pytest.raises(
            ScalarsError, match=r"needs the package tensorboard, and it is not installed; pip install 'nas-ll"
        ),
        tensorboard_scalars(tmp_path),
    ):
        pass


def test_later_steps_of_an_interrupted_training_are_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer is told at which step this training goes on."""
    told: list[Any] = []

    class SummaryWriter:
        def __init__(self, folder: str, purge_step: int) -> None:
            told.append((folder, purge_step))

        def add_scalar(self, name: str, value: float, step: int) -> None:
            told.append((name, value, step))

        def close(self) -> None:
            told.append("closed")

    package = types.ModuleType("torch.utils.tensorboard")
    package.SummaryWriter = SummaryWriter  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", package)
    with tensorboard_scalars(tmp_path) as record:
        record(7, {"loss": 1.0})
        record(8, {"loss": 0.5})
    assert told == [(str(tmp_path), 7), ("loss", 1.0, 7), ("loss", 0.5, 8), "closed"]
