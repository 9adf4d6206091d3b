"""What all trainings have in common: checkpoints, an end on request, scalars, steps whose loss is no number."""

from collections.abc import Mapping
from typing import Any

FREE_TO_CHANGE = frozenset({"checkpoint_every", "max_bad_steps", "tensorboard"})
"""Options of trainings that change nothing in what comes out, so that one may go on with others."""


def without_free(options: Mapping[str, Any], *others: str) -> dict[str, Any]:
    """What a training's result depends on: its options but for those that are free to change.

    Args:
        options: By name.
        others: Names of more that change nothing.
    """
    return {name: value for name, value in options.items() if name not in {*FREE_TO_CHANGE, *others}}


__all__ = ["FREE_TO_CHANGE", "without_free"]
