"""Methods that train while they prune: a budget in, a sub-network with weights of its own out.

They take minutes where a pruner takes seconds, so a search asks them when their trials are due; what they give is
judged by the same evaluators and lands on the same front.
"""

import difflib
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass, replace
from typing import Any

from nas.pruners import ALL_PRUNERS, PrunerInputError, UnknownPrunerError
from nas.trained_pruners.base import TrainedPruner, TrainedSubNetwork
from nas.trained_pruners.flop import FlopPruner
from nas.trained_pruners.grain import GrainPruner

TRAINED_PRUNERS: dict[str, TrainedPruner] = {"grain": GrainPruner(), "flop": FlopPruner()}


def require_known(name: str) -> None:
    """Checks that some pruner has that name, whether it trains or not.

    Raises:
        UnknownPrunerError: None has; the message lists those there are.
    """
    names = [*ALL_PRUNERS, *TRAINED_PRUNERS]
    if name not in names:
        nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.0)[0]
        raise UnknownPrunerError(f"A pruner must be one of {', '.join(names)}, got {name!r}; try {nearest!r}.")


def trained_pruner(name: str, options: Mapping[str, Any]) -> TrainedPruner:
    """The pruner of that name, with options in place of its defaults; errors are those of ``resolved_options``."""
    pruner = TRAINED_PRUNERS[name]
    return replace(pruner, **resolved_options(name, options)) if options else pruner  # type: ignore[type-var]


def resolved_options(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """All options of a pruner that trains, defaults where none are given.

    Args:
        name: Of one in ``TRAINED_PRUNERS``.
        options: Given.

    Raises:
        PrunerInputError: There is no such pruner or option, or the value is of another kind than its default or out of
            its range.
    """
    if name not in TRAINED_PRUNERS:
        nearest = difflib.get_close_matches(name, TRAINED_PRUNERS, n=1, cutoff=0.0)[0]
        raise PrunerInputError(
            f"Options go to pruners that train, {', '.join(TRAINED_PRUNERS)}, got {name!r}; try {nearest!r}."
        )
    pruner = TRAINED_PRUNERS[name]
    defaults: dict[str, Any] = asdict(pruner) if is_dataclass(pruner) and not isinstance(pruner, type) else {}
    for option, value in options.items():
        if option not in defaults:
            likely = difflib.get_close_matches(str(option), defaults, n=1, cutoff=0.0)
            remedy = f"try {likely[0]!r}" if likely else "remove it"
            raise PrunerInputError(
                f"An option of the pruner {name} must be one of {', '.join(defaults) or 'none'}, got {option!r}; "
                f"{remedy}."
            )
        default = defaults[option]
        if default is None:
            _require_count_or_nothing(name, option, value)
            continue
        kinds = (int, float) if isinstance(default, float) else (type(default),)
        if not isinstance(value, kinds) or isinstance(value, bool) is not isinstance(default, bool):
            raise PrunerInputError(
                f"The option {option} of the pruner {name} must be like its default {default!r}, got {value!r}; "
                f"give such a value, or remove {option}."
            )
    if options:
        replace(pruner, **options)  # type: ignore[type-var]  # which checks ranges
    return {**defaults, **options}


def _require_count_or_nothing(name: str, option: str, value: Any) -> None:
    """What a default of nothing stands for in all pruners: a whole number, or nothing."""
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise PrunerInputError(
            f"The option {option} of the pruner {name} must be a whole number or null, got {value!r}; give one of "
            "these."
        )


__all__ = [
    "TRAINED_PRUNERS",
    "TrainedPruner",
    "TrainedSubNetwork",
    "require_known",
    "resolved_options",
    "trained_pruner",
]
