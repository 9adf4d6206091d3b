"""GRAIN: units within heads leave a fine-tuned model while it learns from what it was.

Each step the student, gated, is compared with the teacher. The gradient of the cross-entropy alone gives the units'
scores and the gradient of the hidden states' error comes on top before the step (gradient separation: what the hidden
states want says nothing about what the task needs). From one fifth of the steps to two fifths the least units leave;
then the sub-network is cut out, and trains on as the small model that it is.

arXiv:2212.07634. Where we differ: the last three fifths run on the extracted model, with the moments of AdamW cut out
like its weights, which computes the same and takes a fraction of the time; every layer's hidden state is compared; and
``units.py`` and ``distillation.py`` say what else. The embedding is factorised where ``embedding_rank`` says so.
"""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import AdamW
from transformers import PreTrainedModel

from evaluators.inputs import Batch
from nas.accelerating import batch_of_step, parameter_groups
from nas.grain.config import GrainConfig, GrainError
from nas.grain.distillation import HiddenStates, compared_states, hidden_sizes, soft_cross_entropy
from nas.grain.embedding import bands_of, student_of
from nas.grain.gates import gated
from nas.grain.step import GrainStep
from nas.grain.units import Parameters, Units, UnitScores, prune
from nas.long_work.bad_steps import BadSteps
from nas.long_work.checkpoint import fingerprint, fingerprint_of_examples, restore_optimizer
from nas.long_work.randomness import step_seed
from nas.long_work.session import NOWHERE, Session, TrainingPlace
from nas.pruners.costs import parameter_costs
from nas.supernet.own_weights import OwnWeights
from nas.supernet.supernet import Supernet
from search_spaces.sub_network import SubNetwork

_MOMENTS = ("exp_avg", "exp_avg_sq")
_UNITS = ("queries_LKU", "values_LKD", "neurons_LN")


def grain(
    supernet: Supernet,
    batches: Sequence[Batch],
    config: GrainConfig,
    *,
    on_step: Callable[[GrainStep], None] = lambda _: None,
    place: TrainingPlace = NOWHERE,
) -> tuple[SubNetwork, OwnWeights]:
    """Prunes and trains at once.

    The same config on the same machine gives the same weights, and so does a run that was cut short and taken up from
    its checkpoint (on a CPU). torch's global generator is left as it was.

    Args:
        supernet: The teacher: fine-tuned, its units in their original order, with nothing active. Left as it is.
        batches: Training examples; labels are not looked at.
        config: How much to keep, and how to train.
        on_step: Called after every step; what it raises ends the run as a crash would.
        place: Where the run keeps its checkpoint, and goes on from it; and its scalars.

    Returns:
        What is kept, and its trained weights: for ``Supernet.activate`` and ``Supernet.extract``.

    Raises:
        GrainError: No batch, a supernet that was reordered, a density too low, a rank that the embedding cannot have,
            or too many losses in a row that are not finite.
        CheckpointError: A checkpoint of another run, or no room for one.
        TrainingStoppedError: The run was asked to stop.
        ScalarsError: Scalars are asked for, and the package for them is not installed.
    """
    if not batches:
        raise GrainError("GRAIN needs at least one batch of training examples, got none; give more data.")
    _require_original_order(supernet)

    def belongs_to() -> dict[str, Any]:
        return {
            "method": "grain",
            "model": fingerprint(supernet.model),
            "examples": fingerprint_of_examples(batch.unlabelled.inputs for batch in batches),
            **config.decisive,
        }

    devices = range(torch.cuda.device_count())
    with (
        torch.random.fork_rng(devices),
        torch.enable_grad(),
        place.session(every=config.checkpoint_every, belongs_to=belongs_to) as session,
    ):
        run = _Run(supernet, config, batches)
        session.restore(lambda state: run.restore(state, session))
        while run.step < config.num_steps:
            step = run.advance(batch_of_step(batches, config.seed, run.step))
            on_step(step)
            session.end_step(step.number, step.num_steps, state=run.state, scalars=step.scalars)
        return run.result()


class _Run:
    """One run: the student, gated at first and extracted later, and everything that a checkpoint holds."""

    def __init__(self, supernet: Supernet, config: GrainConfig, batches: Sequence[Batch] = ()) -> None:
        self._teacher, self._config = supernet, config
        self._bands = bands_of(supernet.shape, config.embedding_rank)
        self._units = Units.all_of(supernet.shape)
        self._scores = UnitScores.zeros(supernet.shape)
        self._parameters = Parameters.of(supernet.shape, parameter_costs(supernet))
        # What must stay may hold more than was asked for: say so now, not after a part of the training.
        prune(self._units, self._scores, self._parameters, config.density, config)
        self._student: Supernet | None = Supernet(student_of(supernet, self._bands, batches))
        self._model: PreTrainedModel = self._student.model
        self._hidden = HiddenStates(hidden_sizes(supernet.model)).to(supernet.device)
        self._set_up()
        self._bad = BadSteps(limit=config.max_bad_steps)
        self.step = 0

    def _set_up(self) -> None:
        """Makes the present model trainable."""
        self._model.train(self._config.dropout).requires_grad_(True)
        self._optimizer = AdamW(
            parameter_groups([*self._model.parameters(), *self._hidden.parameters()], self._config.weight_decay),
            lr=self._config.learning_rate,
            fused=True,  # unfused, it takes a third of a step on a CPU
        )

    def _rate(self) -> float:
        num_steps, warmup = self._config.num_steps, max(1, self._config.num_steps // 10)
        return self._config.learning_rate * min((self.step + 1) / warmup, (num_steps - self.step) / num_steps)

    def advance(self, batch: Batch) -> GrainStep:
        """One step, and the removals that are due after it."""
        config, rate = self._config, self._rate()
        torch.manual_seed(step_seed(config.seed, self.step))  # dropout
        batch = batch.unlabelled.to(self._teacher.device)
        cross_entropy, hidden = self._learn(batch)
        norm = float(nn.utils.clip_grad_norm_(self._trained(), config.max_grad_norm))
        is_good = math.isfinite(cross_entropy) and math.isfinite(hidden) and math.isfinite(norm)
        if is_good:
            for group in self._optimizer.param_groups:
                group["lr"] = rate
            self._optimizer.step()
        self._optimizer.zero_grad()
        self.step += 1
        self._count(cross_entropy, hidden, norm, is_good=is_good)
        if self._student is not None:
            self._units = prune(self._units, self._scores, self._parameters, config.density_after(self.step), config)
            if self.step >= config.last_removal:
                self._cut_out(self._student)
        return GrainStep(
            number=self.step,
            num_steps=config.num_steps,
            cross_entropy=cross_entropy,
            hidden=hidden,
            density=self._parameters.total(self._units) / self._parameters.total(Units.all_of(self._units.shape)),
            target=config.density_after(self.step),
            learning_rate=rate,
            num_skipped=self._bad.num_skipped,
        )

    def _count(self, cross_entropy: float, hidden: float, norm: float, *, is_good: bool) -> None:
        if self._bad.count(is_good=is_good):
            raise GrainError(
                f"Losses and gradients must be finite, but for {self._bad.num_in_a_row} steps in a row, up to step "
                f"{self.step}, they were not (now: cross-entropy {cross_entropy:.4g}, hidden states {hidden:.4g}, "
                f"gradient {norm:.4g}); lower learning_rate, or set bfloat16 to false."
            )

    def _learn(self, batch: Batch) -> tuple[float, float]:
        """Gradients of both losses; while there are gates, scores from the first alone."""
        with nullcontext() if self._student is None else gated(self._student, self._units) as gates:
            cross_entropy, hidden = self._losses(batch)
            if gates is not None:
                self._take_scores(gates.scores(cross_entropy, self._units.shape))
            (cross_entropy + hidden).backward()
        return float(cross_entropy.detach()), float(hidden.detach())

    def _take_scores(self, new: UnitScores) -> None:
        if all(np.isfinite(one).all() for one in (new.queries_LKU, new.values_LKD, new.neurons_LN)):
            self._scores = self._scores.smoothed(new, self._config.smoothing)

    def _losses(self, batch: Batch) -> tuple[Tensor, Tensor]:
        named: dict[str, Any] = {**batch.inputs, "output_hidden_states": True}
        if self._teacher.family.is_decoder:
            named["use_cache"] = False
        states = compared_states(self._units.sub_network)
        with torch.autocast(self._teacher.device.type, dtype=torch.bfloat16, enabled=self._config.bfloat16):
            with torch.no_grad():
                teacher = self._teacher.model(**named)
            student = self._model(**named)
            ours = student.hidden_states
            if self._student is not None:
                ours = [ours[number] for number in states]
            hidden = self._hidden(ours, teacher.hidden_states, batch, states)
        cross_entropy = soft_cross_entropy(student, teacher, batch, self._config.temperature)
        return cross_entropy, self._config.hidden_weight * hidden

    def _trained(self) -> list[nn.Parameter]:
        return [*self._model.parameters(), *self._hidden.parameters()]

    def _cut_out(self, student: Supernet) -> None:
        """Goes on with the extracted model; rows and columns of AdamW's moments are cut out as those of weights are."""
        before, step = self._optimizer.state, self.step
        hidden = {one: before[one] for one in self._hidden.parameters() if one in before}
        moments = {name: _cut_moments(student, self._units.sub_network, before, name) for name in _MOMENTS}
        student.model.eval().requires_grad_(False)
        self._model, self._student = student.extract(self._units.sub_network), None
        self._set_up()
        for name, parameter in self._model.named_parameters():
            self._optimizer.state[parameter] = {
                "step": torch.tensor(float(step), device=parameter.device),  # where the fused AdamW keeps it
                **{moment: moments[moment][name] for moment in _MOMENTS},
            }
        for matrix, state in hidden.items():
            self._optimizer.state[matrix] = state

    def result(self) -> tuple[SubNetwork, OwnWeights]:
        """What is kept, and its weights."""
        model = self._model if self._student is None else self._student.extract(self._units.sub_network)
        return self._sub_network(), OwnWeights.of(model)

    def _sub_network(self) -> SubNetwork:
        """The units that are left, and the embedding as it was from the first."""
        return replace(self._units.sub_network, bands=self._bands)

    def state(self) -> dict[str, Any]:
        """All that another process needs to go on."""
        return {
            "step": self.step,
            "skipped": (self._bad.num_in_a_row, self._bad.num_skipped),
            "cut_out": self._student is None,
            "units": {name: torch.from_numpy(getattr(self._units, name)) for name in _UNITS},
            "scores": {name: torch.from_numpy(getattr(self._scores, name)) for name in (*_UNITS, "heads_LK")},
            "model": self._model.state_dict(),
            "hidden": self._hidden.state_dict(),
            "optimizer": self._optimizer.state_dict(),
        }

    def restore(self, state: Mapping[str, Any], session: Session) -> None:
        """Goes on from what ``state`` gave."""
        shape = self._units.shape
        self._units = Units(shape=shape, **{name: one.numpy() for name, one in state["units"].items()})
        self._scores = UnitScores(**{name: one.numpy() for name, one in state["scores"].items()})
        if state["cut_out"]:
            self._model, self._student = self._teacher.extract(self._sub_network()).float(), None
            self._set_up()
        self._model.load_state_dict(state["model"])
        self._hidden.load_state_dict(state["hidden"])
        restore_optimizer(self._optimizer, state["optimizer"], session.path)
        self.step, (self._bad.num_in_a_row, self._bad.num_skipped) = state["step"], state["skipped"]


def _cut_moments(student: Supernet, sub_network: SubNetwork, state: Any, moment: str) -> dict[str, Tensor]:
    """One of AdamW's moments for each parameter of the extracted model, by its name."""
    whole = Supernet(copy.deepcopy(student.model))
    with torch.no_grad():
        for ours, theirs in zip(whole.model.parameters(), student.model.parameters(), strict=True):
            ours.copy_(state[theirs][moment]) if theirs in state else ours.zero_()
    return dict(whole.extract(sub_network).named_parameters())


def _require_original_order(supernet: Supernet) -> None:
    heads_LH, groups_LK, neurons_LN = (
        supernet.ranking.heads_LKG,
        supernet.ranking.kv_groups_LK,
        supernet.ranking.neurons_LN,
    )
    if any((np.diff(units.reshape(len(units), -1)) != 1).any() for units in (heads_LH, groups_LK, neurons_LN)):
        raise GrainError(
            "GRAIN needs a supernet whose units lie in their original order, got one that was ranked; load it anew."
        )
