"""Trainings inside a search: of pruners that train while they prune; who is told of them, where their state lies."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

from nas.long_work.places import NO_PLACES, TrainingPlaces
from nas.long_work.session import TrainingPlace
from nas.long_work.stopping import never
from nas.pruners import BudgetTooSmallError, Evidence, UnitCosts
from nas.supernet.training import OnStep, in_original_order, untold
from nas.trained_pruners import TRAINED_PRUNERS, TrainedPruner, TrainedSubNetwork, trained_pruner
from search_spaces.sub_network import SubNetwork


class LostWeightsError(ValueError):
    """Trained weights are gone and cannot be made again."""


class Watcher(Protocol):
    """Whoever is told of trainings, which take minutes, and may ask them to stop."""

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

    def breaks_off(self) -> None:
        """An error ends it, which is told elsewhere."""

    def must_stop(self) -> bool:
        """Asked after every step; True ends the training with a checkpoint, where there is a place for one."""


class Unwatched:
    """Nobody is told."""

    def begins(self, what: str) -> OnStep:
        """See ``Watcher``."""
        del what
        return untold

    def ends(self, what: str, *, problem: str = "") -> None:
        """See ``Watcher``."""
        del what, problem

    def breaks_off(self) -> None:
        """See ``Watcher``."""

    must_stop = staticmethod(never)


UNWATCHED = Unwatched()


@contextmanager
def watched(watcher: Watcher, what: str) -> Iterator[OnStep]:
    """Tells a watcher of the training inside the block, however it ends.

    Args:
        watcher: Is told.
        what: As ``Watcher.begins`` takes it.

    Yields:
        To be told of every step.
    """
    on_step = watcher.begins(what)
    try:
        yield on_step
    except BaseException:
        watcher.breaks_off()
        raise
    watcher.ends(what)


def place_for(watcher: Watcher, places: TrainingPlaces, name: str) -> TrainingPlace:
    """The place of a training that a watcher may ask to stop."""
    return replace(places.of(name), must_stop=watcher.must_stop)


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

    @property
    def name(self) -> str:
        """The same in every process, and for files."""
        return f"{self.source}-{self.budget:.0f}"

    def __call__(self, watcher: Watcher, places: TrainingPlaces = NO_PLACES) -> TrainedSubNetwork:
        """Prunes and trains, and goes on with that where it was cut short.

        Args:
            watcher: Is told of it.
            places: Keep its state under its name, until whoever stores the result forgets it.

        Raises:
            BudgetTooSmallError: The least that the method can keep costs more.
            TrainingStoppedError: The watcher asked it to stop.
            CheckpointError: A checkpoint of another training, or no room for one.
        """
        what = f"Training {self.source} to {self.budget / self.costs.total(self.evidence.shape):.2f}x"
        place = place_for(watcher, places, self.name)
        with watched(watcher, what) as on_step, in_original_order(self.evidence.supernet):
            return self.pruner(self.evidence, self.costs, self.budget, on_step=on_step, place=place)


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
    source: str,
    sub_network: SubNetwork,
    choices: Sequence[Training],
    watcher: Watcher,
    places: TrainingPlaces = NO_PLACES,
) -> TrainedSubNetwork:
    """Repeats the training that a sub-network came from, the most likely budget first.

    Args:
        source: The pruner's name.
        sub_network: What came of it.
        choices: What may have been trained.
        watcher: Is told of it.
        places: As for a ``Training``; whoever stores the result forgets that of all choices.

    Raises:
        LostWeightsError: None of them gives that sub-network.
    """
    size = choices[0].costs.of(sub_network) if choices else 0.0

    def distance(training: Training) -> float:
        return abs(training.budget - size)

    for training in sorted((one for one in choices if one.source == source), key=distance):
        try:
            trained = training(watcher, places)
        except BudgetTooSmallError:
            continue
        if trained.sub_network == sub_network:
            return trained
    raise LostWeightsError(
        f"The weights that {source} trained must be kept or come out again, but they are gone and another training "
        "gives other units, as it may on another machine; restore the run's weights/ from a copy."
    )
