"""The training loop of FLOP, in float32 or under accelerate's mixed precision."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from transformers import PreTrainedModel

from evaluators.inputs import IGNORED, Batch
from nas.accelerating import batch_of_step, parameter_groups
from nas.flop.config import FlopConfig, FlopError

RATE_WARMUP_SHARE = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """How training stands after a step.

    Attributes:
        number: Steps done.
        num_steps: Steps in all.
        loss: Of this step's batch, without the penalty; NaN or infinite where the step was left out.
        kept: Expected share of weights; that of the ranks once they are settled.
        target: Where that share is led.
    """

    number: int
    num_steps: int
    loss: float
    kept: float
    target: float


OnStep = Callable[[Step], None]


class Loop:
    """Steps of one run, whatever model they train: numbers, batches and failures go on from one model to the next.

    Attributes:
        number: Steps done.
        losses: Of all steps.
    """

    def __init__(self, batches: Sequence[Batch], config: FlopConfig, accelerator: Accelerator, on_step: OnStep) -> None:
        self.number = 0
        self.losses: list[float] = []
        self._config = config
        self._accelerator = accelerator
        self._on_step = on_step
        self._num_left_out = 0
        self._batches = batches

    def train(
        self,
        model: PreTrainedModel,
        *,
        num_steps: int,
        gates: Sequence[torch.nn.Parameter] = (),
        before: Callable[[], None] = lambda: None,
        penalty: Callable[[], Tensor] | None = None,
        after: Callable[[], tuple[float, float]],
    ) -> None:
        """Trains all parameters of a model in place.

        Args:
            model: On the accelerator's device; in train mode meanwhile, in eval mode afterwards.
            num_steps: How long.
            gates: Parameters of ``model`` with a rate of their own.
            before: Called before each forward pass.
            penalty: Added to the loss.
            after: Called after each step; gives the share kept and the target, for ``on_step``.

        Raises:
            FlopError: Too many losses or gradients were not finite, or the model gives no loss.
        """
        if not num_steps:
            model.eval()
            return
        config = self._config
        optimizer, schedule = self._optimizer(model, gates)
        prepared, optimizer, schedule = self._accelerator.prepare(model, optimizer, schedule)
        prepared.train()
        for _ in range(num_steps):
            before()
            batch = batch_of_step(self._batches, config.seed, self.number).to(self._accelerator.device)
            loss = _loss(prepared, batch)
            self.losses.append(loss.item())
            self.number += 1
            problem = "loss" if not math.isfinite(self.losses[-1]) else ""
            if not problem:
                self._accelerator.backward(loss if penalty is None else loss + penalty())
                others = [one for group in optimizer.param_groups[:2] for one in group["params"]]
                norm = self._accelerator.clip_grad_norm_(others, config.max_grad_norm)
                problem = "" if norm is None or bool(norm.isfinite()) else "gradient"
            if problem:
                self._leave_out(problem)
            else:
                optimizer.step()
                schedule.step()
            optimizer.zero_grad()
            kept, target = after()
            self._on_step(
                Step(number=self.number, num_steps=config.num_steps, loss=self.losses[-1], kept=kept, target=target)
            )
        self._accelerator.unwrap_model(prepared, keep_fp32_wrapper=False).eval()
        self._accelerator.free_memory()

    def _optimizer(self, model: PreTrainedModel, gates: Sequence[torch.nn.Parameter]) -> tuple[Optimizer, LambdaLR]:
        config, done = self._config, self.number
        apart = {id(one) for one in gates}
        groups = parameter_groups([one for one in model.parameters() if id(one) not in apart], config.weight_decay)
        rates = [*([config.learning_rate] * len(groups)), config.gate_travel / config.num_warmup_steps]
        groups.append({"params": list(gates), "weight_decay": 0.0})
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = rate
        warmup = max(1, round(RATE_WARMUP_SHARE * config.num_steps))

        def of_weights(step: int) -> float:
            number = done + step
            return min((number + 1) / warmup, 1.0) * max(0.0, 1 - number / config.num_steps)

        optimizer = AdamW([group for group in groups if group["params"]])
        schedules = [of_weights, of_weights, lambda _: 1.0][: len(optimizer.param_groups)]
        return optimizer, LambdaLR(optimizer, schedules)

    def _leave_out(self, problem: str) -> None:
        self._num_left_out += 1
        if self._num_left_out >= self._config.max_non_finite:
            raise FlopError(
                f"Losses and gradients must be finite, but {self._num_left_out} were not, the last of them the "
                f"{problem} of step {self.number} (loss {self.losses[-1]}); lower learning_rate, or set "
                "mixed_precision to 'no'."
            )


def _loss(model: torch.nn.Module, batch: Batch) -> Tensor:
    """Of the labels; of the next token where there are none."""
    labels = batch.labels or {"labels": batch.inputs["input_ids"].masked_fill(~batch.tokens_BT, IGNORED)}
    outputs: Mapping[str, Tensor | None] = model(**batch.inputs, **labels)
    loss = outputs.get("loss")
    if loss is None:
        raise FlopError(
            f"FLOP needs a model with a head that computes a loss, got {type(model).__name__}; load a task model."
        )
    return loss
