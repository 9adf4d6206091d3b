"""What trainings have in common: accelerate on the right device, which parameters decay, the order of batches."""

import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn

from evaluators.inputs import Batch
from nas.supernet.loading import pick_device


class AcceleratorError(ValueError):
    """A device or a precision that cannot be trained in; the message says why and what to set."""


def accelerator_for(device: str, mixed_precision: str) -> Accelerator:
    """accelerate, set up for this process.

    Args:
        device: As ``Supernet.load`` takes it. Under ``accelerate launch`` each process takes the device of its own.
        mixed_precision: ``no``, ``bf16`` or ``fp16``.

    Raises:
        AcceleratorError: fp16 without a GPU, or another precision or kind of device than earlier in this process.
        ModelLoadingError: The device is not here.
    """
    picked = pick_device(device)
    if mixed_precision == "fp16" and picked.type != "cuda":
        raise AcceleratorError(
            f"mixed_precision fp16 needs a CUDA GPU, got the device {picked.type}; set bf16 or 'no'."
        )
    if picked.type == "cuda" and "LOCAL_RANK" not in os.environ:
        torch.cuda.set_device(picked)  # accelerate takes the current one
    try:
        return Accelerator(mixed_precision=mixed_precision, cpu=picked.type == "cpu")
    except ValueError as error:
        raise AcceleratorError(
            "A process must train in one precision on one kind of device, since accelerate keeps both, got "
            f"mixed_precision {mixed_precision} on {picked.type} after others; start a new process."
        ) from error


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
