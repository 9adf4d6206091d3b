"""The training loop: steps by the sandwich rule, checkpoints, and what to do about a loss that is not finite.

AdamW (arXiv:1711.05101) on float32 weights, without decay of biases and norms; the rate rises linearly over the first
steps and falls linearly to 0 after the last. Everything random in a step comes from the seed and the step's number.

With several processes (``accelerate launch``) each trains the same sub-networks on batches of its own, and gradients
are averaged once a step. DistributedDataParallel would average after every pass, and lose sight of parameters that a
sub-network does not use.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor
from torch.optim import AdamW

from nas.accelerating import parameter_groups
from nas.long_work.bad_steps import BadSteps
from nas.long_work.checkpoint import restore_optimizer, restore_parameters
from nas.long_work.randomness import step_seed
from nas.long_work.session import untold
from nas.long_work.stopping import end_step
from nas.supernet.supernet import Supernet
from nas.supernet_training.checkpoint import Checkpoint
from nas.supernet_training.config import SupernetTrainingConfig
from nas.supernet_training.data import TrainingData
from nas.supernet_training.lora import Adapters
from nas.supernet_training.original import Original
from nas.supernet_training.sampling import Sampler
from nas.supernet_training.sandwich import sandwich_gradients
from search_spaces.sub_network import SubNetwork


class TrainingError(ValueError):
    """A supernet's training that cannot begin or go on; the message says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SupernetStep:
    """How training stands after a step.

    Attributes:
        number: Steps done.
        num_steps: Steps in all.
        loss: The supernet's, on the true loss or on what it learns from; NaN or infinite where the step was skipped.
        smallest: The smallest sub-network's, on what it learns from.
        random: The random ones' mean; NaN where there are none.
        learning_rate: Of this step.
        tokens_per_s: Tokens of the batches, each counted once a step.
    """

    number: int
    num_steps: int
    loss: float
    smallest: float
    random: float
    learning_rate: float
    tokens_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Curriculum:
    """What is trained on what.

    Attributes:
        sampler: Draws sub-networks; all keep the first units of their layers.
        data: To learn from.
    """

    sampler: Sampler
    data: TrainingData

    def sub_networks(self, step: int, config: SupernetTrainingConfig) -> list[SubNetwork]:
        """What a step trains besides the supernet: the smallest and the random ones."""
        rng = np.random.default_rng((config.seed, step))
        return [self.sampler.smallest(rng), *(self.sampler.draw(rng) for _ in range(config.sandwich.num_random))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What training took.

    Attributes:
        losses: Of every step: the largest's, the smallest's, the mean of the random ones'.
        num_skipped: Steps whose loss or gradient was not finite.
        num_trained: Parameters that were trained.
    """

    losses: Sequence[tuple[float, float, float]]
    num_skipped: int
    num_trained: int


def train(
    supernet: Supernet,
    curriculum: Curriculum,
    config: SupernetTrainingConfig,
    accelerator: Accelerator,
    *,
    path: Path,
    model: str,
    on_step: Callable[[SupernetStep], None],
    on_checkpoint: Callable[[], None] = untold,
    must_stop: Callable[[], bool],
) -> Training:
    """Trains a supernet in place, from the checkpoint if there is one, and leaves it at rest: frozen, in eval mode.

    Args:
        supernet: In float32 on the accelerator's device, its units ordered by the space's ranking.
        curriculum: What is trained on what.
        config: Rates, sizes and number of steps.
        accelerator: Of this process.
        path: Of the checkpoint, which is kept at the end.
        model: The fingerprint of the model that training began with.
        on_step: Called after every step.
        on_checkpoint: Called whenever the checkpoint has been written, and is whole.
        must_stop: Asked after every step; True ends training with a checkpoint.

    Raises:
        TrainingError: The loss was not finite for too many steps in a row.
        TrainingStoppedError: ``must_stop`` said so.
        CheckpointError: The checkpoint does not fit, or cannot be written.
    """
    devices = range(torch.cuda.device_count())
    with torch.random.fork_rng(devices):
        loop = _Loop(supernet, curriculum, config, accelerator, path=path, model=model)

        def save() -> None:
            loop.save()
            on_checkpoint()

        for step in range(len(loop.losses), config.steps):
            on_step(loop.step(step))
            end_step(
                step + 1,
                config.steps,
                every=config.checkpoint_every,
                must_stop=must_stop,
                save=save,
                kept_in=path.parent,
            )
        return loop.end()


class _Loop:
    """The state of a training in progress."""

    def __init__(
        self,
        supernet: Supernet,
        curriculum: Curriculum,
        config: SupernetTrainingConfig,
        accelerator: Accelerator,
        *,
        path: Path,
        model: str,
    ) -> None:
        self._supernet, self._curriculum, self._config = supernet, curriculum, config
        self._accelerator, self._path = accelerator, path
        self._model, self._data = model, curriculum.data.fingerprint
        self._adapters: Adapters | None = None
        if config.lora is None:
            supernet.model.requires_grad_(True)
        else:
            generator = torch.Generator().manual_seed(config.seed)
            self._adapters = Adapters.attach(
                supernet,
                rank=config.lora.rank,
                alpha=config.lora.alpha,
                norms=config.lora.norms,
                generator=generator,
            )
        self._original = (
            Original(supernet, config.distillation, self._adapters)
            if config.distillation.teacher == "original"
            else None
        )
        self._parameters = {name: one for name, one in supernet.model.named_parameters() if one.requires_grad}
        groups = parameter_groups(self._parameters.values(), config.weight_decay)
        self._optimizer: Any = accelerator.prepare(AdamW(groups, lr=config.learning_rate))
        self._bad = BadSteps(limit=config.max_bad_steps)
        self.losses: list[tuple[float, float, float]] = []
        if path.exists():
            self._restore(Checkpoint.load(path, model=model, data=self._data))
        for parameter in self._parameters.values():
            parameter.grad = torch.zeros_like(parameter)
        supernet.model.train()

    def step(self, number: int) -> SupernetStep:
        """Trains for one step, or skips it where its loss or gradient is not finite."""
        begun_s = time.monotonic()
        torch.manual_seed(step_seed(self._config.seed, number))  # dropout
        rate = self._config.learning_rate * rate_share(number, self._config)
        losses_P, num_tokens = self._gradients(number)
        norm = self._accelerator.clip_grad_norm_(self._parameters.values(), self._config.max_grad_norm)
        is_good = bool(torch.isfinite(losses_P).all()) and bool(torch.isfinite(norm))
        if is_good or self._accelerator.scaler is not None:  # which leaves such steps out itself, and scales less then
            for group in self._optimizer.param_groups:
                group["lr"] = rate
            self._optimizer.step()
        for parameter in self._parameters.values():
            assert parameter.grad is not None
            parameter.grad.zero_()
        largest, smallest, *random = losses_P.tolist()
        self.losses.append((largest, smallest, math.fsum(random) / len(random) if random else math.nan))
        self._count(number, is_good)
        return SupernetStep(
            number=number + 1,
            num_steps=self._config.steps,
            loss=largest,
            smallest=smallest,
            random=self.losses[-1][2],
            learning_rate=rate,
            tokens_per_s=num_tokens * self._accelerator.num_processes / (time.monotonic() - begun_s),
        )

    def save(self) -> None:
        """Writes the checkpoint."""
        scaler = self._accelerator.scaler
        if self._accelerator.is_main_process:
            Checkpoint(
                num_done=len(self.losses),
                model=self._model,
                parameters={name: one.detach().cpu() for name, one in self._parameters.items()},
                optimizer=self._optimizer.state_dict(),
                scaler={} if scaler is None else scaler.state_dict(),
                num_bad=self._bad.num_in_a_row,
                num_skipped=self._bad.num_skipped,
                losses=self.losses,
                data=self._data,
            ).save(self._path)
        self._accelerator.wait_for_everyone()

    def end(self) -> Training:
        """Puts the supernet at rest."""
        for parameter in self._parameters.values():
            parameter.grad = None
        if self._adapters is not None:
            self._adapters.merge()
        self._supernet.model.requires_grad_(False).eval()
        num_trained = sum(parameter.numel() for parameter in self._parameters.values())
        return Training(losses=tuple(self.losses), num_skipped=self._bad.num_skipped, num_trained=num_trained)

    def _gradients(self, step: int) -> tuple[Tensor, int]:
        """Adds up the gradients of a step.

        Returns:
            ``(num_passes,)`` the losses, mean over the batches, and how many tokens these had.
        """
        config, accelerator = self._config, self._accelerator
        sub_networks = self._curriculum.sub_networks(step, config)
        losses_P = torch.zeros(1 + len(sub_networks), device=accelerator.device)
        num_tokens = 0
        for micro in range(config.gradient_accumulation):
            number = (step * config.gradient_accumulation + micro) * accelerator.num_processes
            batch = self._curriculum.data.batch(number + accelerator.process_index).to(accelerator.device)
            num_tokens += int(batch.tokens_BT.sum())
            losses_P += sandwich_gradients(
                self._supernet,
                batch,
                sub_networks,
                config.distillation,
                original=self._original,
                backward=lambda loss: accelerator.backward(loss / config.gradient_accumulation),
                autocast=accelerator.autocast,
            )
        losses_P /= config.gradient_accumulation
        if accelerator.num_processes > 1:
            losses_P = accelerator.reduce(losses_P, "mean")
            for parameter in self._parameters.values():
                assert parameter.grad is not None
                parameter.grad.copy_(accelerator.reduce(parameter.grad, "mean"))
        return losses_P, num_tokens

    def _count(self, step: int, is_good: bool) -> None:
        if self._bad.count(is_good=is_good):
            largest, smallest, random = self.losses[-1]
            raise TrainingError(
                f"The losses and gradients of training must be finite, but for {self._bad.num_in_a_row} steps in a "
                f"row, up to step {step + 1}, they were not (losses now: {largest:.4g} of the supernet, "
                f"{smallest:.4g} of the smallest, {random:.4g} of the random sub-networks); lower learning_rate, or "
                "set mixed_precision to 'no'."
            )

    def _restore(self, checkpoint: Checkpoint) -> None:
        restore_parameters(self._parameters, checkpoint.parameters, self._path)
        restore_optimizer(self._optimizer, checkpoint.optimizer, self._path)
        if self._accelerator.scaler is not None:
            self._accelerator.scaler.load_state_dict(checkpoint.scaler)
        self._bad.num_in_a_row, self._bad.num_skipped = checkpoint.num_bad, checkpoint.num_skipped
        self.losses = list(checkpoint.losses)


def rate_share(step: int, config: SupernetTrainingConfig) -> float:
    """The share of the learning rate that a step is taken with, the first one's number being 0."""
    num_warmup = round(config.warmup_share * config.steps)
    if step < num_warmup:
        return (step + 1) / (num_warmup + 1)
    return (config.steps - step) / max(1, config.steps - num_warmup)
