"""Recovering a finalist, a member of a front, by training; ``recovered.py`` says what a trial then tells."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from evaluators.base import BEFORE_RECOVERY_SUFFIX, NOT_RECOVERED, Evaluator, Measurement
from nas.judge import Judge
from nas.long_work.checkpoint import CheckpointError
from nas.long_work.places import TrainingPlaces
from nas.long_work.scalars import ScalarsError
from nas.long_work.stopping import TrainingStoppedError
from nas.recovery.finalists import FinalistRecoverer
from nas.store.base import WeightsKind
from nas.supernet.own_weights import OwnWeights
from nas.trainings import Watcher, place_for
from nas.trial import Trial
from search_spaces.sub_network import SubNetwork


class WeightsKeeper(Protocol):
    """Where weights are kept that took long to make, and the state of what makes them: a part of a ``SearchStore``."""

    @property
    def places(self) -> TrainingPlaces:
        """Of trainings."""

    def weights(self, sub_network: SubNetwork, kind: WeightsKind) -> OwnWeights | None:
        """What was kept, or None."""

    def keep_weights(self, sub_network: SubNetwork, kind: WeightsKind, weights: OwnWeights) -> None:
        """Keeps them."""


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

    The weights are kept before the scores are known, so that a process that dies in between has lost neither. The
    checkpoint of the training is there afterwards, until whoever stores the trial forgets it.

    Args:
        trial: Complete, and not the supernet's.
        judge: Measures it.
        recover: Trains it.
        keeper: Of its weights.
        start: Weights of its own that it has already.
        supernet: What the supernet measured.
        watcher: Is told of it.

    Raises:
        TrainingStoppedError: The watcher asked it to stop.
        CheckpointError: A checkpoint of another training, or no room for one.
        ScalarsError: Scalars are asked for, and the package for them is not installed.
    """
    what = f"Recovering trial {trial.number}"
    on_step = watcher.begins(what)
    problem, anew = "", dict[str, Measurement]()
    weights = keeper.weights(trial.sub_network, "recovered")
    if weights is None:
        try:
            place = place_for(watcher, keeper.places, recovery_name(trial.sub_network))
            weights = recover(trial.sub_network, start=start, on_step=on_step, place=place)
        except (KeyboardInterrupt, TrainingStoppedError, CheckpointError, ScalarsError):  # no fault of the training's
            watcher.breaks_off()
            raise
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


def recovery_name(sub_network: SubNetwork) -> str:
    """What the recovery of a sub-network is called: the same in every process, and for files."""
    return f"{sub_network.key}-recovered"


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
