"""Training of an encoder and its task head on labelled batches.

AdamW (arXiv:1711.05101) without decay of biases and norms, gradients clipped to a norm, and a rate that rises linearly
over the first steps and falls linearly to 0 at the last, as in arXiv:1810.04805. Batches hold examples of like length
and stay as they are; their order is drawn anew in every epoch.
"""

import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch.optim import AdamW
from transformers import PreTrainedModel, get_linear_schedule_with_warmup

from evaluators.inputs import Batch, require_positions
from nas.accelerating import accelerator_for, batch_of_step, parameter_groups
from nas.finetuning.config import FinetuneConfig


class FinetuningError(ValueError):
    """A fine-tuning that cannot begin or go on; the message says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """How training stands after a step.

    Attributes:
        number: Steps done.
        num_steps: Steps in all.
        loss: Of this step's batch.
    """

    number: int
    num_steps: int
    loss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What training took.

    Attributes:
        losses: One a step.
        duration_s: Seconds in all.
    """

    losses: tuple[float, ...]
    duration_s: float

    @property
    def final_loss(self) -> float:
        """Mean over the last tenth of the steps."""
        last = self.losses[-max(1, len(self.losses) // 10) :]
        return math.fsum(last) / len(last)


def train(
    model: PreTrainedModel, batches: Sequence[Batch], config: FinetuneConfig, *, on_step: Callable[[Step], None]
) -> Training:
    """Trains all weights in place, and leaves the model in eval mode on its device.

    Args:
        model: With a head that computes a loss from the batches' labels.
        batches: Labelled.
        config: Rates, sizes and number of steps; its model and task are not looked at.
        on_step: Called after every step.

    Raises:
        AcceleratorError: fp16 without a GPU, or another precision than earlier in this process.
        FinetuningError: A loss that is NaN or infinite.
        EvaluationError: A batch is longer than the model's context.
    """
    require_positions(model, max(batch.inputs["input_ids"].shape[1] for batch in batches))
    accelerator = accelerator_for(config.model.device, config.mixed_precision)
    num_steps = min(config.epochs * len(batches), config.max_steps or sys.maxsize)
    optimizer = AdamW(parameter_groups(model.parameters(), config.weight_decay), lr=config.learning_rate)
    scheduler = get_linear_schedule_with_warmup(optimizer, round(config.warmup_share * num_steps), num_steps)
    prepared, optimizer, scheduler = accelerator.prepare(model, optimizer, scheduler)
    prepared.train()
    losses: list[float] = []
    begun_s = time.monotonic()
    for step in range(num_steps):
        placed = batch_of_step(batches, config.seed, step).to(accelerator.device)
        loss = prepared(**placed.inputs, **placed.labels).loss
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            raise FinetuningError(
                f"The training loss must be finite, got {losses[-1]} at step {len(losses)}; lower learning_rate, or "
                "set mixed_precision to 'no'."
            )
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(prepared.parameters(), config.max_grad_norm)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        on_step(Step(number=len(losses), num_steps=num_steps, loss=losses[-1]))
    accelerator.unwrap_model(prepared, keep_fp32_wrapper=False).eval()
    return Training(losses=tuple(losses), duration_s=time.monotonic() - begun_s)
