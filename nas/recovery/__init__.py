"""Winning quality back without search: new output weights for a sub-network, from calibration examples alone."""

import difflib

from nas.recovery.base import Problem, Recovery, RecoveryError, Solver
from nas.recovery.mask_tuning import mask_tuning
from nas.recovery.refit import refit
from nas.recovery.rescale import rescale

RECOVERIES: dict[str, Recovery] = {
    "mask_tuning": mask_tuning,
    "refit": refit,
    "rescale": rescale,
}


class UnknownRecoveryError(ValueError):
    """A name that no recovery has."""


def recovery_named(name: str) -> Recovery:
    """The recovery of that name.

    Raises:
        UnknownRecoveryError: There is none; the message lists those there are.
    """
    if name not in RECOVERIES:
        nearest = difflib.get_close_matches(name, RECOVERIES, n=1, cutoff=0.0)[0]
        raise UnknownRecoveryError(f"A recovery must be one of {', '.join(RECOVERIES)}, got {name!r}; try {nearest!r}.")
    return RECOVERIES[name]


__all__ = [
    "RECOVERIES",
    "Problem",
    "Recovery",
    "RecoveryError",
    "Solver",
    "UnknownRecoveryError",
    "recovery_named",
]
