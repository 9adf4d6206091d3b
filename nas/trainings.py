"""Trainings inside a search: of pruners that train while they prune, and who is told of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from nas.pruners import BudgetTooSmallError, Evidence, UnitCosts
from nas.supernet.training import OnStep, in_original_order, untold
from nas.trained_pruners import TRAINED_PRUNERS, TrainedPruner, TrainedSubNetwork, trained_pruner
from search_spaces.sub_network import SubNetwork


class LostWeightsError(ValueError):
    """Trained weights are gone and cannot be made again."""


class Watcher(Protocol):
    """Whoever is told of trainings, which take minutes."""

    def begins(self, what: str) -> OnStep:
        """A training begins.

        Args:
            what: Such as ``Recovering trial 12``.

        Returns:
            To be told of every step; what it raises ends the search, to be gone on with later.
        """

    def ends(self, what: str, *, problem: str = "") -> None:
        """It has ended.

        Args:
            what: As before.
            problem: One sentence where it came to nothing.
        """


class Unwatched:
    """Nobody is told."""

    def begins(self, what: str) -> OnStep:
        """See ``Watcher``."""
        del what
        return untold

    def ends(self, what: str, *, problem: str = "") -> None:
        """See ``Watcher``."""
        del what, problem


UNWATCHED = Unwatched()


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """One budget for a pruner that trains, not yet worked on.

    Attributes:
        source: The pruner's name.
        budget: In the unit of ``costs``.
        costs: What units cost.
        evidence: What the pruner goes by.
        pruner: The method.
    """

    source: str
    budget: float
    costs: UnitCosts
    evidence: Evidence
    pruner: TrainedPruner

    def __call__(self, watcher: Watcher) -> TrainedSubNetwork:
        """Prunes and trains.

        Raises:
            BudgetTooSmallError: The least that the method can keep costs more.
        """
        what = f"Training {self.source} to {self.budget / self.costs.total(self.evidence.shape):.2f}x"
        on_step = watcher.begins(what)
        with in_original_order(self.evidence.supernet):
            trained = self.pruner(self.evidence, self.costs, self.budget, on_step=on_step)
        watcher.ends(what)
        return trained


def trainings(
    names: Sequence[str],
    evidence: Evidence,
    costs: UnitCosts,
    budgets: Sequence[float],
    options: Mapping[str, Mapping[str, Any]],
) -> Iterator[Training]:
    """What there is to do at each budget, for those of the names that train.

    Args:
        names: Of pruners.
        evidence: What they go by.
        costs: What units cost.
        budgets: In the unit of ``costs``.
        options: Of pruners that train, by their names; defaults where there are none.
    """
    for budget in budgets:
        for name in names:
            if name in TRAINED_PRUNERS:
                yield Training(
                    source=name,
                    budget=budget,
                    costs=costs,
                    evidence=evidence,
                    pruner=trained_pruner(name, options.get(name, {})),
                )


def train_again(
    source: str, sub_network: SubNetwork, choices: Sequence[Training], watcher: Watcher
) -> TrainedSubNetwork:
    """Repeats the training that a sub-network came from, the most likely budget first.

    Args:
        source: The pruner's name.
        sub_network: What came of it.
        choices: What may have been trained.
        watcher: Is told of it.

    Raises:
        LostWeightsError: None of them gives that sub-network.
    """
    size = choices[0].costs.of(sub_network) if choices else 0.0

    def distance(training: Training) -> float:
        return abs(training.budget - size)

    for training in sorted((one for one in choices if one.source == source), key=distance):
        try:
            trained = training(watcher)
        except BudgetTooSmallError:
            continue
        if trained.sub_network == sub_network:
            return trained
    raise LostWeightsError(
        f"The weights that {source} trained must be kept or come out again, but they are gone and another training "
        "gives other units, as it may on another machine; restore the run's weights/ from a copy."
    )
