"""Recovery by distillation into low-rank adapters.

A sub-network, standing alone, learns to give the supernet's logits:

    minimise τ² KL(softmax(t / τ) ‖ softmax(s / τ)), the mean over tokens,

with t the supernet's logits and s its own (arXiv:1503.02531), through adapters on the linear projections of its layers
(arXiv:2106.09685; ``lora.py``). At the end they are merged, so that the recovered model costs what it did. No labels
are looked at. Training a pruned model through LoRA is the recovery of LLM-Pruner (arXiv:2305.11627); theirs learns the
next token of an instruction set, ours the supernet's whole distribution.

Legend: B batch, T tokens, V logits of a position, P positions.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import AdamW
from transformers import PreTrainedModel

from evaluators.inputs import Batch
from nas.accelerating import batch_of_step
from nas.long_work import without_free
from nas.long_work.bad_steps import BadSteps
from nas.long_work.checkpoint import fingerprint, fingerprint_of_examples, restore_optimizer, restore_parameters
from nas.long_work.session import NOWHERE, Session, TrainingPlace
from nas.recovery.base import RecoveryError
from nas.recovery.finalists import require_batches
from nas.recovery.lora import adapted
from nas.supernet.own_weights import OwnWeights
from nas.supernet.prediction_divergence import ENDS, prediction_divergence
from nas.supernet.supernet import Supernet
from nas.supernet.training import OnStep, TrainingStep, untold
from search_spaces.sub_network import SubNetwork

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
        checkpoint_every: Steps between two checkpoints, where there is a place for them.
        max_bad_steps: Steps whose loss or gradient is infinite or NaN are skipped; so many in a row end training.
        tensorboard: Whether scalars are written, where there is a place for them.

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
    checkpoint_every: int = 100
    max_bad_steps: int = 10
    tensorboard: bool = False

    def __post_init__(self) -> None:
        for name in ("steps", "rank", "batch_size", "max_sequences", "checkpoint_every", "max_bad_steps"):
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
        if not isinstance(self.tensorboard, bool):
            raise RecoveryError(f"recovery.tensorboard must be true or false, got {self.tensorboard!r}; choose one.")

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
        place: TrainingPlace = NOWHERE,
    ) -> OwnWeights:
        """See ``FinalistRecovery``."""
        require_batches(batches)
        student = supernet.extract(sub_network, start)
        if sub_network.is_full and start is None:  # it has lost nothing, and Adam would amplify rounding errors
            return OwnWeights.of(student)

        def belongs_to() -> dict[str, Any]:
            return {
                "method": "lora_distillation",
                "model": fingerprint(supernet.model),
                "sub-network": fingerprint(student),
                "examples": fingerprint_of_examples(batch.inputs for batch in batches),
                "seed": seed,
                **without_free(asdict(self), "max_sequences"),
            }

        generator = torch.Generator().manual_seed(seed)
        layers = supernet.family.layers
        with (
            place.with_scalars(self.tensorboard).session(every=self.checkpoint_every, belongs_to=belongs_to) as session,
            adapted(student, layers, rank=self.rank, alpha=self.alpha, generator=generator) as parameters,
        ):
            if parameters:
                learning = _Learning(self, student, supernet, parameters)
                session.restore(lambda state: learning.restore(state, session))
                while learning.number < self.steps:
                    step = learning.step(batch_of_step(batches, seed, learning.number))
                    on_step(step)
                    session.end_step(
                        step.number, step.num_steps, state=learning.state, scalars=learning.scalars(step.loss)
                    )
        return OwnWeights.of(student)

    def rate_of(self, step: int) -> float:
        """The learning rate of a step, the first one's number being 0: from 0 up to the highest and down to 0."""
        num_warmup = round(WARMUP_SHARE * self.steps)
        if step < num_warmup:
            return self.learning_rate * step / num_warmup
        return self.learning_rate * (self.steps - step) / (self.steps - num_warmup)


class _Learning:
    """The adapters of a student while they learn."""

    def __init__(
        self,
        options: LoraDistillation,
        student: PreTrainedModel,
        supernet: Supernet,
        parameters: Sequence[nn.Parameter],
    ) -> None:
        self._options, self._student, self._supernet = options, student, supernet
        self._parameters = {str(position): one for position, one in enumerate(parameters)}
        self._optimizer = AdamW(parameters, lr=options.learning_rate, weight_decay=0.0)
        self._bad = BadSteps(limit=options.max_bad_steps)
        self.number = 0

    def step(self, batch: Batch) -> TrainingStep:
        """Learns from a batch, or skips it where the loss or the gradient is not finite."""
        loss = self._loss(batch.to(self._supernet.device))
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self._parameters.values(), MAX_GRAD_NORM)
        is_good = math.isfinite(loss.item()) and math.isfinite(norm.item())
        if is_good:
            for group in self._optimizer.param_groups:
                group["lr"] = self._options.rate_of(self.number)
            self._optimizer.step()
        self._optimizer.zero_grad()
        self.number += 1
        if self._bad.count(is_good=is_good):
            raise RecoveryError(
                f"Distillation must have finite losses and gradients, but for {self._bad.num_in_a_row} steps in a row, "
                f"up to step {self.number}, it had none and skipped them (the last loss was {loss.item()}); lower "
                "recovery.learning_rate, or set recovery.mixed_precision to 'no' and model.dtype to float32."
            )
        return TrainingStep(number=self.number, num_steps=self._options.steps, loss=loss.item())

    def scalars(self, loss: float) -> dict[str, float]:
        """Of the last step, for TensorBoard."""
        rate = self._options.rate_of(self.number - 1)
        return {"loss": loss, "learning_rate": rate, "skipped_steps": self._bad.num_skipped}

    def state(self) -> dict[str, Any]:
        """All that another process needs to go on."""
        return {
            "number": self.number,
            "skipped": (self._bad.num_in_a_row, self._bad.num_skipped),
            "parameters": {name: one.detach() for name, one in self._parameters.items()},
            "optimizer": self._optimizer.state_dict(),
        }

    def restore(self, state: Mapping[str, Any], session: Session) -> None:
        """Goes on from what ``state`` gave."""
        restore_parameters(self._parameters, state["parameters"], session.path)
        restore_optimizer(self._optimizer, state["optimizer"], session.path)
        self._bad.num_in_a_row, self._bad.num_skipped = state["skipped"]
        self.number = state["number"]

    def _loss(self, batch: Batch) -> Tensor:
        options, supernet = self._options, self._supernet
        without_cache = {"use_cache": False} if supernet.family.is_decoder else {}
        with torch.autocast(supernet.device.type, dtype=torch.bfloat16, enabled=options.mixed_precision == "bf16"):
            with torch.no_grad():
                taught = supernet.model(**batch.inputs, **without_cache)
            learnt = self._student(**batch.inputs, **without_cache)
        return distillation_loss(learnt, taught, batch.tokens_BT, temperature=options.temperature)


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
    if "logits" not in taught and ENDS[0] not in taught:
        raise RecoveryError(
            "Distillation needs a model with logits, and this one has none; load it with the head of its task."
        )
    return prediction_divergence(learnt, taught, tokens_BT, temperature=temperature)
