"""What trainings of sub-networks share: how they tell of their steps, and the order of units that they begin from."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from nas.supernet.supernet import Supernet
from search_spaces.base import UnitRanking


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingStep:
    """How a training stands after a step.

    Attributes:
        number: Steps done.
        num_steps: Steps in all.
        loss: Of this step's batch; NaN or infinite where the step was skipped.
    """

    number: int
    num_steps: int
    loss: float


OnStep = Callable[[TrainingStep], None]
"""Told of every step; what it raises ends the training."""


def untold(step: TrainingStep) -> None:
    """Tells nobody."""
    del step


@contextmanager
def in_original_order(supernet: Supernet) -> Iterator[Supernet]:
    """Puts units where the original model had them, for as long as the block lasts.

    What is drawn for a unit's position would else depend on the ranking that happens to be in force.
    """
    ranking = supernet.ranking
    supernet.order_by(UnitRanking.as_numbered(supernet.shape))
    try:
        yield supernet
    finally:
        supernet.order_by(ranking)
