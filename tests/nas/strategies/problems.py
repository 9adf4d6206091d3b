"""Spaces and objectives with known answers, for the tests of strategies."""

from dataclasses import dataclass

from nas.strategies.base import Outcome
from search_spaces.base import Candidate, Choice
from search_spaces.shape import SupernetShape
from search_spaces.sub_network import SubNetwork


@dataclass(frozen=True, kw_only=True)
class StubSpace:
    """Choices with the given numbers of sizes; where the first is at its smallest, the second does not matter."""

    num_sizes: tuple[int, ...]

    @property
    def shape(self) -> SupernetShape:
        raise NotImplementedError("Strategies know candidates only.")

    @property
    def choices(self) -> tuple[Choice, ...]:
        return tuple(Choice(name=f"choice_{i}", sizes=tuple(range(1, n + 1))) for i, n in enumerate(self.num_sizes))

    def canonical(self, candidate: Candidate) -> Candidate:
        return (0, 0, *candidate[2:]) if candidate[0] == 0 else candidate

    def sub_network(self, candidate: Candidate) -> SubNetwork:
        raise NotImplementedError("Strategies know candidates only.")

    def nearest(self, sub_network: SubNetwork) -> Candidate:
        raise NotImplementedError("Strategies know candidates only.")


@dataclass(frozen=True, kw_only=True)
class Compression:
    """Loss against cost, where every choice costs the same and each helps half as much as the one before it.

    Attributes:
        space: At least two sizes a choice.
        budget: Largest feasible cost; None for no constraint.
    """

    space: StubSpace
    budget: float | None = None

    @property
    def num_constraints(self) -> int:
        return 0 if self.budget is None else 1

    def outcome(self, candidate: Candidate) -> Outcome:
        shares = [index / (n - 1) for index, n in zip(candidate, self.space.num_sizes, strict=True)]
        helps = [2.0**-position for position in range(len(shares))]
        loss = sum(help_ * (1 - share) ** 2 for help_, share in zip(helps, shares, strict=True)) / sum(helps)
        cost = sum(shares) / len(shares)
        violations = () if self.budget is None else (cost / self.budget - 1,)
        return Outcome(candidate=candidate, objectives=(loss, cost), violations=violations)
