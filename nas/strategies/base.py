"""What a strategy is: which candidate next, given what is known. It sees candidates and numbers, never models.

A strategy holds no random state of its own between calls: ``ask`` is a function of the seed and of what was told,
so that a search killed at any moment goes on as if nothing had happened, by telling the stored trials again.

An algorithm is written as a ``Proposer``, a plain function without memory; ``nas.strategies.ask_tell`` makes a strategy
of it and sees to what all have in common.

Legend: T trials told, C choices, M objectives, K constraints.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from search_spaces.base import Candidate, SearchSpace


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a candidate.

    Attributes:
        candidate: Canonical.
        objectives: One per objective, all minimised; None when the trial failed.
        violations: One per constraint, feasible when <= 0, in shares of the budget (0.1 = 10 % above it).
    """

    candidate: Candidate
    objectives: tuple[float, ...] | None
    violations: tuple[float, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether there are no objectives."""
        return self.objectives is None

    @property
    def violation(self) -> float:
        """Sum of what exceeds the budgets; 0 when feasible, infinite when the trial failed."""
        return float("inf") if self.failed else sum(max(0.0, violation) for violation in self.violations)


class Strategy(Protocol):
    """Ask and tell."""

    def ask(self) -> Candidate | None:
        """A canonical candidate that was never told, or None when the space has no other."""

    def tell(self, outcome: Outcome) -> None:
        """Learns what a candidate came to, whoever proposed it (seeds are told too)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class History:
    """The outcomes an algorithm can learn from, in the order they were told: finite numbers only, no failures.

    Attributes:
        candidates: Canonical, all different.
        objectives_TM: ``(num_trials, num_objectives)`` float, minimised.
        violations_TK: ``(num_trials, num_constraints)`` float, feasible when <= 0.
    """

    candidates: tuple[Candidate, ...]
    objectives_TM: NDArray[np.float64]
    violations_TK: NDArray[np.float64]

    @property
    def violation_T(self) -> NDArray[np.float64]:
        """``(num_trials,)`` float: sum of what exceeds the budgets, 0 = feasible."""
        return np.asarray(np.maximum(self.violations_TK, 0.0).sum(axis=1))


class Proposer(Protocol):
    """An algorithm: the candidates it would try next, the one it likes best first."""

    def __call__(self, space: SearchSpace, history: History, rng: np.random.Generator) -> Iterator[Candidate]:
        """Yields canonical candidates, finitely many; the first that was never told is taken.

        Called once there are some outcomes to learn from. Must depend on its arguments alone. A proposal costs
        nothing until it is drawn.
        """


def generator(seed: int, number: int) -> np.random.Generator:
    """The random numbers of the ``number``-th question of a search: the same again on every run."""
    return np.random.default_rng(np.random.SeedSequence((seed, number)))
