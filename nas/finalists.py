"""Finalists: the members of a front, recovered by training, with their scores before it kept beside those after.

A recovered trial has two measurements of each score: under its name the one that counts, taken with the recovered
weights, and under the name with ``BEFORE_RECOVERY_SUFFIX`` the one of the search. That there are two is what says that
training has been tried. Where it bettered no score, the sub-network keeps its scores, flagged ``NOT_RECOVERED``, and
the weights it had.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from evaluators.base import BEFORE_RECOVERY_SUFFIX, NOT_RECOVERED, Evaluator, Measurement
from nas.judge import Judge
from nas.recovery.finalists import FinalistRecoverer
from nas.store.base import WeightsKind
from nas.supernet.own_weights import OwnWeights
from nas.trainings import Watcher
from nas.trial import Trial
from search_spaces.sub_network import SubNetwork


class WeightsKeeper(Protocol):
    """Where weights are kept that took long to make: a part of a ``SearchStore``."""

    def weights(self, sub_network: SubNetwork, kind: WeightsKind) -> OwnWeights | None:
        """What was kept, or None."""

    def keep_weights(self, sub_network: SubNetwork, kind: WeightsKind, weights: OwnWeights) -> None:
        """Keeps them."""


def was_tried(trial: Trial) -> bool:
    """Whether training has been tried on it."""
    return any(name.endswith(BEFORE_RECOVERY_SUFFIX) for name in trial.measurements)


def is_recovered(trial: Trial) -> bool:
    """Whether its scores are those of recovered weights."""
    names = [name.removesuffix(BEFORE_RECOVERY_SUFFIX) for name in trial.measurements if _is_before(name)]
    return any(NOT_RECOVERED not in trial.measurements[name].flags for name in names)


def before_recovery(trial: Trial) -> Trial:
    """The trial with the scores that it had in the search."""
    before = {
        name.removesuffix(BEFORE_RECOVERY_SUFFIX): one for name, one in trial.measurements.items() if _is_before(name)
    }
    return replace(trial, measurements={**trial.measurements, **before})


def ranks(trials: Sequence[Trial], name: str, *, maximize: bool) -> dict[int, tuple[int, int]]:
    """The places of recovered trials among each other by one score, before recovery and after it.

    Args:
        trials: Those not recovered are left out.
        name: Of the score.
        maximize: Whether more is better.

    Returns:
        By the trial's number, from 1 for the best; equal values share a place.
    """
    before_name = name + BEFORE_RECOVERY_SUFFIX
    sign = -1 if maximize else 1
    values = {
        trial.number: tuple(sign * trial.measurements[one].value for one in (before_name, name))
        for trial in trials
        if before_name in trial.measurements
    }
    return {
        number: (
            1 + sum(other[0] < own[0] for other in values.values()),
            1 + sum(other[1] < own[1] for other in values.values()),
        )
        for number, own in values.items()
    }


def recover_finalist(
    trial: Trial,
    *,
    judge: Judge,
    recover: FinalistRecoverer,
    keeper: WeightsKeeper,
    start: OwnWeights | None,
    supernet: Mapping[str, Measurement],
    watcher: Watcher,
) -> Trial:
    """Trains one finalist and scores it anew. Whatever goes wrong with the training leaves the trial as good as it was.

    The weights are kept before the scores are known, so that a process that dies in between has lost neither.

    Args:
        trial: Complete, and not the supernet's.
        judge: Measures it.
        recover: Trains it.
        keeper: Of its weights.
        start: Weights of its own that it has already.
        supernet: What the supernet measured.
        watcher: Is told of it.
    """
    what = f"Recovering trial {trial.number}"
    on_step = watcher.begins(what)
    problem, anew = "", dict[str, Measurement]()
    weights = keeper.weights(trial.sub_network, "recovered")
    if weights is None:
        try:
            weights = recover(trial.sub_network, start=start, on_step=on_step)
        except Exception as error:  # out of memory, losses that diverge: the sub-network is there all the same
            problem = _sentence(error)
        else:
            keeper.keep_weights(trial.sub_network, "recovered", weights)
    if weights is not None:
        try:
            anew = judge.measure(trial.sub_network, judge.scoring, supernet, weights)
        except Exception as error:
            problem = _sentence(error)
    if not problem and not _is_better(anew, trial.measurements, judge.scoring):
        problem = "No score was bettered."
    watcher.ends(what, problem=problem)
    return _with_both(trial, {} if problem else anew, judge.scoring)


def _is_before(name: str) -> bool:
    return name.endswith(BEFORE_RECOVERY_SUFFIX)


def _sentence(error: Exception) -> str:
    return str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"


def _is_better(
    anew: Mapping[str, Measurement], before: Mapping[str, Measurement], evaluators: Sequence[Evaluator]
) -> bool:
    """Whether any evaluator finds it better, and none finds no number."""
    if not all(math.isfinite(anew[one.name].value) for one in evaluators):
        return False
    return any(
        anew[one.name].value > before[one.name].value
        if one.direction == "maximize"
        else anew[one.name].value < before[one.name].value
        for one in evaluators
    )


def _with_both(trial: Trial, anew: Mapping[str, Measurement], evaluators: Sequence[Evaluator]) -> Trial:
    """The trial with its scores before and after; where there are none after, those before are both."""
    names = list(anew) or [one.name for one in evaluators]
    before = {name: trial.measurements[name] for name in names if name in trial.measurements}
    after = dict(anew) or {name: replace(one, flags=(*one.flags, NOT_RECOVERED)) for name, one in before.items()}
    kept = {name + BEFORE_RECOVERY_SUFFIX: one for name, one in before.items()}
    return replace(trial, measurements={**trial.measurements, **after, **kept})
