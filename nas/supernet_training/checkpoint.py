"""A training's state on disk: whole or not at all, and refused where it belongs to something else.

Everything random in a training is drawn from the seed and the number of the step, so the state is the trained
parameters, the optimiser's moments, and counts.
"""

import hashlib
import os
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


class CheckpointError(ValueError):
    """A checkpoint that cannot be written, read or gone on with; the message says why and what to do."""


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
    """

    num_done: int
    model: str
    parameters: dict[str, Tensor]
    optimizer: dict[str, Any]
    scaler: dict[str, Any]
    num_bad: int
    num_skipped: int
    losses: list[tuple[float, float, float]]

    def save(self, path: Path) -> None:
        """Replaces the file; after a crash at any moment it is as before or as wanted.

        Raises:
            CheckpointError: There is no room, or the folder cannot be written to.
        """
        temporary = path.with_name(f".{path.name}.tmp")
        try:
            with temporary.open("wb") as file:
                torch.save({name: getattr(self, name) for name in self.__slots__}, file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except (OSError, RuntimeError) as error:  # torch wraps what the system says
            temporary.unlink(missing_ok=True)
            raise CheckpointError(
                f"There must be room to write to {path.parent}, but the checkpoint could not be written ({error}); "
                "free some space and repeat with --resume."
            ) from error

    @classmethod
    def load(cls, path: Path, *, model: str) -> "Checkpoint":
        """Reads what ``save`` wrote.

        Args:
            path: The file.
            model: The fingerprint of the model at hand.

        Raises:
            CheckpointError: The file is damaged, or of a training that began with another model.
        """
        try:
            checkpoint = cls(**torch.load(path, map_location="cpu", weights_only=True))
        except (OSError, RuntimeError, TypeError, EOFError, pickle.UnpicklingError) as error:
            raise CheckpointError(
                f"{path} must be a checkpoint as `nas train-supernet` wrote it, but it cannot be read "
                f"({type(error).__name__}); delete it to begin anew."
            ) from error
        if checkpoint.model != model:
            raise CheckpointError(
                f"A training goes on with the model that it began with, and that of {path} had other weights "
                f"({checkpoint.model} against {model}); give that model, or start with another --out."
            )
        return checkpoint


def restore_parameters(parameters: dict[str, nn.Parameter], saved: dict[str, Tensor]) -> None:
    """Writes saved values into parameters.

    Raises:
        CheckpointError: Others were saved.
    """
    shapes = {name: tuple(one.shape) for name, one in parameters.items()}
    if shapes != {name: tuple(one.shape) for name, one in saved.items()}:
        raise CheckpointError(
            f"A checkpoint must hold the parameters that are trained, {len(shapes)} here, got {len(saved)} of other "
            "names or shapes; start with another --out."
        )
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(saved[name])


def fingerprint(model: nn.Module) -> str:
    """16 hexadecimal digits that name a model's weights: their names, shapes, types and values."""
    digest = hashlib.blake2b(digest_size=8)
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
