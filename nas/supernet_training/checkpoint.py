"""The state of a supernet's training on disk."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from nas.long_work.checkpoint import CheckpointError, read_checkpoint, write_checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """How a training stood after a step.

    Attributes:
        num_done: Steps done.
        model: The fingerprint of the model that it began with.
        parameters: What is trained, by name.
        optimizer: Its state.
        scaler: That of the gradients' scaling; empty without.
        num_bad: Bad steps in a row at the end.
        num_skipped: Bad steps in all.
        losses: Of every step: the largest's, the smallest's, the mean of the random ones'.
        data: The fingerprint of what it learns from; empty in checkpoints of versions that did not keep it.
    """

    num_done: int
    model: str
    parameters: dict[str, Tensor]
    optimizer: dict[str, Any]
    scaler: dict[str, Any]
    num_bad: int
    num_skipped: int
    losses: list[tuple[float, float, float]]
    data: str = ""

    def save(self, path: Path) -> None:
        """Replaces the file, as ``write_checkpoint`` does; errors are its."""
        write_checkpoint(path, {name: getattr(self, name) for name in self.__slots__})

    @classmethod
    def load(cls, path: Path, *, model: str, data: str) -> "Checkpoint":
        """Reads what ``save`` wrote.

        Args:
            path: The file.
            model: The fingerprint of the model at hand.
            data: The fingerprint of the data at hand.

        Raises:
            CheckpointError: The file is damaged, or of a training that began with another model or other data.
        """
        record = read_checkpoint(path)
        try:
            checkpoint = cls(**record)
        except TypeError as error:
            raise CheckpointError(
                f"{path} must be a checkpoint of a supernet's training, but it is of something else; remove it to "
                "begin that training anew."
            ) from error
        if checkpoint.model != model:
            raise CheckpointError(
                f"A training goes on with the model that it began with, and that of {path} had other weights "
                f"({checkpoint.model} against {model}); give that model, or start with another --out."
            )
        if checkpoint.data not in ("", data):
            raise CheckpointError(
                f"A training goes on with the text or the examples that it began with, and those of {path} were others "
                f"({checkpoint.data} against {data}); give those, or start with another --out."
            )
        return checkpoint
