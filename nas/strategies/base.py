"""What a strategy is: which candidate next, given what is known. It sees candidates and numbers, never models.

A strategy holds no random state of its own between calls: ``ask`` is a function of the seed and of what was told,
so that a search killed at any moment goes on as if nothing had happened, by telling the stored trials again.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from search_spaces.base import Candidate, SearchSpace, sample


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


def generator(seed: int, number: int) -> np.random.Generator:
    """The random numbers of the ``number``-th question of a search: the same again on every run."""
    return np.random.default_rng(np.random.SeedSequence((seed, number)))


def first_unseen(proposals: Iterable[Candidate], seen: set[Candidate]) -> Candidate | None:
    """The first proposal that was never told; None when there is none."""
    return next((candidate for candidate in proposals if candidate not in seen), None)


def endless_samples(space: SearchSpace, rng: np.random.Generator, attempts: int = 1000) -> Iterator[Candidate]:
    """Uniform samples; ends after ``attempts``, when a space must be taken as exhausted."""
    for _ in range(attempts):
        yield sample(space, rng)
