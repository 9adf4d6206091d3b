"""Recovery by distillation into low-rank adapters.

A sub-network, standing alone, learns to give the supernet's logits:

    minimise τ² KL(softmax(t / τ) ‖ softmax(s / τ)), the mean over tokens,

with t the supernet's logits and s its own (arXiv:1503.02531), through adapters on the linear projections of its layers
(arXiv:2106.09685; ``lora.py``). At the end they are merged, so that the recovered model costs what it did. No labels
are looked at. Training a pruned model through LoRA is the recovery of LLM-Pruner (arXiv:2305.11627); theirs learns the
next token of an instruction set, ours the supernet's whole distribution.

Legend: B batch, T tokens, V logits of a position, P positions.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import AdamW
from transformers import PreTrainedModel, get_linear_schedule_with_warmup

from evaluators.inputs import Batch
from nas.recovery.base import RecoveryError
from nas.recovery.finalists import require_batches
from nas.recovery.lora import adapted
from nas.supernet.own_weights import OwnWeights
from nas.supernet.supernet import Supernet
from nas.supernet.training import OnStep, TrainingStep, untold
from search_spaces.sub_network import SubNetwork

MAX_SKIPPED = 10
"""Steps without a finite loss after which training is given up."""
MAX_GRAD_NORM = 1.0
WARMUP_SHARE = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraDistillation:
    """How a finalist is distilled; each attribute is an option of the config.

    Attributes:
        steps: Batches to learn from.
        learning_rate: Of AdamW, after a short rise; it falls to 0 at the last step.
        rank: Of the adapters.
        alpha: What the adapters add is scaled by ``alpha / rank``.
        temperature: τ: above 1 the supernet's small probabilities weigh more.
        batch_size: Sequences or examples in a batch.
        max_sequences: So many different ones at most; None for as many as the steps need.
        mixed_precision: Whether the student computes in bfloat16; adapters and optimiser stay in float32.

    Raises:
        RecoveryError: An option is out of its range.
    """

    steps: int = 300
    learning_rate: float = 1e-3
    rank: int = 16
    alpha: float = 32.0
    temperature: float = 1.0
    batch_size: int = 8
    max_sequences: int | None = None
    mixed_precision: Literal["no", "bf16"] = "no"

    def __post_init__(self) -> None:
        for name in ("steps", "rank", "batch_size", "max_sequences"):
            value = getattr(self, name)
            if name == "max_sequences" and value is None:
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise RecoveryError(f"recovery.{name} must be a whole number of at least 1, got {value!r}; raise it.")
        for name in ("learning_rate", "alpha", "temperature"):
            value = getattr(self, name)
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not is_number or not math.isfinite(value) or value <= 0:
                raise RecoveryError(f"recovery.{name} must be a finite number above 0, got {value!r}; write 0.001.")
        if self.mixed_precision not in ("no", "bf16"):
            raise RecoveryError(
                f"recovery.mixed_precision must be no or bf16, got {self.mixed_precision!r}; choose one of these."
            )

    @property
    def num_sequences(self) -> int:
        """See ``FinalistRecovery``."""
        return min(self.steps * self.batch_size, self.max_sequences or self.steps * self.batch_size)

    def __call__(
        self,
        supernet: Supernet,
        sub_network: SubNetwork,
        batches: Sequence[Batch],
        *,
        seed: int,
        start: OwnWeights | None = None,
        on_step: OnStep = untold,
    ) -> OwnWeights:
        """See ``FinalistRecovery``."""
        require_batches(batches)
        student = supernet.extract(sub_network, start)
        if sub_network.is_full and start is None:  # it has lost nothing, and Adam would amplify rounding errors
            return OwnWeights.of(student)
        generator = torch.Generator().manual_seed(seed)
        layers = supernet.family.layers
        with adapted(student, layers, rank=self.rank, alpha=self.alpha, generator=generator) as parameters:
            if parameters:
                self._train(student, supernet, parameters, _shuffled(batches, seed), on_step)
        return OwnWeights.of(student)

    def _train(
        self,
        student: PreTrainedModel,
        supernet: Supernet,
        parameters: list[nn.Parameter],
        batches: Iterator[Batch],
        on_step: OnStep,
    ) -> None:
        optimizer = AdamW(parameters, lr=self.learning_rate, weight_decay=0.0)
        scheduler = get_linear_schedule_with_warmup(optimizer, round(WARMUP_SHARE * self.steps), self.steps)
        num_skipped = 0
        for number, batch in enumerate(itertools.islice(batches, self.steps), 1):
            loss = self._loss(student, supernet, batch.to(supernet.device))
            loss.backward()
            norm = nn.utils.clip_grad_norm_(parameters, MAX_GRAD_NORM)
            if not (math.isfinite(loss.item()) and math.isfinite(norm.item())):
                num_skipped += 1
                self._refuse_divergence(num_skipped, number, loss.item())
                optimizer.zero_grad()  # without gradients, its step changes nothing
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
            on_step(TrainingStep(number=number, num_steps=self.steps, loss=loss.item()))

    def _loss(self, student: PreTrainedModel, supernet: Supernet, batch: Batch) -> Tensor:
        without_cache = {"use_cache": False} if supernet.family.is_decoder else {}
        device_type = supernet.device.type
        with torch.autocast(device_type, dtype=torch.bfloat16, enabled=self.mixed_precision == "bf16"):
            with torch.no_grad():
                taught = supernet.model(**batch.inputs, **without_cache)
            learnt = student(**batch.inputs, **without_cache)
        return distillation_loss(learnt, taught, batch.tokens_BT, temperature=self.temperature)

    def _refuse_divergence(self, num_skipped: int, step: int, loss: float) -> None:
        if num_skipped >= MAX_SKIPPED:
            raise RecoveryError(
                f"Distillation must have finite losses and gradients, but {num_skipped} of {step} steps had none (the "
                f"last loss was {loss}) and were skipped; lower recovery.learning_rate, or set "
                "recovery.mixed_precision to 'no' and model.dtype to float32."
            )


def distillation_loss(learnt: Any, taught: Any, tokens_BT: Tensor, *, temperature: float) -> Tensor:
    """τ² KL of the learner's outputs from the teacher's, the mean over what each output says something of.

    That is tokens for logits of tokens, examples for logits of examples, and for the beginning and the end of an answer
    (whose classes are the tokens) each example once. Padding is left out.

    Args:
        learnt: The learner's outputs, as transformers' models give them.
        taught: The teacher's.
        tokens_BT: False = padding.
        temperature: τ.

    Raises:
        RecoveryError: The model has no logits.
    """
    if "start_logits" in taught:
        never = torch.finfo(torch.float32).min
        pairs = [
            (learnt[name].float().masked_fill(~tokens_BT, never), taught[name].float().masked_fill(~tokens_BT, never))
            for name in ("start_logits", "end_logits")
        ]
        return (_divergence(*pairs[0], temperature) + _divergence(*pairs[1], temperature)) / 2
    if "logits" not in taught:
        raise RecoveryError(
            "Distillation needs a model with logits, and this one has none; load it with the head of its task."
        )
    own, wanted = learnt["logits"], taught["logits"]
    if wanted.dim() == 3:
        own, wanted = own[tokens_BT], wanted[tokens_BT]
    return _divergence(own.float(), wanted.float(), temperature)


def _divergence(own_PV: Tensor, wanted_PV: Tensor, temperature: float) -> Tensor:
    own_PV = functional.log_softmax(own_PV / temperature, dim=-1)
    wanted_PV = functional.log_softmax(wanted_PV / temperature, dim=-1)
    loss = functional.kl_div(own_PV, wanted_PV, reduction="batchmean", log_target=True)
    return temperature**2 * loss


def _shuffled(batches: Sequence[Batch], seed: int) -> Iterator[Batch]:
    """All batches in an order drawn from the seed and the epoch, again and again."""
    for epoch in itertools.count():
        for number in np.random.default_rng((seed, epoch)).permutation(len(batches)):
            yield batches[number]
