"""Winning quality back without search: new output weights for a sub-network, from calibration examples alone."""

import difflib
from collections.abc import Callable, Sequence

from evaluators.inputs import Batch
from nas.recovery.base import Problem, Recover, Recovery, RecoveryError, Solver
from nas.recovery.gram_refit import GramRefit
from nas.recovery.mask_tuning import mask_tuning
from nas.recovery.refit import refit
from nas.recovery.rescale import rescale
from nas.supernet.output_weights import OutputWeights
from nas.supernet.supernet import Supernet
from search_spaces.sub_network import SubNetwork


def _by_sweep(sweep: Callable[[Supernet, SubNetwork, Sequence[Batch]], OutputWeights]) -> Recovery:
    """A recovery that goes through the examples anew for each sub-network."""

    def bind(supernet: Supernet, batches: Sequence[Batch]) -> Recover:
        return lambda sub_network: sweep(supernet, sub_network, batches)

    return bind


RECOVERIES: dict[str, Recovery] = {
    "mask_tuning": _by_sweep(mask_tuning),
    "refit": _by_sweep(refit),
    "gram_refit": GramRefit,
    "rescale": _by_sweep(rescale),
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
    "Recover",
    "Recovery",
    "RecoveryError",
    "Solver",
    "UnknownRecoveryError",
    "recovery_named",
]
