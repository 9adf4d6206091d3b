"""The Pareto front of a search: its members, its hypervolume, its file, and what it says of uniform pruning."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from nas.objectives import Constraint, Objective
from nas.pareto import hypervolume, non_dominated, reference_point
from nas.recovered import before_recovery, was_tried
from nas.trial import Judged, Trial, TrialState

if TYPE_CHECKING:  # it names all parts, whose imports take seconds
    from nas.config import SearchConfig

SCHEMA_VERSION = 1
T = TypeVar("T", bound=Judged)


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What a search optimises, and within which budgets."""

    objectives: tuple[Objective, ...]
    constraints: tuple[Constraint, ...] = ()

    def values(self, trial: Judged) -> tuple[float, ...]:
        """A trial's objectives, minimised; NaN where one is missing."""
        return tuple(objective.minimised(trial.measurements) for objective in self.objectives)

    def values_for_strategy(self, trial: Judged) -> tuple[float, ...]:
        """The same on the scale that strategies compare distances on."""
        return tuple(objective.for_strategy(trial.measurements) for objective in self.objectives)

    def violations(self, trial: Judged) -> tuple[float, ...]:
        """A trial's violations, feasible when <= 0; NaN where a measurement is missing."""
        return tuple(constraint.violation(trial.measurements) for constraint in self.constraints)

    def is_eligible(self, trial: Judged) -> bool:
        """Whether a trial may be a front member: complete, at full fidelity, finite and feasible."""
        return (
            trial.state is TrialState.COMPLETE
            and trial.fidelity == 1.0
            and all(math.isfinite(value) for value in self.values(trial))
            and all(violation <= 0 for violation in self.violations(trial))
        )


def front_of(trials: Sequence[T], goal: Goal) -> list[T]:
    """The feasible, non-dominated trials at full fidelity, by the first objective from best to worst.

    Of trials with equal objectives all are members.
    """
    eligible = [trial for trial in trials if goal.is_eligible(trial)]
    if not eligible:
        return []
    values_TM = np.array([goal.values(trial) for trial in eligible])
    members = [trial for trial, on_front in zip(eligible, non_dominated(values_TM), strict=True) if on_front]
    return sorted(members, key=lambda trial: (*goal.values(trial), trial.number))


def reference_of(trials: Sequence[Judged], goal: Goal) -> NDArray[np.float64]:
    """The reference point of a search: the worst of the supernet and the smallest, and a tenth of their range more.

    These two are the first trials of every search, so the point is fixed from then on.
    """
    anchors = [trial for trial in trials if trial.source in {"supernet", "smallest"}]
    return reference_point(np.array([goal.values(trial) for trial in anchors]))


def hypervolume_by_trial(trials: Sequence[Judged], goal: Goal) -> list[float]:
    """The hypervolume of the front after each trial; 0 while there is no feasible one."""
    reference_M = reference_of(trials, goal)
    volumes, best = [], np.empty((0, len(goal.objectives)))
    for trial in trials:
        if goal.is_eligible(trial):
            best = np.vstack([best, goal.values(trial)])
            best = best[non_dominated(best)]
        volumes.append(hypervolume(best, reference_M))
    return volumes


def hypervolume_while_under_way(trials: Sequence[Judged], goal: Goal) -> list[float | None]:
    """The same as each trial ended: None for the first, before the reference point is fixed by the second."""
    return [volume if number else None for number, volume in enumerate(hypervolume_by_trial(trials, goal))]


def describe_search(
    search_id: str,
    config: "SearchConfig",
    *,
    num_trials: int,
    measurement_of_evaluator: Mapping[str, str],
    has_concluded: bool,
) -> dict[str, Any]:
    """What ``front.json`` says of the search that it is the front of.

    Args:
        search_id: The same for as long as the search lives.
        config: What it runs with.
        num_trials: So far.
        measurement_of_evaluator: Names of evaluators to the one measurement each serves.
        has_concluded: Whether the front is final: confirmed, and recovered where that was asked for.
    """
    return {
        "id": search_id,
        "name": config.name,
        "model": config.model.name,
        "seed": config.seed,
        "num_trials": num_trials,
        "measurement_of_evaluator": dict(measurement_of_evaluator),
        "has_concluded": has_concluded,
    }


def front_record(trials: Sequence[Trial], goal: Goal, *, search: dict[str, Any]) -> dict[str, Any]:
    """The content of ``front.json``.

    Args:
        trials: Of the search, the supernet's among them.
        goal: What it optimises.
        search: Its id, name, model, seed and number of trials.
    """
    return front_record_of(trials, goal, search=search, described=lambda members: [one.to_json() for one in members])


def front_record_of(
    trials: Sequence[T],
    goal: Goal,
    *,
    search: dict[str, Any],
    described: Callable[[Sequence[T]], list[dict[str, Any]]],
) -> dict[str, Any]:
    """The same, of trials whose sub-networks are elsewhere.

    Args:
        trials: Of the search, the supernet's among them.
        goal: What it optimises.
        search: Its id, name, model, seed and number of trials.
        described: Members, in their order, as ``Trial.to_json`` has them.
    """
    supernet = next(trial for trial in trials if trial.source == "supernet")
    members = front_of(trials, goal)
    reference_M = reference_of(trials, goal)
    return {
        "schema_version": SCHEMA_VERSION,
        "search": search,
        "objectives": [objective.to_json() for objective in goal.objectives],
        "constraints": [constraint.to_json() for constraint in goal.constraints],
        "reference_point": {
            objective.name: objective.natural(float(worst))
            for objective, worst in zip(goal.objectives, reference_M, strict=True)
        },
        "hypervolume": hypervolume(np.array([goal.values(trial) for trial in members]), reference_M),
        "supernet": {"measurements": {name: one.to_json() for name, one in supernet.measurements.items()}},
        "trials": described(members),
    }


def compare_with_uniform(trials: Sequence[Trial], goal: Goal) -> str:
    """One honest sentence: does the front hold anything better than uniform-width pruning in every objective?

    Where finalists were recovered by training, all are compared by their scores before it: only some of the
    uniform-width models are finalists.
    """
    members = [trial for trial in front_of(trials, goal) if trial.source not in {"uniform", "supernet"}]
    note = " (scores before recovery)" if any(map(was_tried, trials)) else ""
    trials, members = list(map(before_recovery, trials)), list(map(before_recovery, members))
    uniform = [trial for trial in trials if trial.source == "uniform" and trial.state is TrialState.COMPLETE]
    if not uniform:
        return "No uniform-width pruning was tried, so there is nothing to compare the front with."
    better = [
        (member, baseline)
        for member in members
        for baseline in uniform
        if all(a < b for a, b in zip(goal.values(member), goal.values(baseline), strict=True))
    ]
    if not better:
        return (
            f"No gain over uniform-width pruning: none of the {len(members)} other front members is better than any of "
            f"the {len(uniform)} uniform-width models in every objective{note}."
        )
    beaten = {baseline.number for _, baseline in better}
    member, baseline = max(better, key=lambda pair: _margin(pair[0], pair[1], goal))
    pairs = [
        f"{objective.name} {_shown(member, objective)} against {_shown(baseline, objective)}"
        for objective in goal.objectives
    ]
    return (
        f"Better than uniform-width pruning in every objective at {len(beaten)} of {len(uniform)} widths; for example "
        f"trial {member.number} against trial {baseline.number}: {', '.join(pairs)}{note}."
    )


def _margin(member: Trial, baseline: Trial, goal: Goal) -> float:
    """The product of the relative gains: the pair that makes the plainest example."""
    gains = [
        (worse - better) / (abs(worse) or 1.0)
        for better, worse in zip(goal.values(member), goal.values(baseline), strict=True)
    ]
    return math.prod(gains)


def _shown(trial: Trial, objective: Objective) -> str:
    value = trial.measurements[objective.name].value
    return f"{1000 * value:.3g} ms" if objective.unit == "s" else f"{value:.4g}"


__all__ = [
    "Goal",
    "compare_with_uniform",
    "front_of",
    "front_record",
    "hypervolume_by_trial",
    "hypervolume_while_under_way",
    "reference_of",
]
