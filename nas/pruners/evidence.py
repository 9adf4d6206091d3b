"""What pruners go by: scores, gradients, Gram matrices, each taken from the calibration examples once and kept.

Everything of units is by original number, so it must be taken before the supernet's weights are permuted; that of
directions is by their order, so it must be taken after that is decided.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from evaluators.inputs import Batch
from nas.supernet.importance import UnitScores, importance_scores
from nas.supernet.importance.fisher import fisher_scores
from nas.supernet.importance.gradients import MaskGradients, loss_of, mask_gradients
from nas.supernet.importance.taylor import taylor_scores
from nas.supernet.low_rank.energies import direction_energies
from nas.supernet.supernet import Supernet
from search_spaces.shape import SupernetShape

T = TypeVar("T")


class Evidence:
    """A supernet, its calibration examples, and what was found out from them so far.

    Attributes:
        supernet: With its weights in their original order.
        batches: Calibration examples.
        importance: The name of the search's own importance.
        seed: For what is drawn at random.
    """

    def __init__(
        self, supernet: Supernet, batches: Sequence[Batch], *, importance: str = "activation", seed: int = 0
    ) -> None:
        self.supernet = supernet
        self.batches = batches
        self.importance = importance
        self.seed = seed
        self._kept: dict[str, Any] = {}

    @property
    def shape(self) -> SupernetShape:
        """The supernet's."""
        return self.supernet.shape

    @property
    def own_scores(self) -> UnitScores:
        """Of the search's own importance."""
        return self.scores(self.importance)

    def scores(self, name: str) -> UnitScores:
        """The scores of one importance.

        Raises:
            ImportanceError: An unknown importance, or a model it cannot score.
        """
        return self.once(f"scores of {name}", lambda: self._score(name))

    @property
    def gradients(self) -> MaskGradients:
        """With respect to masks, labels used where there are any.

        Raises:
            ImportanceError: The model gives no loss.
        """
        return self.once("gradients", lambda: mask_gradients(self.supernet, self.batches))

    @property
    def clipped_gradients(self) -> MaskGradients:
        """No batch's longer than the median, as the Fisher information is estimated from them.

        Raises:
            ImportanceError: The model gives no loss.
        """
        return self.once("clipped gradients", lambda: self.gradients.clipped())

    @property
    def direction_energies(self) -> list[NDArray[np.float64]]:
        """``(full rank,)`` for each matrix of each layer: what its directions are worth to the loss.

        Raises:
            ImportanceError: The model gives no loss.
        """
        return self.once("energies of directions", self._direction_energies)

    def once(self, key: str, compute: Callable[[], T]) -> T:
        """What ``compute`` returns, computed the first time that ``key`` is asked for."""
        if key not in self._kept:
            self._kept[key] = compute()
        kept: T = self._kept[key]
        return kept

    def generator(self) -> np.random.Generator:
        """A fresh one; the same on every call."""
        return np.random.default_rng(self.seed)

    def _direction_energies(self) -> list[NDArray[np.float64]]:
        supernet = self.supernet
        energies = direction_energies(
            supernet.model,
            supernet.layers,
            supernet.factors(),
            [batch.to(supernet.device) for batch in self.batches],
            lambda batch: loss_of(supernet, batch),
        )
        return [one_R.numpy() for one_R in energies.values()]

    def _score(self, name: str) -> UnitScores:
        if name == "fisher":
            return fisher_scores(self.clipped_gradients, self.shape)
        if name == "taylor":
            return taylor_scores(self.gradients, self.shape)
        return importance_scores(name, self.supernet, self.batches)
