"""The training loop of FLOP, in float32 or under accelerate's mixed precision."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn.utils import get_total_norm
from torch.optim import AdamW
from transformers import PreTrainedModel

from evaluators.inputs import IGNORED, Batch
from nas.accelerating import batch_of_step, parameter_groups
from nas.flop.config import FlopConfig, FlopError
from nas.long_work.bad_steps import BadSteps
from nas.long_work.checkpoint import restore_optimizer
from nas.long_work.randomness import step_seed
from nas.long_work.session import Session

RATE_WARMUP_SHARE = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """How training stands after a step.

    Attributes:
        number: Steps done.
        num_steps: Steps in all.
        loss: Of this step's batch, without the penalty; NaN or infinite where the step was skipped.
        kept: Expected share of weights; that of the ranks once they are settled.
        target: Where that share is led.
        learning_rate: Of the weights in this step.
        num_skipped: Steps so far whose loss or gradient was not finite.
        multipliers: By name, while there are gates.
    """

    number: int
    num_steps: int
    loss: float
    kept: float
    target: float
    learning_rate: float
    num_skipped: int
    multipliers: Mapping[str, float] = field(default_factory=dict)

    @property
    def scalars(self) -> dict[str, float]:
        """For TensorBoard."""
        return {
            "loss": self.loss,
            "kept/expected": self.kept,
            "kept/target": self.target,
            "learning_rate": self.learning_rate,
            "skipped_steps": self.num_skipped,
            **{f"multiplier/{name}": value for name, value in self.multipliers.items()},
        }


OnStep = Callable[[Step], None]


class Stateful(Protocol):
    """Numbers that training changes besides a model's."""

    def state_dict(self) -> dict[str, float]:
        """All of them."""

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Takes them over."""


class Loop:
    """Steps of one run, whatever model they train: numbers, batches and failures go on from one model to the next.

    Each call of ``train`` is a stretch of the run. A run that goes on from a checkpoint makes the same calls again:
    stretches that were done are passed by, and the one that the checkpoint is of begins in its middle. What was found
    out between two stretches comes back from ``once``.

    Attributes:
        number: Steps done.
        losses: Of all steps.
    """

    def __init__(
        self,
        batches: Sequence[Batch],
        config: FlopConfig,
        accelerator: Accelerator,
        on_step: OnStep,
        session: Session,
    ) -> None:
        self.number = 0
        self.losses: list[float] = []
        self._batches, self._config, self._accelerator, self._on_step = batches, config, accelerator, on_step
        self._session = session
        self._bad = BadSteps(limit=config.max_bad_steps)
        self._stretch = 0
        self._found: dict[str, Any] = {}
        self._saved: Mapping[str, Any] | None = None
        session.restore(self._take_over)

    def once(self, name: str, find: Callable[[], Any]) -> Any:
        """What ``find`` gives, or gave before the run was cut short: it must do without the weights of a later stretch.

        Args:
            name: The same in every process.
            find: Gives numbers, texts, or lists and dicts of them.
        """
        if name not in self._found:
            self._found[name] = find()
        return self._found[name]

    def noise_seed(self) -> int:
        """For what this step draws besides dropout."""
        return step_seed(self._config.seed, self.number, stream=1)

    def train(
        self,
        model: PreTrainedModel,
        *,
        num_steps: int,
        gates: Sequence[tuple[Sequence[torch.nn.Parameter], float]] = (),
        before: Callable[[], None] = lambda: None,
        penalty: Callable[[], Tensor] | None = None,
        after: Callable[[], tuple[float, float]],
        multipliers: Stateful | None = None,
    ) -> None:
        """Trains all parameters of a model in place, for a stretch of the run.

        Args:
            model: On the accelerator's device; in train mode meanwhile, in eval mode afterwards.
            num_steps: How long.
            gates: Parameters of ``model``, with a rate of their own for the whole stretch, never decayed nor clipped.
            before: Called before each forward pass.
            penalty: Added to the loss.
            after: Called after each step; gives the share kept and the target, for ``on_step``.
            multipliers: What ``after`` changes.

        Raises:
            FlopError: Too many losses or gradients in a row were not finite, or the model gives no loss.
            CheckpointError: A checkpoint does not fit, or there is no room for one.
            TrainingStoppedError: The run was asked to stop.
        """
        stretch, self._stretch = self._stretch, self._stretch + 1
        if not num_steps or (self._saved is not None and self._saved["stretch"] > stretch):
            model.eval()
            return
        optimizer: Any = self._optimizer(model, gates)
        prepared, optimizer = self._accelerator.prepare(model, optimizer)
        begun_at = self.number
        if self._saved is not None:
            saved, self._saved = self._saved, None
            begun_at = saved["begun_at"]
            with self._session.explaining():
                self._restore(saved, model, optimizer, multipliers)
            del saved
        prepared.train()
        while self.number < begun_at + num_steps:
            torch.manual_seed(step_seed(self._config.seed, self.number))  # dropout
            rate = self._set_rates(optimizer)
            before()
            self._learn(prepared, optimizer, penalty)
            kept, target = after()
            step = Step(
                number=self.number,
                num_steps=self._config.num_steps,
                loss=self.losses[-1],
                kept=kept,
                target=target,
                learning_rate=rate,
                num_skipped=self._bad.num_skipped,
                multipliers={} if multipliers is None else multipliers.state_dict(),
            )
            self._on_step(step)
            self._session.end_step(
                step.number,
                step.num_steps,
                state=lambda: self._state(stretch, begun_at, model, optimizer, multipliers),
                scalars=step.scalars,
            )
        self._accelerator.unwrap_model(prepared, keep_fp32_wrapper=False).eval()
        self._accelerator.free_memory()

    def _learn(self, model: Any, optimizer: Any, penalty: Callable[[], Tensor] | None) -> None:
        """One step, or none where its loss or gradient is not finite."""
        batch = batch_of_step(self._batches, self._config.seed, self.number).to(self._accelerator.device)
        loss = loss_of(model, batch)
        self.losses.append(loss.item())
        self.number += 1
        norm = math.nan
        if math.isfinite(self.losses[-1]):
            self._accelerator.backward(loss if penalty is None else loss + penalty())
            groups = optimizer.param_groups
            weights = [one for group in groups if group["rate"] is None for one in group["params"]]
            gates = [one for group in groups if group["rate"] is not None for one in group["params"]]
            found = self._accelerator.clip_grad_norm_(weights, self._config.max_grad_norm)
            norm = 0.0 if found is None else float(found)
            norm += float(get_total_norm([one.grad for one in gates if one.grad is not None]))
            if math.isfinite(norm) or self._accelerator.scaler is not None:  # which skips such a step and scales less
                optimizer.step()
        optimizer.zero_grad()
        if self._bad.count(is_good=math.isfinite(norm)):
            problem = "gradient" if math.isfinite(self.losses[-1]) else "loss"
            raise FlopError(
                f"Losses and gradients must be finite, but for {self._bad.num_in_a_row} steps in a row they were not, "
                f"the last of them the {problem} of step {self.number} (loss {self.losses[-1]}); lower learning_rate, "
                "or set mixed_precision to 'no'."
            )

    def _optimizer(self, model: PreTrainedModel, gates: Sequence[tuple[Sequence[torch.nn.Parameter], float]]) -> AdamW:
        apart = {id(one) for group, _ in gates for one in group}
        groups = parameter_groups(
            [one for one in model.parameters() if id(one) not in apart], self._config.weight_decay
        )
        groups = [{**group, "rate": None} for group in groups]
        groups += [{"params": list(group), "weight_decay": 0.0, "rate": rate} for group, rate in gates]
        return AdamW([group for group in groups if group["params"]], lr=self._config.learning_rate)

    def _set_rates(self, optimizer: Any) -> float:
        """Sets those of this step, and gives that of the weights: up over the first steps, and down to 0."""
        config = self._config
        warmup = max(1, round(RATE_WARMUP_SHARE * config.num_steps))
        share = min((self.number + 1) / warmup, 1.0) * max(0.0, 1 - self.number / config.num_steps)
        rate = share * config.learning_rate
        for group in optimizer.param_groups:
            group["lr"] = rate if group["rate"] is None else group["rate"]
        return rate

    def _state(
        self, stretch: int, begun_at: int, model: PreTrainedModel, optimizer: Any, multipliers: Stateful | None
    ) -> dict[str, Any]:
        scaler = self._accelerator.scaler
        return {
            "number": self.number,
            "losses": self.losses,
            "skipped": (self._bad.num_in_a_row, self._bad.num_skipped),
            "found": self._found,
            "stretch": stretch,
            "begun_at": begun_at,
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "scaler": {} if scaler is None else scaler.state_dict(),
            "multipliers": {} if multipliers is None else multipliers.state_dict(),
        }

    def _take_over(self, saved: Mapping[str, Any]) -> None:
        """What is known of the run before its model is there."""
        self.number, self.losses, self._found = saved["number"], list(saved["losses"]), dict(saved["found"])
        self._bad.num_in_a_row, self._bad.num_skipped = saved["skipped"]
        self._saved = saved

    def _restore(
        self, saved: Mapping[str, Any], model: PreTrainedModel, optimizer: Any, multipliers: Stateful | None
    ) -> None:
        model.load_state_dict(saved["model"])
        restore_optimizer(optimizer, saved["optimizer"], self._session.path)
        if self._accelerator.scaler is not None:
            self._accelerator.scaler.load_state_dict(saved["scaler"])
        if multipliers is not None:
            multipliers.load_state_dict(saved["multipliers"])


def loss_of(model: torch.nn.Module, batch: Batch) -> Tensor:
    """The loss on the labels; that of the next token where there are none.

    Raises:
        FlopError: The model has no head that computes one.
    """
    labels = batch.labels or {"labels": batch.inputs["input_ids"].masked_fill(~batch.tokens_BT, IGNORED)}
    outputs: Mapping[str, Tensor | None] = model(**batch.inputs, **labels)
    loss = outputs.get("loss")
    if loss is None:
        raise FlopError(
            f"FLOP needs a model with a head that computes a loss, got {type(model).__name__}; load a task model."
        )
    return loss
