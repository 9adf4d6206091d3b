"""What trainings have in common: accelerate on the right device, which parameters decay, the order of batches."""

import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, is_initialized
from torch import nn

from evaluators.inputs import Batch
from nas.supernet.loading import pick_device


class AcceleratorError(ValueError):
    """A device or a precision that cannot be trained in; the message says why and what to set."""


def accelerator_for(device: str, mixed_precision: str) -> Accelerator:
    """accelerate, set up for a training in this process. What an earlier one made is of no use afterwards.

    Args:
        device: As ``Supernet.load`` takes it. Under ``accelerate launch`` each process takes the device of its own.
        mixed_precision: ``no``, ``bf16`` or ``fp16``.

    Raises:
        AcceleratorError: fp16 without a GPU, a precision that the device has not, or another kind of device than
            processes launched together have agreed on.
        ModelLoadingError: The device is not here.
    """
    picked = pick_device(device)
    if mixed_precision == "fp16" and picked.type != "cuda":
        raise AcceleratorError(
            f"mixed_precision fp16 needs a CUDA GPU, got the device {picked.type}; set bf16 or 'no'."
        )
    if picked.type == "cuda" and "LOCAL_RANK" not in os.environ:
        torch.cuda.set_device(picked)  # accelerate takes the current one
    _forget_others(picked, mixed_precision)
    try:
        return Accelerator(mixed_precision=mixed_precision, cpu=picked.type == "cpu")
    except ValueError as error:
        raise AcceleratorError(
            f"mixed_precision must be one that the device computes in, got {mixed_precision} on {picked.type} "
            f"({str(error).rstrip('.')}); set 'no'."
        ) from error


def _forget_others(picked: torch.device, mixed_precision: str) -> None:
    """Lets go of the precision and the device of an earlier training, which accelerate keeps for the whole process.

    A search may train its supernet in bfloat16 and a seed in float32. What connects processes stays as it is.
    """
    if not is_initialized():
        return
    state = AcceleratorState()
    is_distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    if state.device.type != picked.type and is_distributed:
        raise AcceleratorError(
            "Processes that were launched together must train on one kind of device, got "
            f"{picked.type} after {state.device.type}; start new ones."
        )
    if state.device.type != picked.type or state.mixed_precision != mixed_precision:
        AcceleratorState._reset_state(reset_partial_state=not is_distributed)


def parameter_groups(parameters: Iterable[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Parameters that decay (matrices), and those that do not (biases, norms)."""
    parameters = list(parameters)
    return [
        {"params": [one for one in parameters if one.dim() > 1], "weight_decay": weight_decay},
        {"params": [one for one in parameters if one.dim() < 2], "weight_decay": 0.0},
    ]


def batch_of_step(batches: Sequence[Batch], seed: int, step: int) -> Batch:
    """What a step learns from: all batches in an order drawn from the seed and the epoch, again and again.

    Args:
        batches: At least one.
        seed: Of the training.
        step: From 0. A training that was cut short goes on with the batch it was at.
    """
    epoch, position = divmod(step, len(batches))
    return batches[int(np.random.default_rng((seed, epoch)).permutation(len(batches))[position])]
