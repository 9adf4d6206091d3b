"""Methods that train while they prune: what comes of them has weights of its own."""

import math
from dataclasses import dataclass
from typing import Protocol

from nas.long_work.session import NOWHERE, TrainingPlace
from nas.pruners import Evidence, UnitCosts
from nas.pruners.errors import PrunerInputError
from nas.supernet.own_weights import OwnWeights
from nas.supernet.training import OnStep
from search_spaces.sub_network import SubNetwork


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainedSubNetwork:
    """What is kept, and with which weights.

    Attributes:
        sub_network: What is kept.
        weights: All of its parameters.
    """

    sub_network: SubNetwork
    weights: OwnWeights


class TrainedPruner(Protocol):
    """A method that takes minutes for a budget, and so is asked when its trial is due and not before."""

    def __call__(
        self, evidence: Evidence, costs: UnitCosts, budget: float, *, on_step: OnStep, place: TrainingPlace = NOWHERE
    ) -> TrainedSubNetwork:
        """Prunes to a budget, and trains. The same arguments give the same on the CPU.

        Args:
            evidence: What is known of the units; its supernet's are in their original order.
            costs: What each unit costs, and what the rest does.
            budget: At most this, of the whole model and in the costs' own unit.
            on_step: To be told of every step; what it raises ends the training as a crash would.
            place: Where the training keeps its checkpoint, and goes on from it; and its scalars.

        Raises:
            BudgetTooSmallError: The least that the method can keep costs more.
            CheckpointError: A checkpoint of another training, or no room for one.
            TrainingStoppedError: The training was asked to stop.
            ScalarsError: Scalars are asked for, and the package for them is not installed.
        """


def require_counts(name: str, *, least: int = 1, **counts: int) -> None:
    """Checks options that count something.

    Raises:
        PrunerInputError: One is below ``least``.
    """
    for option, count in counts.items():
        if count < least:
            raise PrunerInputError(
                f"The option {option} of the pruner {name} must be at least {least}, got {count}; raise it."
            )


def require_numbers(name: str, *, may_be_zero: bool = False, **numbers: float) -> None:
    """Checks options that are finite numbers above 0.

    Raises:
        PrunerInputError: One is below, infinite or NaN, or 0 where it must not be.
    """
    for option, number in numbers.items():
        if not 0 <= number < math.inf or (number == 0 and not may_be_zero):
            rule, remedy = ("of at least 0", "0 leaves it out") if may_be_zero else ("above 0", "keep its default")
            raise PrunerInputError(
                f"The option {option} of the pruner {name} must be a finite number {rule}, got {number}; {remedy}."
            )


def require_parameters(name: str, costs: UnitCosts) -> None:
    """Checks that a budget is on parameters, for methods that lead their training by a share of them.

    Raises:
        PrunerInputError: It is not.
    """
    if costs.name != "parameters":
        raise PrunerInputError(
            f"The pruner {name} spends parameters, got a budget on {costs.name}; give parameters=0.5x, and limit "
            "other costs by a search's budget."
        )
