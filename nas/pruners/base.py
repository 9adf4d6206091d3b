"""What a pruner is: one sub-network for one budget, in one shot.

Whatever is proposed lands on the same front as all else, scored by the same evaluators.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from nas.pruners.costs import UnitCosts
from nas.pruners.evidence import Evidence
from nas.supernet.importance import UnitScores
from search_spaces.shape import SupernetShape
from search_spaces.sub_network import SubNetwork


class Pruner(Protocol):
    """A one-shot method."""

    def __call__(self, evidence: Evidence, costs: UnitCosts, budget: float) -> SubNetwork:
        """Keeps what is worth most within a budget.

        Args:
            evidence: What is known of the units.
            costs: What each unit costs, and what the rest does.
            budget: At most this, of the whole model and in the costs' own unit.

        Returns:
            A sub-network of which ``costs.of`` is at most ``budget``.

        Raises:
            BudgetTooSmallError: The least that the method can keep costs more.
        """


Selection = Callable[[UnitScores, SupernetShape, UnitCosts, float], SubNetwork]
"""From scores, costs and a budget to what is kept; raises as a pruner does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredPruner:
    """A pruner that needs nothing but scores.

    Attributes:
        select: What it does with them.
        importance: Which scores; None for those of the search's own ranking.
    """

    select: Selection
    importance: str | None

    def __call__(self, evidence: Evidence, costs: UnitCosts, budget: float) -> SubNetwork:
        """See ``Pruner``."""
        scores = evidence.own_scores if self.importance is None else evidence.scores(self.importance)
        return self.select(scores, evidence.shape, costs, budget)
