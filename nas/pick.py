"""Choosing a trial within budgets."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, TypeVar

from nas.amount import parse_amount
from nas.front import Goal, front_of
from nas.objectives import BudgetError, Objective, constraint_for, measured_name
from nas.results import Standing
from nas.trial import Judged

T = TypeVar("T", bound=Judged)
Budget = tuple[Literal["max", "min"], str]
"""Such as ``("max", "latency=0.6x")``."""


class NothingFitsError(ValueError):
    """No trial meets the budgets asked for."""


def pick(run: Standing[T], *, budgets: Sequence[Budget], best: str | None = None) -> T:
    """The best trial of a run within budgets.

    With budgets, these count in place of the run's own: the same trials are asked again under others.

    Args:
        run: Of any search.
        budgets: ``("max", "latency=0.6x")`` each; without any, the run's own.
        best: The objective to be best in; None means the first.

    Raises:
        NothingFitsError: No trial meets them; the message says how close the nearest comes.
        BudgetError: A budget or ``best`` names nothing measured.
        AmountError: A budget's amount cannot be read.
    """
    goal = goal_within(run, budgets) if budgets else run.goal
    front = front_of(run.trials, goal)
    if not front:
        raise NothingFitsError(_nearest(run, goal))
    objective = _objective(run, best)
    return min(front, key=lambda trial: (objective.minimised(trial.measurements), trial.number))


def goal_within(run: Standing[Any], budgets: Sequence[Budget]) -> Goal:
    """The objectives of a search under other budgets than its own. The arguments and errors are those of ``pick``."""
    constraints = []
    for bound, text in budgets:
        name, separator, amount = text.partition("=")
        if not separator:
            raise BudgetError(f"A budget must have the form NAME=VALUE, got {text!r}; write latency=0.6x.")
        constraints.append(constraint_for(name, bound, parse_amount(amount), run.supernet.measurements, run.aliases))
    return Goal(objectives=run.goal.objectives, constraints=tuple(constraints))


def _objective(run: Standing[Any], best: str | None) -> Objective:
    objectives = {objective.name: objective for objective in run.goal.objectives}
    if best is None:
        return run.goal.objectives[0]
    return objectives[measured_name(run.aliases.get(best, best), list(objectives))]


def _nearest(run: Standing[Any], limited: Goal) -> str:
    """How close the trial comes that exceeds the budgets by least."""
    constraints = limited.constraints
    unlimited = replace(limited, constraints=())
    candidates = [
        trial
        for trial in run.trials
        if unlimited.is_eligible(trial) and all(math.isfinite(violation) for violation in limited.violations(trial))
    ]
    if not candidates:
        return "A trial must be complete to be picked, and this run has none that is; let the search go on by --resume."
    nearest = min(candidates, key=lambda trial: max(limited.violations(trial)))
    limits = ", ".join(f"{one.name} {one.bound} {one.limit:.4g} {one.unit}" for one in constraints)
    reached = ", ".join(f"{one.name} {nearest.measurements[one.name].value:.4g} {one.unit}" for one in constraints)
    return (
        f"No trial meets {limits}; the nearest is trial {nearest.number} with {reached}; "
        "relax the budget or search on with more trials."
    )
