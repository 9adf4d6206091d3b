"""A training's state on disk: whole or not at all, and refused where it belongs to something else.

Everything random in a training is drawn from the seed and the number of the step (``randomness.py``), so the state is
the trained parameters, the optimiser's moments, and counts.
"""

import hashlib
import os
import pickle
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


class CheckpointError(ValueError):
    """A checkpoint that cannot be written, read or gone on with; the message says why and what to do."""


class CheckpointWriteError(CheckpointError):
    """There is no room for a checkpoint, or no permission; the one before it is as it was."""


def temporary_of(path: Path) -> Path:
    """Where a checkpoint is written before it takes its place."""
    return path.with_name(f".{path.name}.tmp")


def write_checkpoint(path: Path, record: Mapping[str, Any]) -> None:
    """Replaces the file; after a crash at any moment it is as before or as wanted.

    Args:
        path: The file; its folder is made where there is none.
        record: Tensors, numbers, texts, and lists and dicts of them.

    Raises:
        CheckpointWriteError: There is no room, or the folder cannot be written to.
    """
    temporary = temporary_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            torch.save(dict(record), file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, RuntimeError) as error:  # torch wraps what the system says
        with suppress(OSError):  # what stood in the way of writing may stand in the way of this
            temporary.unlink(missing_ok=True)
        raise CheckpointWriteError(
            f"There must be room to write to {path.parent}, but the checkpoint could not be written ({error}); "
            "free some space and repeat with --resume."
        ) from error


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Reads what ``write_checkpoint`` wrote, onto the CPU.

    Raises:
        CheckpointError: The file is damaged.
    """
    try:
        record = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(record, dict):
            raise TypeError(type(record).__name__)
    except (OSError, RuntimeError, TypeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise CheckpointError(
            f"{path} must be a checkpoint as a training wrote it, but it cannot be read ({type(error).__name__}); "
            "remove it to begin that training anew."
        ) from error
    return record


def restore_parameters(parameters: Mapping[str, nn.Parameter], saved: Mapping[str, Tensor], path: Path) -> None:
    """Writes saved values into parameters.

    Raises:
        CheckpointError: Others were saved.
    """
    shapes = {name: tuple(one.shape) for name, one in parameters.items()}
    if shapes != {name: tuple(one.shape) for name, one in saved.items()}:
        raise CheckpointError(
            f"A checkpoint must hold the parameters that are trained, {len(shapes)} here, got {len(saved)} of other "
            f"names or shapes in {path}; remove it to begin that training anew."
        )
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(saved[name])


def restore_optimizer(optimizer: Optimizer, saved: Mapping[str, Any], path: Path) -> None:
    """Gives an optimiser the state that was saved.

    Args:
        optimizer: Over the parameters that are trained.
        saved: Its ``state_dict`` of before.
        path: Where that is from.

    Raises:
        CheckpointError: It is of other parameters.
    """
    try:
        optimizer.load_state_dict(dict(saved))
        for parameter, state in optimizer.state.items():  # torch itself counts parameters, and no more
            _require_shapes(parameter, state)
    except (ValueError, KeyError, RuntimeError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"A checkpoint's optimiser state must be of the parameters that are trained, but that of {path} "
            f"is not ({error}); remove it to begin that training anew."
        ) from error


def _require_shapes(parameter: Tensor, state: Mapping[str, Any]) -> None:
    for name, one in state.items():
        if isinstance(one, Tensor) and one.dim() and one.shape != parameter.shape:
            raise ValueError(f"{name} of {tuple(one.shape)} for a parameter of {tuple(parameter.shape)}")


def fingerprint(model: nn.Module) -> str:
    """16 hexadecimal digits that name a model's weights: their names, shapes, types and values."""
    return _digest(model.state_dict().items())


def fingerprint_of_examples(batches: Iterable[Mapping[str, Tensor]]) -> str:
    """16 hexadecimal digits that name what a training learns from.

    Args:
        batches: Tensors by name, in the order of the batches.
    """
    return _digest((f"{number} {name}", one) for number, batch in enumerate(batches) for name, one in batch.items())


def _digest(tensors: Iterable[tuple[str, Tensor]]) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for name, tensor in tensors:
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
