"""Winning quality back without search, from calibration examples alone.

There are two kinds. Closed forms find new output weights in seconds, for every candidate (``RECOVERIES``). Training
finds new weights altogether in minutes, for finalists (``FINALIST_RECOVERIES``).
"""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from evaluators.inputs import Batch
from nas.recovery.base import Problem, Recover, Recovery, RecoveryError, Solver
from nas.recovery.finalists import FinalistRecovery
from nas.recovery.gram_refit import GramRefit
from nas.recovery.lora_distillation import LoraDistillation
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
"""Inside every trial; they have no options."""
FINALIST_RECOVERIES: dict[str, type[LoraDistillation]] = {"lora_distillation": LoraDistillation}
"""At a search's end; the fields of each are its options."""
RECOVERY_NAMES = (*RECOVERIES, *FINALIST_RECOVERIES)


class UnknownRecoveryError(ValueError):
    """A name that no recovery has."""


def recovery_named(name: str) -> Recovery:
    """The recovery of that name, one that works inside every trial.

    Raises:
        UnknownRecoveryError: There is none; the message lists those there are.
    """
    if name not in RECOVERIES:
        nearest = difflib.get_close_matches(name, RECOVERIES, n=1, cutoff=0.0)[0]
        raise UnknownRecoveryError(f"A recovery must be one of {', '.join(RECOVERIES)}, got {name!r}; try {nearest!r}.")
    return RECOVERIES[name]


def finalist_recovery_named(name: str, options: Mapping[str, Any]) -> FinalistRecovery:
    """The recovery of finalists of that name.

    Raises:
        UnknownRecoveryError: There is none; the message lists those there are.
        RecoveryError: It has no such option, or the value is none for it.
    """
    if name not in FINALIST_RECOVERIES:
        raise UnknownRecoveryError(
            f"A recovery of finalists must be one of {', '.join(FINALIST_RECOVERIES)}, got {name!r}; choose one."
        )
    return FINALIST_RECOVERIES[name](**resolved_options(name, options))


def resolved_options(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """All options of a recovery, defaults where none are given.

    Args:
        name: Of a recovery, or ``none``.
        options: Given.

    Raises:
        RecoveryError: It has no such option, or the value is none for it.
    """
    if name not in FINALIST_RECOVERIES:
        if options:
            raise RecoveryError(
                f"The recovery {name!r} takes no options, got {next(iter(options))!r}; remove it, or choose one of "
                f"{', '.join(FINALIST_RECOVERIES)}."
            )
        return {}
    names = [field.name for field in fields(FINALIST_RECOVERIES[name])]
    for option in options:
        if option not in names:
            nearest = difflib.get_close_matches(str(option), names, n=1, cutoff=0.0)[0]
            raise RecoveryError(
                f"An option of the recovery {name} must be one of {', '.join(names)}, got {option!r}; try {nearest!r}."
            )
    return asdict(FINALIST_RECOVERIES[name](**options))


__all__ = [
    "FINALIST_RECOVERIES",
    "RECOVERIES",
    "RECOVERY_NAMES",
    "FinalistRecovery",
    "Problem",
    "Recover",
    "Recovery",
    "RecoveryError",
    "Solver",
    "UnknownRecoveryError",
    "finalist_recovery_named",
    "recovery_named",
    "resolved_options",
]
