"""What a trial tells of its recovery by training: its scores before it beside those after.

A trial on which training was tried has two measurements of each score: under its name the one that counts, taken with
the recovered weights, and under the name with ``BEFORE_RECOVERY_SUFFIX`` the one of the search. Where training bettered
no score, the sub-network keeps its scores, flagged ``NOT_RECOVERED``, and the weights it had.
"""

from collections.abc import Sequence
from dataclasses import replace

from evaluators.base import BEFORE_RECOVERY_SUFFIX, NOT_RECOVERED
from nas.trial import Trial


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


def _is_before(name: str) -> bool:
    return name.endswith(BEFORE_RECOVERY_SUFFIX)
