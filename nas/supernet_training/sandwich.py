"""The gradients of one step by the sandwich rule (arXiv:1903.05134, arXiv:1908.09791).

The largest sub-network, the supernet itself, is trained on the true loss. The smallest and some random ones are trained
on what the largest says of the same batch, or on the true loss too. Or all of them, the largest too, learn from the
model that training began with, which the papers have no need of: they train it on its task first, and a pre-trained
model has not seen its text. Gradients meet in the shared weights, the mean over the passes, so that the norm is of the
size that it has in plain fine-tuning. (The papers take the sum; an optimiser such as AdamW does not tell them apart,
but clipping does.)
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from evaluators.inputs import Batch
from nas.supernet.supernet import Supernet
from nas.supernet_training.config import DistillationConfig
from nas.supernet_training.losses import divergence, predict, teacher_of
from nas.supernet_training.original import Original
from search_spaces.sub_network import SubNetwork

Backward = Callable[[Tensor], None]


def sandwich_gradients(
    supernet: Supernet,
    batch: Batch,
    sub_networks: Sequence[SubNetwork],
    distillation: DistillationConfig,
    *,
    original: Original | None = None,
    backward: Backward,
    autocast: Callable[[], AbstractContextManager[None]],
) -> Tensor:
    """Adds to the gradients of the supernet's trainable parameters.

    Args:
        supernet: With nothing active; what is trained requires a gradient.
        batch: On its device.
        sub_networks: To train besides the supernet; each keeps the first units of its layers.
        distillation: What they learn from.
        original: The teacher of all; without it the largest is that of the others.
        backward: Called with each pass's share of the loss.
        autocast: The precision of the passes.

    Returns:
        ``(1 + num_sub_networks,)`` float32, detached: the loss of each pass, the supernet's first.
    """
    share, predicts_tokens = 1 / (1 + len(sub_networks)), supernet.predicts_tokens
    teacher = None if original is None else original.teaches(batch, autocast)
    with autocast():
        largest = predict(supernet.model, batch, predicts_tokens=predicts_tokens)
    loss = largest.loss() if teacher is None else divergence(largest.logits_NV, teacher, distillation)
    if teacher is None and distillation.type != "none":
        teacher = teacher_of(largest.logits_NV, distillation)
    losses = [loss.detach()]
    backward(share * loss)
    del largest, loss  # logits are the largest thing around
    for sub_network in sub_networks:
        with supernet.activate(sub_network) as model:
            with autocast():
                student = predict(model, batch, predicts_tokens=predicts_tokens)
            loss = student.loss() if teacher is None else divergence(student.logits_NV, teacher, distillation)
            losses.append(loss.detach())
            backward(share * loss)
    return torch.stack(losses)
